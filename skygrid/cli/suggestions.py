"""Suggestions for commands and options that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from typer.core import TyperGroup

WHOLE = "skygrid"
"""Name that stands for the options before the command."""

COMMANDS_ELSEWHERE = {
    "cancel": "down",
    "continue": "resume",
    "create": "init",
    "destroy": "down",
    "fit": "run",
    "kill": "down",
    "list": "runs",
    "ls": "runs",
    "new": "init",
    "plan": "check",
    "ps": "nodes",
    "python": "exec",
    "restart": "resume",
    "results": "show",
    "start": "run",
    "status": "show",
    "stop": "down",
    "submit": "run",
    "terminate": "down",
    "validate": "check",
}
"""Commands of other tools, with the command that does the same here."""

OPTIONS_ELSEWHERE = {
    "-j": "--concurrency",
    "-n": "--nodes",
    "--backend": "--on",
    "--budget": "--max-cost",
    "--cores": "--concurrency",
    "--cpus": "--concurrency",
    "--force": "--yes",
    "--hosts": "--nodes",
    "--instances": "--nodes",
    "--jobs": "--concurrency",
    "--machines": "--nodes",
    "--max-time": "--max-hours",
    "--n-jobs": "--concurrency",
    "--n_jobs": "--concurrency",
    "--output": "--runs-dir",
    "--output-dir": "--runs-dir",
    "--threads": "--concurrency",
    "--timeout": "--fit-timeout",
    "--workers": "--nodes",
}
"""Options of other tools, with the option that does the same here."""


class SuggestingGroup(TyperGroup):
    """A group of commands whose errors name the command or option that was meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; suggest another one where it does not exist."""
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            if args and args[0] not in self.commands and not args[0].startswith("-"):
                remedy = command_meant(args, self.commands)
                _reword(error, f"there is no command {args[0]}; {remedy}")
            raise

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the options before the command; suggest others for those that do not exist."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            self._reword_option(error, WHOLE)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; suggest other options for those that do not exist."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            self._reword_option(error, ctx.invoked_subcommand or WHOLE)
            raise

    def _reword_option(self, error: Exception, command: str) -> None:
        option = getattr(error, "option_name", None)
        if option is None or not hasattr(error, "possibilities"):
            return  # another kind of error
        options = {name: _options(one) for name, one in self.commands.items()}
        options[WHOLE] = _options(self)
        remedy = option_meant(str(option), command, options)
        _reword(error, f"there is no option {option}; {remedy}")


def command_meant(words: Sequence[str], commands: Iterable[str]) -> str:
    """Return the remedy for a command that does not exist.

    Parameters
    ----------
    words : sequence of str
        The command line, from the unknown command on.
    commands : iterable of str
        The commands that exist.
    """
    word, known = words[0], list(commands)
    if word.endswith(".py"):
        return f"did you mean: skygrid run {' '.join(words)}"
    meant = COMMANDS_ELSEWHERE.get(word.lower()) or _nearest(word.lower(), known)
    return f"did you mean {meant}?" if meant else f"the commands are {', '.join(known)}"


def option_meant(option: str, command: str, options: Mapping[str, Sequence[str]]) -> str:
    """Return the remedy for an option that does not exist.

    Parameters
    ----------
    option : str
        As the user wrote it, without its value.
    command : str
        The command that was given.
    options : mapping of str to sequence of str
        The options of each command.
    """
    own = options[command]
    elsewhere = OPTIONS_ELSEWHERE.get(option.lower())
    near = elsewhere if elsewhere in own else _nearest(option.lower(), own)
    if near:
        return f"did you mean {near}?"
    others = [name for name, there in options.items() if option in there]
    if others:
        after = ": write it after the command" if command == WHOLE else ""
        return f"it is an option of {', '.join(others)}{after}"
    return f"the options are {', '.join(one for one in own if one.startswith('--'))}"


def _nearest(word: str, known: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.7)), None)


def _options(command: Any) -> list[str]:
    return [text for one in command.params for text in (*one.opts, *one.secondary_opts)
            if text.startswith("-")]  # fmt: skip


def _reword(error: Exception, message: str) -> None:
    """Replace the message of an error of click, which typer has under changing names."""
    error.message = message  # type: ignore[attr-defined]
    if hasattr(error, "possibilities"):
        error.possibilities = None
