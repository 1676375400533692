"""Groups of a round are divided for its slots."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import check_scoring
from sklearn.naive_bayes import GaussianNB

from skygrid.plan.records import RoundPlan
from skygrid.sklearn_search.sharing import sharing_of
from skygrid.worker.evaluation.contents import SearchWork
from skygrid.worker.wire.messages.to_agent import MOST_MEMBERS

FEW = np.zeros((6, 1))
PARTS = {2: 1, 64: 1, 65: 2, 640: 10, 1024: 16, 4096: 16, 4097: 17}


def parts_of(n_candidates: int) -> list[tuple[int, ...]]:
    """Return the parts of one group with this number of candidates."""
    work = SearchWork(
        estimator=GaussianNB(),
        scorer=check_scoring(GaussianNB(), "accuracy"),
        return_train_score=False,
        error_score=np.nan,
        verbose=0,
    )
    candidates = [{"var_smoothing": 1.0 + step} for step in range(n_candidates)]
    plan = RoundPlan(round=0, candidates=candidates, splits=[(np.arange(4), np.arange(4, 6))])
    return [tuple(group.members) for group in sharing_of(work, FEW, plan).groups]


@pytest.mark.parametrize("n_candidates", PARTS)
def test_a_large_group_is_cut_into_equal_parts(n_candidates: int) -> None:
    """Each candidate is in one part, parts are about equal, and small groups stay whole."""
    parts = parts_of(n_candidates)
    assert len(parts) == PARTS[n_candidates]
    assert sorted(member for part in parts for member in part) == list(range(n_candidates))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= MOST_MEMBERS
