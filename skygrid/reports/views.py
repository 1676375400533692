"""What `skygrid check` found: the plan of a search and what it will take."""

from __future__ import annotations

import msgspec

from .money import Quote
from .plain_values import Plain
from .shared_work import SharedWork

FORMAT = 1
"""Version of the JSON document."""


class RoundSize(msgspec.Struct, frozen=True, kw_only=True):
    """One round of the search."""

    candidates: int
    splits: int

    @property
    def fits(self) -> int:
        """Candidates x splits."""
        return self.candidates * self.splits


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The plan, and one fit that was tried."""

    search: str
    """Class of the search, ``GridSearchCV``."""

    rounds: tuple[RoundSize, ...]
    """The rounds that are known beforehand; all of them except where `open_ended`."""

    on: str = "local"
    """Where the nodes are."""

    nodes: int
    slots: int | None
    """Fits at a time, over all nodes; None where that is not known before they are there."""

    open_ended: bool = False
    """True when later rounds depend on scores in a way that cannot be counted beforehand."""

    shared: SharedWork | None = None
    """How many fits of the first round are to be run, and how many others they answer; None when
    nothing may be shared."""

    seconds_per_fit: float | None = None
    """Fit and score time of the fit that was tried; None when none was."""

    sample_params: dict[str, Plain] | None = None
    """The candidate that was tried."""

    sample_score: float | dict[str, float | None] | None = None
    """Its score on one split; None when it failed or was not finite."""

    sample_error: str | None = None
    """The traceback of the fit that was tried, when it failed."""

    notes: tuple[str, ...] = ()
    """Anything else the user should know before it runs."""

    quote: Quote | None = None
    """What is going to be rented; None where nothing is."""

    @property
    def candidates(self) -> int:
        """Candidates of the first round, which has all of them."""
        return self.rounds[0].candidates if self.rounds else 0

    @property
    def splits(self) -> int:
        """Splits of the first round."""
        return self.rounds[0].splits if self.rounds else 0

    @property
    def fits(self) -> int:
        """Fits in all rounds that are known."""
        return sum(size.fits for size in self.rounds)

    @property
    def estimated_seconds(self) -> float | None:
        """Wall time if every fit takes as long as the one tried; None when none was."""
        if self.seconds_per_fit is None or self.slots is None:
            return None
        fits = [size.fits for size in self.rounds]
        if self.shared is not None and fits:
            fits[0] = self.shared.run
        # A round ends with its last fit, so each takes whole turns of all slots.
        turns = sum(-(-count // max(1, self.slots)) for count in fits)
        return turns * self.seconds_per_fit

    @property
    def estimated_dollars(self) -> float | None:
        """USD, if every fit takes as long as the one tried; None where that is not known."""
        if self.quote is None or self.estimated_seconds is None:
            return None
        return self.quote.dollars_for(self.estimated_seconds)


def check_json(check: CheckResult) -> str:
    """Return the check as one JSON document: its fields, the sums of the rounds, and ``format``."""
    document = {
        "format": FORMAT,
        "candidates": check.candidates,
        "splits": check.splits,
        "fits": check.fits,
        "estimated_seconds": check.estimated_seconds,
        "estimated_dollars": check.estimated_dollars,
        **msgspec.to_builtins(check),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
