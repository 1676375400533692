"""The driver's log: a file in the run's folder, and lines of the display under -v."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from skygrid.reports.progress import Progress
from skygrid.run.driver_log import kept, told_to, written_to

LOGGER = logging.getLogger("skygrid.engine.engine")


def test_modules_and_events_are_in_the_file(tmp_path: Path) -> None:
    """The log of a run holds the lines of modules and the events of its display, in order."""
    progress = Progress(lambda: 0.0)
    with written_to(tmp_path / "logs"):
        LOGGER.info("round %d", 0)
        progress.node_lost("n-1", "it was unplugged")
    LOGGER.info("afterwards")

    lines = (tmp_path / "logs" / "driver.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "skygrid.engine.engine: round 0",
        "skygrid.reports.progress: n-1 is lost: it was unplugged",
    ]


def test_a_session_appends_to_the_file(tmp_path: Path) -> None:
    """A resumed run keeps the log of the earlier sessions."""
    for number in range(2):
        with written_to(tmp_path):
            LOGGER.info("session %d", number)
    assert (tmp_path / "driver.log").read_text().count("session") == 2


def test_the_log_begins_before_its_folder_exists(tmp_path: Path) -> None:
    """Lines from before a run has its folder are in the file too, each of them once."""
    with kept() as write_to:
        LOGGER.debug("connecting")
        write_to(tmp_path)
        LOGGER.info("connected")
    lines = (tmp_path / "driver.log").read_text().splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["connecting", "connected"]


def test_debug_lines_are_not_shown() -> None:
    """The display gets the lines that a user may ask about, and no debug lines."""
    progress = Progress(lambda: 0.0)
    with told_to(progress):
        LOGGER.debug("a step")
        LOGGER.info("a decision")
    assert [event.text for event in progress.take_events()] == ["a decision"]


def test_display_and_file_have_each_line_once(tmp_path: Path) -> None:
    """Lines of modules become events; events of the display are not repeated."""
    progress = Progress(lambda: 0.0)
    with written_to(tmp_path), told_to(progress):
        LOGGER.info("a module's line")
        progress.phase("searching")
    assert [event.text for event in progress.take_events()] == ["a module's line", "searching"]
    lines = (tmp_path / "driver.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "skygrid.engine.engine: a module's line",
        "skygrid.reports.progress: searching",
    ]


def test_an_unwritable_log_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that cannot be written stops nothing and prints nothing on stderr."""
    (tmp_path / "logs").write_text("a file in the folder's place")
    with written_to(tmp_path / "logs"):
        LOGGER.info("lost")
    (tmp_path / "driver.log").symlink_to("/dev/full")
    with written_to(tmp_path):
        LOGGER.info("lost too")
    assert capsys.readouterr().err == ""


def test_logging_of_the_search_file_is_left_alone(tmp_path: Path) -> None:
    """Handlers on the root logger receive nothing of a run, and the logger is restored."""
    logger = logging.getLogger("skygrid")
    before = logger.level, logger.propagate, list(logger.handlers)
    with written_to(tmp_path), told_to(Progress(lambda: 0.0)):
        assert not logger.propagate
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_credentials_are_not_logged(tmp_path: Path) -> None:
    """The file and the display have a mask in place of the credentials of a URL."""
    progress = Progress(lambda: 0.0)
    with written_to(tmp_path), told_to(progress):
        LOGGER.info("asked %s", "https://me:s3cret@x.org/simple")

    assert (tmp_path / "driver.log").read_text().endswith("asked https://****@x.org/simple\n")
    assert "s3cret" not in str(progress.take_events())
