"""Parameter values and splits of every kind reach fits unchanged."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneOut,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tests.acceptance.doubles import MiscountingSplitter, ReprClassifier
from tests.acceptance.searches import Job, Row, assert_same_answer, flowers, patients, rows

pytestmark = pytest.mark.sklearn_versions


def written(*values: Any) -> Job:
    """Return a search over values that score by their repr."""
    return Job(GridSearchCV(ReprClassifier(), {"level": list(values)}, cv=3), *flowers())


def steps(grid: Any, **options: Any) -> Job:
    pipeline = Pipeline([("scale", StandardScaler()), ("reduce", PCA(2)), ("clf", SVC())])
    return Job(GridSearchCV(pipeline, grid, cv=3, **options), *flowers())


def plus_one(X: Any) -> Any:
    return X + 1


@rows(
    kinds_of_one=("1, 1.0 and True are three values.", lambda: written(1, 1.0, True, np.int8(1))),
    zeros=("0.0 and -0.0 are two values.", lambda: written(0.0, -0.0, 0, False)),
    numpy_numbers=(
        "NumPy numbers keep their types.",
        lambda: written(np.float32(0.1), np.float64(0.1), np.int64(3), np.bool_(True)),
    ),
    not_finite=("NaN and infinity are values.", lambda: written(math.nan, math.inf, -math.inf)),
    nothing=("None is a value.", lambda: written(None, 1)),
    texts=("Texts are values.", lambda: written("a", "abc", "")),
    mixed=("Values of all kinds mix.", lambda: written(1, "a", None, 2.5, (1, 2), [3])),
    tuples=("Tuples are values.", lambda: written((1,), (1, 2), (1, (2, 3)))),
    tuples_of_one_length=(
        "Tuples of one length are not taken for rows.",
        lambda: written((1, 2), (3, 4.5)),
    ),
    nested_lists=("Nested lists are values.", lambda: written([[1], [2, 3]], [[1]], [])),
    dicts=("Dicts are values.", lambda: written({"a": 1}, {0: 0.5, 1: 2}, {})),
    sets=("Sets are values.", lambda: written({1}, frozenset({2, 3}))),
    arrays=("Arrays are values.", lambda: written(np.arange(3), np.arange(12.0).reshape(3, 4))),
    ranges=("Ranges and slices are values.", lambda: written(range(3), slice(1, 9, 2))),
    complex_numbers=("Complex numbers are values.", lambda: written(1j, 2 + 3j)),
    functions=("Functions are values.", lambda: written(plus_one, np.log1p, math.sqrt, len)),
    lambdas=(
        "Functions without a name are values.",
        lambda: Job(
            GridSearchCV(
                Pipeline([("f", FunctionTransformer()), ("clf", GaussianNB())]),
                {"f__func": [lambda X: X**2, plus_one, None, np.sin]},
                cv=3,
            ),
            *flowers(),
        ),
    ),
    classes=("Classes are values.", lambda: written(SVC, ReprClassifier, dict)),
    estimators=(
        "Estimators are values, and others set their parameters.",
        lambda: steps(
            [
                {"clf": [SVC(), GaussianNB()]},
                {"clf": [SVC(kernel="linear")], "clf__C": [0.1, 1]},
                {"clf": [RandomForestClassifier(3, random_state=1)], "clf__max_depth": [1, 2]},
            ]
        ),
    ),
    steps_left_out=(
        "Steps can be passed through, left out or exchanged.",
        lambda: steps(
            {"scale": ["passthrough", MinMaxScaler()], "reduce": [None, PCA(1), "passthrough"]}
        ),
    ),
    score_functions=(
        "A function within a step is a value.",
        lambda: steps({"reduce": [SelectKBest(f_classif)], "reduce__k": [1, 2, "all"]}),
    ),
    arrays_within=(
        "An array of priors is a value.",
        lambda: Job(
            GridSearchCV(
                GaussianNB(), {"priors": [None, np.full(3, 1 / 3), [0.2, 0.3, 0.5]]}, cv=3
            ),
            *flowers(),
        ),
    ),
    array_of_values=(
        "The values may stand in an array.",
        lambda: Job(GridSearchCV(SVC(), {"C": np.logspace(-1, 1, 3)}, cv=3), *flowers()),
    ),
    seeded_by_number=(
        "A seed gives the same fit.",
        lambda: Job(
            GridSearchCV(SGDClassifier(random_state=7), {"alpha": [1e-3, 1e-1]}, cv=3), *flowers()
        ),
    ),
    seeded_by_state=(
        "A random state is copied for every fit as it stood at the start.",
        lambda: Job(
            GridSearchCV(
                RandomForestClassifier(3, random_state=np.random.RandomState(4)),
                {"max_depth": [1, 2]},
                cv=3,
            ),
            *flowers(),
        ),
    ),
    seeds_as_values=(
        "Random states are values.",
        lambda: Job(
            GridSearchCV(
                DecisionTreeClassifier(max_features=1),
                {"random_state": [0, np.random.RandomState(1), 2]},
                cv=3,
            ),
            *flowers(),
        ),
    ),
)
def test_parameters(row: Row, cluster: Any, capfd: Any) -> None:
    """Every value reaches the estimator and the results unchanged."""
    assert_same_answer(cluster, row, capfd)


def split(cv: Any, **fit_params: Any) -> Job:
    search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}, cv=cv)
    return Job(search, *flowers(), fit_params)


def halves() -> Any:
    return [(np.arange(0, 50, 2), np.arange(1, 50, 2)), (np.arange(1, 50, 2), np.arange(0, 50, 2))]


def many_lists() -> Job:
    parts = [[list(range(part, 50, 10)) for part in parts] for parts in permutations(range(5), 2)]
    cv = [(train + test, test[::-1]) for train, test in parts]
    return Job(GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-2, 1]}, cv=cv), *flowers())


def masks() -> Any:
    mask = np.arange(50) % 3 == 0
    return [(~mask, mask), (np.flatnonzero(mask), np.flatnonzero(~mask))]


@rows(
    default=("Five stratified splits by default.", lambda: split(None)),
    number=("A number of splits.", lambda: split(4)),
    number_for_a_regressor=(
        "A number of splits that are not stratified.",
        lambda: Job(GridSearchCV(Ridge(), {"alpha": [1]}, cv=4), *patients()),
    ),
    k_fold=("A splitter.", lambda: split(KFold(4, shuffle=True, random_state=3))),
    k_fold_with_state=(
        "A splitter that draws from a random state.",
        lambda: split(StratifiedKFold(3, shuffle=True, random_state=np.random.RandomState(8))),
    ),
    shuffle_split=("Random splits.", lambda: split(ShuffleSplit(4, test_size=9, random_state=0))),
    repeated=(
        "Repeated splits.",
        lambda: split(RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=1)),
    ),
    time_series=(
        "Splits of growing size.",
        lambda: Job(GridSearchCV(Ridge(), {"alpha": [1]}, cv=TimeSeriesSplit(3)), *patients()),
    ),
    leave_one_out=(
        "One sample at a time.",
        lambda: Job(
            GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1]}, cv=LeaveOneOut()),
            flowers()[0][::3],
            flowers()[1][::3],
        ),
    ),
    predefined=("Splits that are given.", lambda: split(PredefinedSplit(np.arange(50) % 4 - 1))),
    pairs=("A list of index arrays.", lambda: split(halves())),
    pairs_of_lists=(
        "Indices in lists.",
        lambda: split([(list(range(0, 50, 2)), list(range(1, 50, 2)))]),
    ),
    many_lists=("Many splits in lists, each fit answering others.", many_lists),
    masks=("Masks for indices.", lambda: split(masks())),
    generator=("A generator of splits.", lambda: split(pair for pair in halves())),
    no_splits=("No splits at all.", lambda: split(iter([]))),
    too_many=("More splits than samples of a class.", lambda: split(30)),
    one_split=("One split is too few.", lambda: split(1)),
    miscounted=(
        "A splitter that miscounts is an error.",
        lambda: Job(GridSearchCV(GaussianNB(), {}, cv=MiscountingSplitter()), *flowers()),
    ),
    not_a_splitter=("A text is no splitter and an error.", lambda: split("five")),
)
def test_splits(row: Row, cluster: Any, capfd: Any) -> None:
    """Every kind of splits gives scikit-learn's splits."""
    assert_same_answer(cluster, row, capfd)
