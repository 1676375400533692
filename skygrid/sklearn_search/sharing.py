"""What the fits of a round have in common, as the queue and the nodes can use it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import sklearn

from skygrid.plan.records import Group, RoundPlan, Sharing
from skygrid.plan.sharing import find_sharing, is_tested_release
from skygrid.sklearn_search.driven_search import SearchWork
from skygrid.worker.evaluation.shared_samples import can_share, samples_bytes
from skygrid.worker.wire.messages import MOST_MEMBERS

EASY_MEMBERS = 64
"""Members of a group that it is not worth a further fit to take apart from the start."""

PARTS = 16
"""Parts of a large group at the least: there should be some for every slot."""

SHARED_FROM_BYTES = 64 * 1024 * 1024
"""Smaller samples are copied for each fit sooner than they are shared."""


def sharing_of(work: SearchWork, plan: RoundPlan) -> Sharing:
    """Find what need not be fitted twice in a round.

    Parameters
    ----------
    work : SearchWork
    plan : RoundPlan

    Returns
    -------
    sharing : Sharing
        No group has more than `MOST_MEMBERS` members. Prefixes are empty when no candidate has one.
    """
    found = find_sharing(
        work.estimator, plan.candidates, scorer=work.scorer, n_samples=_length(work.X)
    )
    return replace(
        found,
        groups=tuple(part for group in found.groups for part in _cut(group)),
        prefixes=found.prefixes if max(found.prefixes, default=-1) >= 0 else (),
        samples=_shares_samples(work.X, plan),
    )


def _shares_samples(X: Any, plan: RoundPlan) -> bool:
    """Whether samples of X are so large that a node's slots should have them once."""
    if not is_tested_release() or sklearn.get_config()["array_api_dispatch"]:
        return False
    if len(plan.candidates) < 2 or not can_share(X):
        return False
    return samples_bytes(X, plan.splits) >= SHARED_FROM_BYTES


def _cut(group: Group) -> Iterator[Group]:
    """A group in parts of about equal size: few, as each costs a fit, yet some for every slot."""
    count = len(group.members)
    ways = max(math.ceil(count / MOST_MEMBERS), min(math.ceil(count / EASY_MEMBERS), PARTS))
    for way in range(ways):
        members: Sequence[int] = group.members[way * count // ways : (way + 1) * count // ways]
        yield replace(group, members=tuple(members))


def _length(X: object) -> int | None:
    shape = getattr(X, "shape", None)
    if shape:
        return int(shape[0])
    return len(X) if hasattr(X, "__len__") else None
