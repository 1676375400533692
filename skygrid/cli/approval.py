"""The question before money is spent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from skygrid.config import RunConfig
from skygrid.errors import InterruptedRunError, UsageError

from .output import say_view

if TYPE_CHECKING:
    from skygrid.reports.plan_view import CheckResult


def refuse_to_ask_nobody(config: RunConfig) -> None:
    """Refuse to spend where nobody can be asked, before anything is done.

    Raises
    ------
    UsageError
        If stdin or stderr is no terminal and ``--yes`` was not said.
    """
    if not config.yes and not can_ask():
        raise UsageError(
            "nodes on AWS cost money, and there is no terminal to ask on: add --yes to spend it, "
            "or --dry-run to see the price"
        )


def approve(check: CheckResult, config: RunConfig) -> None:
    """Show what is going to be rented and for how much, and ask, unless ``--yes`` was said.

    Raises
    ------
    InterruptedRunError
        If the answer is no; nothing was started.
    """
    from skygrid.reports.console import check_view

    say_view(check_view(check))
    if not config.yes and not agrees("Start these nodes?"):
        raise InterruptedRunError("not agreed to; nothing was started")


def can_ask() -> bool:
    """Whether somebody is there to see a question and to answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agrees(question: str) -> bool:
    """Ask on stderr, as stdout is for results; only a plain yes is one."""
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    if not answer.endswith("\n"):
        print(file=sys.stderr)
    return answer.strip().lower() in ("y", "yes")
