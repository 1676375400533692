"""The commands for rented nodes: nodes, down."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skygrid.config import RunConfig, load_config
from skygrid.errors import InterruptedRunError, NodeError, UsageError
from skygrid.util.terminal import say

from . import options as given
from .completion import complete_run
from .output import agrees, can_ask, say_view, write_document, write_view
from .run_names import find_run, run_folders

if TYPE_CHECKING:
    from skygrid.nodes.records import RunHere, TeardownReport


def nodes(
    runs_dir: given.RunsDir = None, config: given.Config = None, json: given.Json = None
) -> None:
    """List every node that skygrid has running on AWS, with its age and cost so far."""
    merged = _config(runs_dir, config, json)
    from skygrid.reports.terminal.rented import nodes_view
    from skygrid.reports.views import nodes_json
    from skygrid.run.cloud_cleanup import find_nodes, runs_here

    view = find_nodes(merged, runs_here(merged, run_folders(merged.runs_dir), say), time.time())
    if merged.json:
        write_document(nodes_json(view))
    elif view.nodes:
        write_view(nodes_view(view))
    else:
        say(f"no nodes in {', '.join(view.regions)}")


def down(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Name or id of a run.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Nodes of every run and user.")] = False,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="Nodes of runs whose driver has ended.")
    ] = False,
    yes: given.Yes = None,
    runs_dir: given.RunsDir = None,
    config: given.Config = None,
) -> None:
    """End nodes and all that was made with them; wait until AWS confirms it."""
    if (run is not None) + everything + orphans != 1:
        raise UsageError("give a RUN, --all or --orphans")
    merged = _config(runs_dir, config, None)
    if run is not None:
        report = _end_run(merged, run)
        if report is None:
            return
    else:
        report = _end_all(merged, only_orphans=orphans, asked=not everything or bool(yes))
    _show_report(report)


def _end_run(config: RunConfig, run: str) -> TeardownReport | None:
    """End a run's nodes; return None if the run is on this machine and never rented any."""
    from skygrid.run.cloud_cleanup import end_run, nothing_rented

    try:
        folder = find_run(run, config.runs_dir)
    except UsageError:  # a run of another machine, or an id
        folder = None
    if folder is not None and (text := nothing_rented(config, folder)) is not None:
        say(text)
        return None
    return end_run(config, run, _local_run(config, run), say)


def _local_run(config: RunConfig, run: str) -> RunHere | None:
    """Return the run if its folder is on this machine and it has rented nodes."""
    from skygrid.run.cloud_cleanup import runs_here

    try:
        folders = [find_run(run, config.runs_dir)]
    except UsageError:
        folders = run_folders(config.runs_dir)
    found = runs_here(config, folders, say)
    if len(folders) == 1 and folders[0].name.startswith(run):
        return next(iter(found), None)
    return next((one for one in found if one.run_id == run), None)


def _end_all(config: RunConfig, *, only_orphans: bool, asked: bool) -> TeardownReport:
    from skygrid.reports.terminal.rented import nodes_view
    from skygrid.run.cloud_cleanup import end_all, find_nodes, runs_here

    here = runs_here(config, run_folders(config.runs_dir), say)
    if not asked:
        view = find_nodes(config, here, time.time())
        if view.nodes:
            say_view(nodes_view(view))
            _confirm(f"End all {len(view.nodes)} nodes of every run and user?")
    return end_all(config, here, say, orphans_at=time.time() if only_orphans else None)


def _confirm(question: str) -> None:
    if not can_ask():
        raise UsageError("there is no terminal for the question: add --yes")
    if not agrees(question):
        raise InterruptedRunError("nothing was ended")


def _show_report(report: TeardownReport) -> None:
    count = f"{report.ended} node{'' if report.ended == 1 else 's'}"
    if report.verified and not report.left:
        say("\n".join((f"{count} ended; 0 nodes left, verified", *report.notes)))
        return
    left = ", ".join(report.left) or "nodes that could not be listed"
    raise NodeError("\n".join((f"not known to be gone: {left}", *report.notes)))


def _config(runs_dir: Path | None, config: Path | None, json: bool | None) -> RunConfig:
    said = {"runs_dir": runs_dir, "json": json}
    return load_config(said, os.environ, config_file=config, cwd=Path.cwd())
