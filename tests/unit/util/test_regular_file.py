"""Files of a folder that someone else filled."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from skygrid.util.regular_file import open_regular, read_regular


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    """A regular file up to the limit is returned whole, also through a link."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")

    assert read_regular(tmp_path / "file", 7) == b"content"
    assert read_regular(tmp_path / "link", 7) == b"content"


def test_a_link_can_be_refused(tmp_path: Path) -> None:
    """Without `follow`, a link is no regular file."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")

    with pytest.raises(OSError, match="not a regular file"):
        read_regular(tmp_path / "link", 7, follow=False)


@pytest.mark.parametrize("size", [8, 2**40])
def test_a_larger_file_is_refused(tmp_path: Path, size: int) -> None:
    """A file over the limit is refused before memory is taken for it."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(size)

    with pytest.raises(OSError, match="more than 7 bytes"):
        read_regular(tmp_path / "file", 7)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket"])
def test_nothing_else_is_opened(tmp_path: Path, kind: str, monkeypatch) -> None:
    """Pipes, devices, folders and sockets are refused at once."""
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    path = Path("it")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("it")

    with pytest.raises(OSError, match="not a regular file"):
        open_regular(path)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    """A file that is not there raises the usual error."""
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
