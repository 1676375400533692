"""Records of `skygrid check` and `skygrid nodes`: a plan with its cost, nodes that run."""

from __future__ import annotations

import msgspec

from skygrid.nodes.records import NodeList, Quote

from .envelope import envelope, json_text
from .failures import error_of
from .plain_values import Plain
from .shared_work import SharedWork


class RoundSize(msgspec.Struct, frozen=True, kw_only=True):
    """Size of one round."""

    candidates: int
    splits: int

    @property
    def fits(self) -> int:
        """Candidates x splits."""
        return self.candidates * self.splits


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The plan, and the result of one sample fit."""

    search: str
    """Class of the search, as ``GridSearchCV``."""

    rounds: tuple[RoundSize, ...]
    """Rounds known in advance: all, unless `open_ended`."""

    on: str = "local"
    """Place of the nodes."""

    nodes: int
    slots: int | None
    """Parallel fits over all nodes; None if unknown before the start."""

    open_ended: bool = False
    """True if the number of later rounds depends on scores."""

    shared: SharedWork | None = None
    """Planned sharing in the first round; None if sharing is off."""

    seconds_per_fit: float | None = None
    """Fit and score time of the sample fit in seconds; None without one."""

    sample_params: dict[str, Plain] | None = None
    """Candidate of the sample fit."""

    sample_score: float | dict[str, float | None] | None = None
    """Its score on one split; None if it failed or is not finite."""

    sample_error: str | None = None
    """Traceback of a failed sample fit."""

    notes: tuple[str, ...] = ()
    """Further notes for the user."""

    quote: Quote | None = None
    """The nodes to be rented; None if none are."""

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
        """Fits in all known rounds."""
        return sum(size.fits for size in self.rounds)

    @property
    def estimated_seconds(self) -> float | None:
        """Wall time in seconds if every fit takes as long as the sample; None without a sample."""
        if self.seconds_per_fit is None or self.slots is None:
            return None
        fits = [size.fits for size in self.rounds]
        if self.shared is not None and fits:
            fits[0] = self.shared.run
        # Rounds end with their last fit, so each takes a whole number of turns of all slots.
        turns = sum(-(-count // max(1, self.slots)) for count in fits)
        return turns * self.seconds_per_fit

    @property
    def estimated_dollars(self) -> float | None:
        """USD for `estimated_seconds`; None if unknown."""
        if self.quote is None or self.estimated_seconds is None:
            return None
        return self.quote.dollars_for(self.estimated_seconds)


def check_json(check: CheckResult) -> str:
    """Return the check as one JSON document: its fields and the totals."""
    head = envelope("check")
    if check.sample_error is not None:
        head = envelope("check", "failed", error_of(check.sample_error), 1)
    document = {
        **head,
        "candidates": check.candidates,
        "splits": check.splits,
        "fits": check.fits,
        "estimated_seconds": check.estimated_seconds,
        "estimated_dollars": check.estimated_dollars,
        **msgspec.to_builtins(check),
    }
    return json_text(document)


def nodes_json(found: NodeList) -> str:
    """Return one JSON document: the fields of `NodeList`."""
    return json_text(envelope("nodes") | msgspec.to_builtins(found))
