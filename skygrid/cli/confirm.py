"""Confirmation before money is spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skygrid.config import RunConfig
from skygrid.errors import InterruptedRunError, UsageError
from skygrid.nodes.registry import place_of
from skygrid.util.terminal import say

from .output import agrees, can_ask, say_view

if TYPE_CHECKING:
    from skygrid.reports.run_record import RunRecord
    from skygrid.reports.views import CheckResult


def require_consent(config: RunConfig, *, dry_run: bool = True) -> None:
    """Refuse to spend money if no terminal is there for the question.

    Parameters
    ----------
    config : RunConfig
    dry_run : bool, default=True
        True if the command has ``--dry-run``.

    Raises
    ------
    UsageError
        If stdin or stderr is not a terminal and ``--yes`` was not given.
    """
    if not config.yes and not can_ask():
        raise UsageError(
            f"nodes on {place_of(config).title} cost money, and there is no terminal to ask on: "
            f"add --yes to spend it{', or --dry-run to see the price' if dry_run else ''}"
        )


def require_trust(folder: Path, record: RunRecord, *, trusted: bool) -> None:
    """Ask before a run is resumed that this user did not make where it is.

    Parameters
    ----------
    folder : Path
        The run's folder.
    record : RunRecord
    trusted : bool
        True if ``--trust`` was given.

    Raises
    ------
    UsageError
        If there is no terminal for the question and ``--trust`` was not given.
    InterruptedRunError
        If the answer is no. Nothing was executed.
    """
    from skygrid.run.trust import examine, mark_own

    reason = examine(folder, record)
    if reason is None:
        return
    if not trusted:
        file = f", and {record.search_file}" if record.search_file else ""
        warning = (
            f"{folder} may not be yours: {reason}. Resuming it runs code from this folder{file}"
        )
        if not can_ask():
            raise UsageError(f"{warning}. Add --trust if you trust everyone who can write there")
        say(warning)
        if not agrees("Resume it?"):
            raise InterruptedRunError("not trusted; nothing was executed")
    mark_own(folder, record)


def approve(check: CheckResult, config: RunConfig) -> None:
    """Show the plan and its price, and ask for approval unless ``--yes`` was given.

    Raises
    ------
    InterruptedRunError
        If the answer is no. Nothing was started.
    """
    from skygrid.reports.terminal.checked import check_view

    say_view(check_view(check))
    if not config.yes and not agrees("Start these nodes?"):
        raise InterruptedRunError("not approved; nothing was started")
