"""Mistakes that scikit-learn accepts are named with their remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skygrid.search_file import load_search
from skygrid.search_file.classic_mistakes import classic_mistakes

X, Y = load_iris(return_X_y=True)
SCALED = StandardScaler().fit_transform(X)
GAPS = np.where(X > 7, np.nan, X)
GROUPS = {"groups": np.arange(150) // 10}


def found(search: Any, X: Any = X, y: Any = Y, fit_params: Any = None, cv: Any = None) -> list[str]:
    splits = list((cv or KFold(5, shuffle=True, random_state=0)).split(X, y))
    return classic_mistakes(search, X, y, fit_params or {}, {}, splits)


@pytest.mark.parametrize(
    ("search", "data", "text"),
    [
        (GridSearchCV(SVC(), {}), {"X": SCALED}, "X is standardised already"),
        (GridSearchCV(SVC(), {}, scoring="neg_log_loss"), {}, "needs predict_proba, which SVC"),
        (GridSearchCV(SVC(), {}, cv=5), {"fit_params": GROUPS}, "cv=5 does not read them"),
        (
            GridSearchCV(SVC(), {"C": range(1, 51), "gamma": range(1, 41)}),
            {},
            "2,000 candidates: 50 C x 40 gamma",
        ),
        (GridSearchCV(SVC(), {}), {"cv": KFold(3)}, "split 1 of 3 is tested on one class only"),
        (GridSearchCV(SVC(), {}), {"X": GAPS}, "NaN in 1 of 4 columns (the first: 0), which SVC"),
    ],
    ids=["scaled", "predict_proba", "groups", "grid", "class", "nan"],
)
def test_a_classic_mistake_is_named_with_its_remedy(search, data, text):
    """Each mistake gives one sentence."""
    (sentence,) = found(search, **data)
    assert text in sentence


@pytest.mark.parametrize(
    ("search", "data"),
    [
        (GridSearchCV(make_pipeline(StandardScaler(), SVC()), {}), {}),
        (GridSearchCV(SVC(probability=True), {}, scoring="neg_log_loss"), {}),
        (GridSearchCV(SVC(), {}, scoring="roc_auc_ovr"), {"X": [[1]]}),
        (GridSearchCV(SVC(), {}, cv=GroupKFold(5)), {"fit_params": GROUPS}),
        (GridSearchCV(DecisionTreeClassifier(), {}), {"X": GAPS}),
    ],
    ids=["pipeline", "probability", "strange", "group splitter", "accepts NaN"],
)
def test_searches_without_mistakes_have_no_advice(search, data):
    """What is right, or cannot be examined, gives no sentence."""
    if isinstance(data.get("X"), list):
        assert classic_mistakes(search, object(), object(), {}, {"x": 1}, [(0, 1)]) == []
    else:
        assert found(search, **data) == []


def test_names_without_effect_are_noted(tmp_path):
    """n_jobs and verbose in a search file are noted with what to use instead."""
    (tmp_path / "search.py").write_text(
        "from sklearn.datasets import load_iris\n"
        "from sklearn.model_selection import GridSearchCV\n"
        "from sklearn.svm import SVC\n"
        "dataset = load_iris(return_X_y=True)\n"
        "search = GridSearchCV(SVC(), {'C': [1]}, n_jobs=-1)\n"
        "verbose = 2\n"
    )
    verbose, n_jobs = load_search(tmp_path / "search.py").notes
    assert verbose == "verbose in the search file is not read: use skygrid run -v"
    assert n_jobs.startswith("n_jobs=-1 of the search does not decide")
