"""A run belongs to the process that holds its lock, from before it touches a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skygrid.config import RunConfig
from skygrid.errors import JournalError
from skygrid.listener import SilentListener
from skygrid.run import commands
from skygrid.run.commands import Prepared, resume_run, run_prepared
from skygrid.run.folder import RunFolder


class Spec:
    """Search that was loaded without a change of the working directory."""

    started_in = Path()


def unreachable(*_: Any, **__: Any) -> Any:
    raise AssertionError("nodes were touched")


@pytest.fixture
def driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return the folder of a run that another session drives; nodes cannot be touched."""
    monkeypatch.setattr(commands, "nodes_of", unreachable)
    monkeypatch.setattr(commands, "RentedNodes", unreachable)
    config = RunConfig(runs_dir=tmp_path, name="mine")
    return RunFolder.create(config, tmp_path / "search.py", "0123456789abcdef")


def test_a_second_resume_does_not_touch_the_agents_of_the_first(driven: RunFolder) -> None:
    """A resume of a run that is driven is refused before it connects to a node."""
    with pytest.raises(JournalError, match="is being written by process"):
        resume_run(driven.path, RunConfig(), SilentListener())


def test_a_second_resume_does_not_touch_the_rented_nodes_of_the_first(driven: RunFolder) -> None:
    """A resume on rented nodes is refused before it lists, adopts or ends an instance."""
    unused: Any = Spec()
    prepared = Prepared(
        spec=unused,
        config=RunConfig(),
        offer=unused,
        check=unused,
        path=driven.path,
        record=driven.record,
    )
    with pytest.raises(JournalError, match="is being written by process"):
        run_prepared(prepared, SilentListener())


def test_a_closed_run_can_be_taken(driven: RunFolder) -> None:
    """After the end of a session, the next one gets as far as the nodes."""
    driven.close()
    with pytest.raises(AssertionError, match="nodes were touched"):
        resume_run(driven.path, RunConfig(), SilentListener())
