"""Reading of logs while they grow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skygrid.cli import log_lines
from skygrid.cli.log_lines import LogReader


@pytest.mark.parametrize("block", [1, 3, 4, 100])
def test_lines_are_read_once_whatever_the_blocks(tmp_path: Path, monkeypatch, block: int) -> None:
    """Lines come once, an unfinished one with its end; only one longer than a block is divided."""
    monkeypatch.setattr(log_lines, "BLOCK", block)
    reader = LogReader(tmp_path)
    path = tmp_path / "n.log"

    path.write_bytes(b"ab\nc\n\nd")
    first = list(reader.new_lines(to_the_end=False))
    path.write_bytes(b"ab\nc\n\ndef\ng")
    rest = list(reader.new_lines(to_the_end=True))

    if block >= 4:
        assert first == ["n | ab\n", "n | c\n", "n | \n"]
        assert rest == ["n | def\n", "n | g\n"]
    text = "".join(line.removeprefix("n | ").rstrip("\n") for line in first + rest)
    assert text == "abcdefg"
    assert list(reader.new_lines(to_the_end=True)) == []


def test_a_log_that_is_no_file_is_named_and_the_others_are_read(tmp_path: Path, capsys) -> None:
    """A pipe or a device in place of a log gives one warning and is not read."""
    os.mkfifo(tmp_path / "a.log")
    (tmp_path / "b.log").symlink_to("/dev/zero")
    (tmp_path / "c.log").write_text("line\n")
    reader = LogReader(tmp_path)

    assert list(reader.new_lines(to_the_end=False)) == ["c | line\n"]
    assert list(reader.new_lines(to_the_end=True)) == []

    err = capsys.readouterr().err
    assert err.count("warning: cannot read") == 2
    assert err.count("it is not a regular file") == 2
