"""Every error that skygrid raises on purpose.

Each class carries the exit code of the command line (`exit_code`). Each message names what is wrong
and the next step. Any other exception that reaches the user is a bug.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class SkygridError(Exception):
    """Base of all errors that skygrid raises on purpose."""

    exit_code = 1
    folder: Path | None = None
    """Folder of the run that the error ended, if its ``result.json`` has the error."""


class SearchFailedError(SkygridError):
    """The search itself failed: all fits failed, or one did under ``error_score="raise"``."""


class FitKilledError(SearchFailedError):
    """A fit was given up because its slot died, under ``error_score="raise"``."""


class CallKilledError(SkygridError):
    """A call of joblib was given up because it took its slot down, or because nodes were lost."""


class FolderError(SkygridError):
    """A run's folder or its output cannot be written: disk full, read-only, forbidden."""

    exit_code = 6


class JournalError(FolderError):
    """The journal cannot be read or written: locked, damaged, read-only, disk full."""


class DamagedJournalError(JournalError):
    """The journal does not hold what was written to it."""


class UsageError(SkygridError):
    """Wrong usage of a command, an option or the Python interface."""

    exit_code = 2


class SearchFileError(UsageError):
    """The search file lacks a name, misspells one, gives the wrong type, or raises."""


class ConfigError(UsageError):
    """A key or value of the config file, the environment or an option is not understood."""


class FingerprintError(UsageError):
    """A journal belongs to another search than the present one."""


class BelowScoreError(SkygridError):
    """The search is complete, but its best score is below ``--fail-under``."""

    exit_code = 5


class NodeError(SkygridError):
    """Nodes could not be had, reached or prepared."""

    exit_code = 3


class HandshakeError(NodeError):
    """A node has other versions than the driver, or another protocol."""


class PreparationError(NodeError):
    """A node's Python environment cannot be described, packed or made."""


class ProtocolError(NodeError):
    """A node sent data that is no message of the protocol."""


class BudgetReachedError(SkygridError):
    """``--max-cost`` or ``--max-hours`` was reached; the run can be resumed."""

    exit_code = 4


class InterruptedRunError(SkygridError):
    """A signal interrupted the run; it can be resumed. The command ends with 128 + its number."""

    exit_code = 130


def reason(error: BaseException) -> str:
    """Return the text of an error; where it has none, in words or as its class."""
    if str(error):
        return str(error)
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
