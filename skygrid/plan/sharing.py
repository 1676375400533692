"""Which candidates one fit answers exactly, and which share the beginning of their pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Group:
    """Candidates that one fit answers, on any one split."""

    members: tuple[int, ...]
    """Indices into the round's candidates, two or more, the one that takes longest first."""

    rule: str
    """Name of the rule that says so."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What the fits of one round have in common."""

    groups: tuple[Group, ...] = ()
    """Disjoint; a candidate in none of them is fitted by itself."""

    prefixes: tuple[int, ...] = ()
    """For each candidate the number of the longest beginning of its pipeline that others have
    too; -1 where there is none."""

    kept: frozenset[str] = frozenset()
    """Digests of the fitted transformers that a node keeps for others."""


def find_sharing(
    estimator: Any,
    candidates: Sequence[Mapping[str, Any]],
    *,
    scorer: Any,
    fit_params: Mapping[str, Any] | None,
    return_train_score: bool,
    n_samples: int | None,
    error_score: Any,
    verbose: int,
) -> Sharing:
    """Find what need not be fitted twice; whatever is uncertain is left out."""
    return Sharing(prefixes=(-1,) * len(candidates))
