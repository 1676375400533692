"""The commands that inspect runs and places: runs, show, compare, report, watch, logs, doctor."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skygrid.config import load_config
from skygrid.util.process import Interruption
from skygrid.util.terminal import say

from . import options as given
from .completion import complete_node
from .output import write_document, write_result, write_view
from .run_names import find_run, run_folders

if TYPE_CHECKING:
    from skygrid.reports.comparison import ComparedRun
    from skygrid.reports.run_view import RunView

FOLLOW_SECONDS = 0.5
"""Interval between two reads of the logs under ``--follow``, in seconds."""

SHOWN_RUNS = 20
"""Number of runs that `skygrid runs` lists."""

LINES_AT_ONCE = 1000
"""Number of lines of logs that are written together."""


def runs(
    limit: given.Limit = SHOWN_RUNS, runs_dir: given.RunsDir = None, json: given.Json = None
) -> None:
    """List the runs with their scores, the newest first."""
    config = load_config({"runs_dir": runs_dir, "json": json}, os.environ, cwd=Path.cwd())
    views = sorted(
        (view for folder in run_folders(config.runs_dir) if (view := _readable(folder))),
        key=lambda view: view.record.started_at,
        reverse=True,
    )
    from skygrid.reports import run_view

    if config.json:
        write_document(run_view.runs_json(views))
    elif views:
        from skygrid.reports.terminal.runs import runs_view

        shown = [
            replace(view, headline=run_view.read_headline(Path(view.folder)))
            for view in views[:limit]
        ]
        write_view(runs_view(shown, now=time.time(), left_out=len(views) - len(shown)))
    else:
        say(f"no runs in {config.runs_dir}")


def show(
    run: given.Run,
    top: given.Top = None,
    everything: given.AllCandidates = False,
    sort: given.Sort = None,
    params: given.Params = None,
    runs_dir: given.RunsDir = None,
    json: given.Json = None,
    verbose: given.Tracebacks = 0,
) -> None:
    """Show the results of a run, also of one that has not ended."""
    config = load_config({"runs_dir": runs_dir, "json": json}, os.environ, cwd=Path.cwd())
    folder = find_run(run, config.runs_dir)
    view = _view(folder)
    if config.json:
        from skygrid.reports.run_view import shown_json

        write_document(shown_json(view))
        return
    chosen = top is not None or everything or sort is not None or bool(params)
    rows = _Rows(None if everything else top or ROWS, sort, tuple(params or ())) if chosen else None
    _show_text(folder, view, rows, tracebacks=bool(verbose))


ROWS = 20
"""Rows of a chosen table without ``--top`` and ``--all``."""


@dataclass(frozen=True)
class _Rows:
    """Candidates that a user chose."""

    top: int | None
    sort: str | None
    params: tuple[str, ...]


def _show_text(folder: Path, view: RunView, rows: _Rows | None, *, tracebacks: bool) -> None:
    from skygrid.reports.ranking import ranking
    from skygrid.reports.run_view import metric_name
    from skygrid.reports.terminal.finished import summary_view
    from skygrid.reports.terminal.runs import run_panel
    from skygrid.run.shown import shown_results

    complete = view.state == "complete"
    found = shown_results(folder, view.record)
    if not complete or found is None:
        write_view(run_panel(view, now=time.time()))
    if found is None:
        return
    table = None
    if rows is not None:
        table = ranking(
            found.summary, found.results, top=rows.top, sort=rows.sort, params=rows.params
        )
    name = metric_name(view.record)
    write_view(
        summary_view(
            found.summary,
            found.results,
            metric_name=name,
            complete=complete,
            table=table,
            tracebacks=tracebacks,
        )
    )
    if found.note:
        say(found.note)


def compare(
    first: given.Run,
    second: given.Run,
    runs_dir: given.RunsDir = None,
    json: given.Json = None,
) -> None:
    """Show what differs between two runs: grid, data, versions, settings, scores."""
    from skygrid.reports.comparison import compare_runs, comparison_json
    from skygrid.reports.terminal.compared import comparison_view

    config = load_config({"runs_dir": runs_dir, "json": json}, os.environ, cwd=Path.cwd())
    runs = [_compared(find_run(name, config.runs_dir)) for name in (first, second)]
    found = compare_runs(*runs)
    if config.json:
        write_document(comparison_json(found))
    else:
        write_view(comparison_view(found))


def _compared(folder: Path) -> ComparedRun:
    from skygrid.reports.comparison import ComparedRun
    from skygrid.run.shown import shown_results

    view = _view(folder)
    found = shown_results(folder, view.record)
    if found is not None and found.note:
        say(f"{view.name}: {found.note}")
    return ComparedRun(
        name=view.name,
        state=view.state,
        record=view.record,
        summary=None if found is None else found.summary,
        results={} if found is None else found.results,
    )


def report(
    run: given.Run,
    show_it: Annotated[
        bool, typer.Option("--open", help="Open the report in the web browser.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write. Default: report.html in the run's folder.",
        ),
    ] = None,
    runs_dir: given.RunsDir = None,
) -> None:
    """Write the HTML report of a run, complete or not."""
    from skygrid.run.report import write_report

    config = load_config({"runs_dir": runs_dir}, os.environ, cwd=Path.cwd())
    path = write_report(find_run(run, config.runs_dir), output)
    write_result(f"{path}\n")
    if show_it:
        _open(path.resolve().as_uri())


def watch(
    run: given.Run,
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="N", min=0, max=65535, help="The port. Default: any that is free."
        ),
    ] = 0,
    show_it: Annotated[
        bool, typer.Option("--open", help="Open the page in the web browser.")
    ] = False,
    runs_dir: given.RunsDir = None,
) -> None:
    """Serve the report of a run on this machine while the run goes on."""
    from skygrid.run.watch import WatchServer

    config = load_config({"runs_dir": runs_dir}, os.environ, cwd=Path.cwd())
    folder = find_run(run, config.runs_dir)
    _view(folder)  # a folder that cannot be read is an error now
    with WatchServer(folder, port) as server:
        write_result(f"{server.url}\n")
        say("Ctrl-C ends it; the run goes on")
        if show_it:
            _open(server.url)
        try:
            server.serve_forever()
        except (Interruption, KeyboardInterrupt):  # the way to end it
            say("")


def _open(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        say(f"there is no web browser here; open {url} in one")


def logs(
    run: given.Run,
    node: Annotated[
        str | None,
        typer.Option(
            "--node", metavar="N", help="Only the log of this node.", autocompletion=complete_node
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run ends.")
    ] = False,
    runs_dir: given.RunsDir = None,
) -> None:
    """Print the logs of a run's nodes, each line with the name of its node."""
    from .log_lines import LogReader

    config = load_config({"runs_dir": runs_dir}, os.environ, cwd=Path.cwd())
    folder = find_run(run, config.runs_dir)
    reader = LogReader(folder / "logs", node)
    while True:
        # Read the state before the logs, so that the last lines before the end are read too.
        ended = not follow or _view(folder).state != "running"
        lines = reader.new_lines(to_the_end=ended)
        while some := "".join(islice(lines, LINES_AT_ONCE)):
            write_result(some)
        if ended:
            return
        time.sleep(FOLLOW_SECONDS)


def doctor(
    nodes: given.Nodes = None,
    on: given.On = None,
    config: given.Config = None,
    json: given.Json = None,
) -> None:
    """Check every place that the config names; print what works and what to do."""
    said = {"nodes": nodes, "on": on, "json": json}
    merged = load_config(said, os.environ, config_file=config, cwd=Path.cwd())
    from skygrid.errors import NodeError
    from skygrid.reports.finding import findings_json
    from skygrid.reports.terminal.rented import findings_view
    from skygrid.run.doctor import examine

    findings = examine(merged)
    troubled = [one.name for one in findings if one.problems]
    trouble = NodeError(f"there is trouble with {', '.join(troubled)}") if troubled else None
    if merged.json:
        write_document(findings_json(findings, trouble))
    else:
        write_view(findings_view(findings))
    if trouble is not None:
        raise trouble


def _readable(folder: Path) -> RunView | None:
    """Return the view of a run, or None with a warning if its folder cannot be read."""
    from skygrid.errors import SkygridError

    try:
        return _view(folder)
    except SkygridError as error:
        say(f"warning: {error}")
        return None


def _view(folder: Path) -> RunView:
    """Return a run's record together with the number of fits in its journal.

    Raises
    ------
    SkygridError
        If the record cannot be read.
    """
    from skygrid.reports.run_record import RunRecord
    from skygrid.reports.run_view import RunView

    record = RunRecord.read(folder)
    state = record.seen_state()
    recorded = record.fits_recorded
    # The record is written at the end of each phase; only the journal has every fit.
    if record.state == "running":
        recorded = _recorded(folder / "journal.sqlite", recorded)
    return RunView(folder=str(folder), record=record, state=state, fits_recorded=recorded)


def _recorded(journal: Path, otherwise: int) -> int:
    """Return the number of outcomes in the journal, or `otherwise` if it cannot be read."""
    from skygrid.errors import JournalError
    from skygrid.journal.sqlite import recorded_outcomes

    if not journal.is_file():
        return otherwise
    try:
        return recorded_outcomes(journal)
    except JournalError as error:
        say(f"warning: {error}")
        return otherwise
