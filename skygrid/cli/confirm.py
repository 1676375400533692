"""The question before money is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skygrid.config import RunConfig
from skygrid.errors import InterruptedRunError, UsageError

from .output import agrees, can_ask, say_view

if TYPE_CHECKING:
    from skygrid.reports.views import CheckResult


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
