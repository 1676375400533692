"""Confirmation before money is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skygrid.config import RunConfig
from skygrid.errors import InterruptedRunError, UsageError
from skygrid.nodes.registry import place_of

from .output import agrees, can_ask, say_view

if TYPE_CHECKING:
    from skygrid.reports.views import CheckResult


def require_consent(config: RunConfig) -> None:
    """Refuse to spend money if no terminal is there for the question.

    Raises
    ------
    UsageError
        If stdin or stderr is not a terminal and ``--yes`` was not given.
    """
    if not config.yes and not can_ask():
        raise UsageError(
            f"nodes on {place_of(config).title} cost money, and there is no terminal to ask on: "
            "add --yes to spend it, or --dry-run to see the price"
        )


def approve(check: CheckResult, config: RunConfig) -> None:
    """Show the plan and its price, and ask for approval unless ``--yes`` was given.

    Raises
    ------
    InterruptedRunError
        If the answer is no. Nothing was started.
    """
    from skygrid.reports.console import check_view

    say_view(check_view(check))
    if not config.yes and not agrees("Start these nodes?"):
        raise InterruptedRunError("not approved; nothing was started")
