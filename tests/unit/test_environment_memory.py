"""What is remembered of the environments that search files needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from skygrid.environment import memory
from skygrid.environment.memory import EnvironmentMemory
from skygrid.environment.settings import EnvironmentConfig

SETTINGS = EnvironmentConfig()
SEARCH = Path("/somewhere/search.py")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the memory is."""
    return tmp_path / "cache" / "environments.json"


def test_what_was_remembered_is_recalled_by_the_next_process(file: Path) -> None:
    """A key that one process remembers, another one recalls; the newest counts."""
    EnvironmentMemory(file).remember(SEARCH, SETTINGS, "one")
    EnvironmentMemory(file).remember(SEARCH, SETTINGS, "two")
    assert EnvironmentMemory(file).recall(SEARCH, SETTINGS) == "two"


def test_another_file_or_other_settings_are_another_matter(file: Path) -> None:
    """Nothing is guessed for a file that never ran, nor for other settings of the environment."""
    EnvironmentMemory(file).remember(SEARCH, SETTINGS, "one")
    assert EnvironmentMemory(file).recall(SEARCH.with_name("other.py"), SETTINGS) is None
    other = EnvironmentConfig(packages=("scikit-learn",))
    assert EnvironmentMemory(file).recall(SEARCH, other) is None


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b'{"version": 2, "environments": {}}', b'{"environments": 3}']
)
def test_a_memory_that_makes_no_sense_is_begun_anew(content: bytes, file: Path) -> None:
    """Whatever stands in the file, there is no guess, and what is needed now is remembered."""
    file.parent.mkdir()
    file.write_bytes(content)
    assert EnvironmentMemory(file).recall(SEARCH, SETTINGS) is None
    EnvironmentMemory(file).remember(SEARCH, SETTINGS, "one")
    assert EnvironmentMemory(file).recall(SEARCH, SETTINGS) == "one"


def test_the_memory_stays_small(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many search files the oldest are forgotten."""
    monkeypatch.setattr(memory, "MOST_REMEMBERED", 3)
    kept = EnvironmentMemory(file)
    searches = [SEARCH.with_name(f"{number}.py") for number in range(5)]
    for search in searches:
        kept.remember(search, SETTINGS, search.name)
    found = [kept.recall(search, SETTINGS) for search in searches]
    assert found == [None, None, "2.py", "3.py", "4.py"]
