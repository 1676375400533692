"""The commands for searches: init, check, run, resume."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skygrid.config import RunConfig, load_config, resume_config
from skygrid.errors import UsageError
from skygrid.nodes.registry import PLACES, place_named, place_of
from skygrid.util.terminal import say

from . import github
from . import options as given
from .confirm import approve, require_consent, require_trust
from .output import ask_for_json, write_document, write_view
from .template import Template, write_template

if TYPE_CHECKING:
    from skygrid.listener import Listener
    from skygrid.run.commands import Prepared
    from skygrid.run.session import RunResult


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path(
        "search.py"
    ),
    template: Annotated[
        Template,
        typer.Option(
            "--template",
            metavar="KIND",
            help="The kind of search: commented (all names explained), tabular, text, halving "
            "or custom (own transformer and scorer).",
        ),
    ] = Template.commented,
) -> None:
    """Write a commented search file that runs as it is."""
    write_template(file, template)
    say(f"wrote {file}; now: skygrid run {file}")


def check(
    file: given.SearchFile,
    nodes: given.Nodes = None,
    concurrency: given.Concurrency = None,
    on: given.On = None,
    config: given.Config = None,
    fit_timeout: given.FitTimeout = None,
    no_sharing: given.NoSharing = None,
    json: given.Json = None,
    quiet: given.Quiet = None,
    verbose: given.Verbose = 0,
) -> None:
    """Load a search, fit one candidate on one split, and print the plan."""
    _check(file, _config(file, config, _said(locals())))


def run(
    file: given.SearchFile,
    nodes: given.Nodes = None,
    concurrency: given.Concurrency = None,
    on: given.On = None,
    config: given.Config = None,
    name: given.Name = None,
    runs_dir: given.RunsDir = None,
    max_cost: given.MaxCost = None,
    max_hours: given.MaxHours = None,
    fit_timeout: given.FitTimeout = None,
    retries: given.Retries = None,
    fail_under: given.FailUnder = None,
    no_sharing: given.NoSharing = None,
    dry_run: given.DryRun = None,
    yes: given.Yes = None,
    json: given.Json = None,
    quiet: given.Quiet = None,
    verbose: given.Verbose = 0,
) -> None:
    """Run the search of a search file."""
    merged = _config(file, config, _said(locals()))
    if merged.dry_run:
        _check(file, merged)
        return
    if place_of(merged).rental is not None:
        _rented(lambda listener: _prepare_run(file, merged, listener), merged)
        return

    def start(listener: Listener) -> RunResult:
        from skygrid.run.commands import run_search

        return run_search(file, merged, listener)

    _search(start, merged)


def resume(
    run: given.Run,
    nodes: given.Nodes = None,
    concurrency: given.Concurrency = None,
    on: given.ResumeOn = None,
    config: given.ResumeConfig = None,
    runs_dir: given.RunsDir = None,
    max_cost: given.MaxCost = None,
    max_hours: given.MaxHours = None,
    fit_timeout: given.FitTimeout = None,
    retries: given.Retries = None,
    fail_under: given.FailUnder = None,
    no_sharing: given.ChangedSharing = None,
    salvage: given.Salvage = False,
    trust: given.Trust = False,
    yes: given.Yes = None,
    json: given.Json = None,
    quiet: given.Quiet = None,
    verbose: given.Verbose = 0,
) -> None:
    """Continue an interrupted run; recorded fits are never fitted again."""
    said = _said(locals())
    from skygrid.reports.run_record import RunRecord
    from skygrid.run.secrets_file import recorded_settings

    from .run_names import find_run

    folder = find_run(run, _runs_dir(runs_dir))
    said.pop("runs_dir")
    record, trusted = RunRecord.read(folder), said.pop("trust")
    require_trust(folder, record, trusted=trusted)
    if said.pop("salvage"):
        from skygrid.run.folder import salvage_run

        say(salvage_run(folder))
        record = RunRecord.read(folder)
        require_trust(folder, record, trusted=trusted)  # its plans can be read only now
    settings = recorded_settings(folder, record)
    merged = resume_config(settings, said, config)
    _refuse_other_place(resume_config(settings, {}), merged)
    if place_of(merged).rental is not None:
        from skygrid.run.commands import is_complete, may_have_left_nodes

        left = may_have_left_nodes(record, merged, folder)
        if left:
            say(f"{record.name} is complete; nodes of it that may be left are ended now")
        if left or not is_complete(record):
            prepare = partial(_prepare_resume, folder, merged)
            _rented(prepare, merged, ask=not left)
            return

    def start(listener: Listener) -> RunResult:
        from skygrid.run.commands import resume_run

        return resume_run(folder, merged, listener)

    _search(start, merged)


def _refuse_other_place(before: RunConfig, now: RunConfig) -> None:
    """Refuse to take a run away from a place that rents nodes: only there they are ended."""
    # Without its checks: a run of a cluster may be resumed where that cluster is out of reach.
    if now.on != before.on and before.on in PLACES and place_named(before.on).rental is not None:
        raise UsageError(
            f"the run has rented nodes on {before.on}, and is resumed there: leave out "
            f"{now.origin('on')}"
        )


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a command's options by field of `RunConfig`; None for each option that was not
    given."""
    said = {name: value for name, value in values.items() if name not in ("file", "run", "config")}
    said["verbose"] = said["verbose"] or None
    return said


def _config(file: Path, config_file: Path | None, said: Mapping[str, Any]) -> RunConfig:
    merged = load_config(
        said, os.environ, search_file=file, config_file=config_file, cwd=Path.cwd()
    )
    if merged.json:
        ask_for_json()
    return merged


def _runs_dir(option: Path | None) -> Path:
    return load_config({"runs_dir": option}, os.environ, cwd=Path.cwd()).runs_dir


@contextmanager
def _progress(config: RunConfig, *, transient: bool = False) -> Iterator[Listener]:
    from skygrid.reports.live import show_progress
    from skygrid.reports.progress import Progress
    from skygrid.run.interrupts import acknowledged

    progress = Progress(time.monotonic)

    def acknowledge(text: str) -> None:
        if config.quiet or not sys.stderr.isatty():  # lines come every few seconds
            say(text)
        else:
            progress.message(text, always=True)

    with (
        show_progress(progress, quiet=config.quiet, verbose=config.verbose, transient=transient),
        acknowledged(acknowledge),
    ):
        if not config.verbose:
            yield progress
            return
        from skygrid.run.driver_log import told_to

        with told_to(progress):
            yield progress


def _prepare_run(file: Path, config: RunConfig, listener: Listener) -> Prepared:
    from skygrid.run.commands import prepare_run

    return prepare_run(file, config, listener)


def _prepare_resume(folder: Path, config: RunConfig, listener: Listener) -> Prepared:
    from skygrid.run.commands import prepare_resume

    return prepare_resume(folder, config, listener)


def _rented(
    prepare: Callable[[Listener], Prepared], config: RunConfig, *, ask: bool = True
) -> None:
    """Show the price of the nodes, ask for approval, then rent them.

    Parameters
    ----------
    prepare : callable
    config : RunConfig
    ask : bool, default=True
        False: nodes are only ended, which needs no approval.
    """
    if ask:
        require_consent(config)
    with _progress(config, transient=True) as listener:
        prepared = prepare(listener)
    if ask:
        approve(prepared.check, config)

    def start(listener: Listener) -> RunResult:
        from skygrid.run.commands import run_prepared

        return run_prepared(prepared, listener)

    _search(start, config)


def _search(start: Callable[[Listener], RunResult], config: RunConfig) -> None:
    with _progress(config) as listener:
        result = start(listener)
    _show(result, config)
    if result.trouble is not None:
        result.trouble.folder = result.folder
        raise result.trouble
    if github.runs_here():
        github.report(github.COMMANDS, result.folder, None)


def _show(result: RunResult, config: RunConfig) -> None:
    if config.json:
        from skygrid.reports.result_json import read_document

        write_document(read_document(result.folder))
    else:
        from skygrid.reports.result_json import read_result
        from skygrid.reports.run_view import metric_of_run
        from skygrid.reports.terminal.finished import summary_view

        _, results = read_result(result.folder)
        name = metric_of_run(result.folder)
        write_view(summary_view(result.summary, results, metric_name=name))


def _check(file: Path, config: RunConfig) -> None:
    from skygrid.run.commands import check_search

    with _progress(config) as listener:
        found = check_search(file, config, listener)
    if config.json:
        from skygrid.reports.views import check_json

        write_document(check_json(found))
    else:
        from skygrid.reports.terminal.checked import check_view

        write_view(check_view(found, traceback=bool(config.verbose)))
    if found.sample_error:
        from skygrid.errors import SearchFailedError
        from skygrid.reports.failures import error_of, short_error

        more = "" if config.verbose else "; -v shows the traceback"
        said = short_error(error_of(found.sample_error))
        raise SearchFailedError(f"the sample fit failed: {said}{more}")
