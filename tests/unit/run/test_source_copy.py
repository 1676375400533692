"""The copy of the search file, and the commit that it came from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from skygrid.run.source_copy import COPY, Origin, copy_search_file, origin_of, read_status


def git(folder: Path, *words: str) -> str:
    """Run git as an author in a folder, without the user's settings."""
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *author, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def search(tmp_path: Path) -> Path:
    """Write a search file with an awkward name into a new repository."""
    git(tmp_path, "init", "--quiet")
    path = tmp_path / "--my search.py"
    path.write_text("cv = 3\n")
    return path


def test_the_commit_of_a_search_file_is_named(search: Path) -> None:
    """A file that is in the commit as it is, was changed, or is not in it, is told apart."""
    assert origin_of(search) is None, "there is no commit yet"
    git(search.parent, "commit", "--allow-empty", "-qm", "first")
    commit = git(search.parent, "rev-parse", "HEAD")
    assert origin_of(search) == Origin(commit=commit, changed=True)
    git(search.parent, "add", "--", search.name)
    git(search.parent, "commit", "-qm", "second")
    commit = git(search.parent, "rev-parse", "HEAD")
    (search.parent / "other.py").write_text("a change elsewhere")
    assert origin_of(search) == Origin(commit=commit, changed=False)
    search.write_text("cv = 4\n")
    assert origin_of(search) == Origin(commit=commit, changed=True)


def test_a_file_outside_a_repository_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a repository, or without git, there is no commit and no error."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert origin_of(tmp_path / "search.py") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert origin_of(tmp_path / "search.py") is None
    assert read_status("") is None


def test_the_copy_has_the_bytes_of_the_file(tmp_path: Path) -> None:
    """The folder gets the file as it is; a file that is gone is no error."""
    source = tmp_path / "mine.py"
    source.write_bytes(b"# \xff\r\ncv = 3")
    copy_search_file(source, tmp_path)
    assert (tmp_path / COPY).read_bytes() == source.read_bytes()
    copy_search_file(tmp_path / "missing.py", tmp_path)
