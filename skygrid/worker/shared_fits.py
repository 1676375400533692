"""Fits that answer several candidates, and fits that begin where another one has been."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .evaluation import Evaluator
from .messages import FitResult


class SharedFits:
    """Evaluates candidates together, with the results that each would have had alone.

    Parameters
    ----------
    evaluator : Evaluator
    plan : mapping
        ``candidates``, ``splits``, ``groups``, a list of (members, name of the rule), and
        ``kept``, digests of the transformers that are worth keeping.
    folder : str, optional
        Where this node's slots keep what they share.
    """

    def __init__(self, evaluator: Evaluator, plan: Mapping[str, Any], folder: str | None) -> None:
        self._evaluator = evaluator
        self._plan = plan
        self._folder = folder

    def evaluate(
        self, lease: int, slot: int, members: Sequence[int], split: int
    ) -> Iterator[FitResult]:
        """Fit and score members of one group on one split; results come as they are ready."""
        for candidate in members:
            yield self._evaluator.evaluate(lease, slot, candidate, split)
