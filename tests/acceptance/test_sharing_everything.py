"""Every kind of sharing in one search, alone and in pipelines, with sharing on and off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import skygrid
from skygrid.engine.settings import EngineSettings
from tests.acceptance.searches import Job, assert_same_answer, rows
from tests.driven import Driven, Nodes

pytestmark = pytest.mark.sklearn_versions


def classifiers() -> list[dict[str, list[Any]]]:
    """Return one grid for each rule about a last step; the forest has out-of-bag scores."""
    forest = RandomForestClassifier(random_state=1, oob_score=True)
    return [
        {"clf": [forest], "clf__n_estimators": [8, 12]},
        {"clf": [ExtraTreesClassifier(random_state=1)], "clf__n_estimators": [3, 1, 2]},
        {"clf": [BaggingClassifier(random_state=1)], "clf__n_estimators": [2, 4]},
        {"clf": [GradientBoostingClassifier(random_state=1)], "clf__n_estimators": [2, 5, 3]},
        {"clf": [HistGradientBoostingClassifier(random_state=1)], "clf__max_iter": [2, 4]},
        {"clf": [AdaBoostClassifier(random_state=1)], "clf__n_estimators": [2, 4]},
        {"clf": [DecisionTreeClassifier(random_state=1)], "clf__ccp_alpha": [0.0, 0.02, 0.1]},
        {"clf": [SVC(kernel="linear")], "clf__gamma": [0.1, 1, "auto"], "clf__degree": [2, 3]},
        {"clf": [GaussianNB()], "clf__var_smoothing": [1e-9, 0.1, 1, 1.0]},
        {"clf": [SVC(C=1), SVC(C=1), SVC(C=1.0)]},
    ]


def within(prefix: str, **more: Any) -> list[Mapping[str, Any]]:
    """Return the same grids for a classifier within another estimator."""
    return [{f"{prefix}{name}": found for name, found in one.items()} | more
            for one in classifiers()]  # fmt: skip


def job(estimator: Any, grid: Any, **settings: Any) -> Job:
    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(estimator, grid, **({"cv": 3} | settings))
    return Job(search, X[::2].copy(), y[::2].copy())


def nested() -> Job:
    union = FeatureUnion([("few", SelectKBest(f_classif)), ("pca", PCA(2, svd_solver="full"))])
    columns = ColumnTransformer([("a", MinMaxScaler(), [0, 1]), ("rest", "passthrough", [2, 3])])
    return job(
        Pipeline(
            [
                ("before", Pipeline([("columns", columns), ("gap", None), ("union", union)])),
                ("inner", Pipeline([("scale", StandardScaler()), ("clf", SVC())])),
            ]
        ),
        within("inner__", before__union__few__k=[1, 2]),
        scoring=["accuracy", "f1_macro"],
        refit="f1_macro",
        return_train_score=True,
    )


EVERYTHING = rows(
    alone=(
        "Every rule, without a pipeline around it.",
        lambda: job(Pipeline([("clf", SVC())]), classifiers()),
    ),
    pipeline=(
        "Every rule, after a common first step.",
        lambda: job(
            Pipeline([("scale", StandardScaler()), ("gap", "passthrough"), ("clf", SVC())]),
            classifiers(),
        ),
    ),
    nested=("Every rule, in nested pipelines after a union and columns.", nested),
)


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "apart"])
def place(request: Any, _doubles_by_value: None) -> Iterator[Any]:
    """Yield two nodes of one slot each."""
    with skygrid.cluster(
        on="local", nodes=2, concurrency=1, sharing=request.param, retries=0
    ) as running:
        yield running


@EVERYTHING
def test_sharing_changes_nothing(place: Any, row: Any, capfd: Any) -> None:
    """The search is scikit-learn's to the last bit, with sharing on or off."""
    assert_same_answer(place, row, capfd)


@EVERYTHING
def test_most_fits_are_answered_by_others(row: Any) -> None:
    """These searches do share: more than half of the results come from another candidate's fit."""
    found = row.make()
    with Driven(Nodes(1, slots=2), start_method=EngineSettings().start_method) as run:
        run.fit(found.search, found.X, found.y)
        outcomes = run.watch.outcomes
    asked = len(found.search.cv_results_["params"]) * 3
    assert len(outcomes) == asked
    assert {one.attempt for one in outcomes} == {1}
    assert sum(one.answered_by >= 0 for one in outcomes) > asked // 2
