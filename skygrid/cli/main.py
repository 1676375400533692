"""The command line: parse options, call `run`, map errors to exit codes.

Heavy modules are imported inside the commands, so that ``skygrid --help`` stays fast.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from skygrid.errors import InterruptedRunError, SkygridError
from skygrid.util.process import Interruption, StdoutError, last_signal
from skygrid.util.terminal import say, show_warnings

from . import cloud_commands as renting
from . import search_commands as running
from . import view_commands as looking
from .completion import completion, prepare_completion
from .help import HelpfulTyper
from .output import unwritable
from .suggestions import SuggestingGroup

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
app.command("runs")(looking.runs)
app.command("show")(looking.show)
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
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (Interruption, KeyboardInterrupt):
        say("error: interrupted")
        return 128 + last_signal()
    except InterruptedRunError as error:
        say(f"error: {error}")
        return 128 + last_signal()
    except SkygridError as error:
        say(f"error: {error}")
        return error.exit_code
    except StdoutError as error:
        return _unwritable(error)
    except Exception as error:  # noqa: BLE001  # the outermost handler
        _report_bug(error, arguments)
        return EXIT_BUG
    return 0


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
