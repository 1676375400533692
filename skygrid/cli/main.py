"""The command line: parse options, call `run`, map errors to exit codes.

Heavy modules are imported inside the commands, so that ``skygrid --help`` stays fast.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from skygrid.errors import InterruptedRunError, SkygridError
from skygrid.reports.envelope import error_json
from skygrid.util.process import Interruption, StdoutError, last_signal
from skygrid.util.terminal import say, show_warnings

from . import cloud_commands as renting
from . import exec_command as executing
from . import github
from . import search_commands as running
from . import view_commands as looking
from .completion import completion, prepare_completion
from .help import HelpfulTyper
from .output import begin_output, lacks_document, unwritable, write_document
from .suggestions import SuggestingGroup

LOGGER = logging.getLogger(__name__)

TRUE = ("1", "true", "yes", "on")
"""Texts that switch a setting on in the environment."""

EXIT_BUG = 1
"""Exit code of an unexpected error, the same as of a failed search."""

app = HelpfulTyper(
    name="skygrid",
    cls=SuggestingGroup,
    help="Run scikit-learn hyperparameter searches, and get scikit-learn's own object back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"skygrid {version('skygrid')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


app.command("init")(running.init)
app.command("check")(running.check)
app.command("run")(running.run)
app.command("resume")(running.resume)
app.command("exec", context_settings=executing.SETTINGS)(executing.execute)
app.command("runs")(looking.runs)
app.command("show")(looking.show)
app.command("report")(looking.report)
app.command("watch")(looking.watch)
app.command("compare")(looking.compare)
app.command("logs")(looking.logs)
app.command("nodes")(renting.nodes)
app.command("down")(renting.down)
app.command("doctor")(looking.doctor)
app.command("completion")(completion)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: ``sys.argv[1:]``.
    """
    show_warnings()
    prepare_completion()
    sys.exit(exit_code(sys.argv[1:] if arguments is None else list(arguments)))


def exit_code(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; report each error on stderr."""
    begin_output(json=_asks_for_json(arguments))
    code = _exit_code(arguments)
    try:
        sys.stdout.flush()  # texts of typer may still be in the buffer
    except BrokenPipeError:  # the reader has what it wanted, as ``| head`` does
        return code
    except StdoutError as error:
        return code or _unwritable(error)
    return code


def _unwritable(error: StdoutError) -> int:
    said = unwritable(error)
    say(f"error: {said}")
    return said.exit_code


def _exit_code(arguments: Sequence[str]) -> int:
    try:
        app(args=list(arguments), prog_name="skygrid")
    except SystemExit as end:  # typer ends every command so, also a successful one
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not code or _runs_a_script(arguments):
            return code
        return _failed(code, "wrong usage; the message is on stderr", arguments)
    except (Interruption, KeyboardInterrupt):
        say("error: interrupted")
        return _failed(128 + last_signal(), "interrupted", arguments)
    except InterruptedRunError as error:
        say(f"error: {error}")
        return _failed(128 + last_signal(), error, arguments)
    except SkygridError as error:
        say(f"error: {error}")
        return _failed(error.exit_code, error, arguments)
    except StdoutError as error:
        return _unwritable(error)
    except Exception as error:  # noqa: BLE001  # the outermost handler
        _report_bug(error, arguments)
        return _failed(EXIT_BUG, f"{type(error).__name__}: {error}", arguments)
    return 0


def _failed(code: int, error: SkygridError | str, arguments: Sequence[str]) -> int:
    """Report a failure to programs: the JSON document if one was asked for, and GitHub Actions.

    Return the exit code.
    """
    folder = _folder_of(error)
    if lacks_document():
        from skygrid.reports.result_json import read_document

        try:
            write_document(
                error_json(str(error), code) if folder is None else read_document(folder)
            )
        except (SkygridError, typer.Exit) as problem:  # stdout is full or closed
            LOGGER.debug("no document on stdout: %s", problem)
    if github.runs_here():
        github.report(arguments, folder, str(error))
    return code


def _folder_of(error: BaseException | str | None) -> Path | None:
    """Return the folder of the run that the error ended; None: it ended no run."""
    while isinstance(error, SkygridError):
        if error.folder is not None:
            return error.folder
        error = error.__cause__
    return None


def _runs_a_script(arguments: Sequence[str]) -> bool:
    """Return whether exit code, stdout and most arguments are those of a script."""
    return list(arguments[:1]) == ["exec"]


def _asks_for_json(arguments: Sequence[str]) -> bool:
    if _runs_a_script(arguments):
        return False
    return "--json" in arguments or os.environ.get("SKYGRID_JSON", "").strip().lower() in TRUE


def _report_bug(error: Exception, arguments: Sequence[str]) -> None:
    """Report the error in one line and save its traceback for a bug report."""
    trace = "".join(traceback.format_exception(error))
    if _is_verbose(arguments):
        say(trace.rstrip())
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="skygrid-", suffix=".traceback", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"skygrid {' '.join(arguments)}\n\n{trace}")
        where = f"The traceback is in {Path(file.name)}; please report it."
    except OSError:  # there is no folder for temporary files
        where = "Please report it with the traceback that -v shows."
    say(f"error: a bug in skygrid: {said}\n{where}")


def _is_verbose(arguments: Sequence[str]) -> bool:
    return any(one == "--verbose" or one.strip("v") == "-" != one for one in arguments)
