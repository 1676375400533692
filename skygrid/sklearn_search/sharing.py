"""The work that fits of a round share, in the form that queue and nodes use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import sklearn

from skygrid.plan.records import RoundPlan
from skygrid.plan.sharing import find_sharing
from skygrid.worker.evaluation.contents import Group, SearchWork, Sharing
from skygrid.worker.evaluation.shared_samples import can_share, samples_bytes
from skygrid.worker.evaluation.sklearn_private import is_tested_release
from skygrid.worker.wire.messages.to_agent import MOST_MEMBERS

EASY_MEMBERS = 64
"""Size up to which a group is not divided in advance: the parts would cost further fits."""

PARTS = 16
"""Minimum number of parts of a large group, so that every slot gets some."""

SHARED_FROM_BYTES = 64 * 1024 * 1024
"""Size from which the samples of a split are shared; copying smaller ones is faster."""


def sharing_of(work: SearchWork, X: Any, plan: RoundPlan) -> Sharing:
    """Find the work that fits of a round can share.

    Returns
    -------
    sharing : Sharing
        No group has more than `MOST_MEMBERS` members. Prefixes are empty when no candidate has one.
    """
    found = find_sharing(work.estimator, plan.candidates, scorer=work.scorer, n_samples=_length(X))
    return replace(
        found,
        groups=tuple(part for group in found.groups for part in _cut(group)),
        prefixes=found.prefixes if max(found.prefixes, default=-1) >= 0 else (),
        samples=_shares_samples(X, plan),
    )


def _shares_samples(X: Any, plan: RoundPlan) -> bool:
    """Return whether samples are so large that the slots of a node should share them."""
    if not is_tested_release() or sklearn.get_config()["array_api_dispatch"]:
        return False
    if len(plan.candidates) < 2 or not can_share(X):
        return False
    return samples_bytes(X, plan.splits) >= SHARED_FROM_BYTES


def _cut(group: Group) -> Iterator[Group]:
    """Divide a group into parts of about equal size: few, as each costs a fit, but one per slot."""
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
