"""Pipelines that begin alike fit their first steps once, without any visible effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, chi2, f_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tests.acceptance.doubles import InPlaceTransformer
from tests.acceptance.searches import Row, flowers, rows
from tests.acceptance.sharing import Shared, assert_same, different

pytestmark = pytest.mark.sklearn_versions

TEXTS = np.array(
    ["red apple pie", "green pear", "red cherry", "green apple", "yellow pear", "red plum"] * 6
)
KINDS = np.arange(36) % 3


@pytest.fixture(autouse=True)
def _keep_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep prefixes regardless of their fit time."""
    monkeypatch.setattr("skygrid.worker.sharing.prefix_store.WORTH_SECONDS", 0.0)


def numbers() -> tuple[Any, Any]:
    return flowers()


def table() -> tuple[Any, Any]:
    """Return numbers with gaps, and texts."""
    X = pd.DataFrame(flowers()[0], columns=list("abcd"))
    X.loc[::7, "b"] = np.nan
    X["colour"] = ["red", "green", "blue", "green", "red"] * 10
    X["note"] = ["sweet and red", "sour", "sweet", "green", "red or green"] * 10
    return X, flowers()[1]


def columns() -> Any:
    """Return a ColumnTransformer with three branches, one of them a pipeline."""
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b"]),
            ("names", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
            ("words", TfidfVectorizer(), "note"),
        ]
    )


def inverse_error(estimator: Any, X: Any, y: Any) -> float:
    """Score how well the first steps invert their transformation; uses all of a fitted scaler."""
    steps = estimator[:-1]
    back = steps.inverse_transform(steps.transform(X))
    return float(np.abs(back - X).sum() + estimator.score(X, y))


def of_train(steps: Any, grid: Any, data: Any, scoring: Any = None, **settings: Any) -> Shared:
    return Shared(steps, grid, *data, scoring, True, **settings)


SHARED = rows(
    one_scaler=(
        "A scaler before settings of one classifier.",
        lambda: of_train(make_pipeline(StandardScaler(), SVC()), {"svc__C": [1, 2]}, numbers()),
    ),
    two_levels=(
        "Two settings of the second step share the first.",
        lambda: of_train(
            make_pipeline(StandardScaler(), PCA(svd_solver="full"), LogisticRegression()),
            {"pca__n_components": [1, 2, 3], "logisticregression__C": [0.1, 1.0]},
            numbers(),
        ),
    ),
    text=(
        "A vectoriser before several classifiers.",
        lambda: of_train(
            Pipeline([("words", TfidfVectorizer()), ("own", SVC())]),
            {
                "words__ngram_range": [(1, 1), (1, 2)],
                "own": [MultinomialNB(), LogisticRegression(), KNeighborsClassifier(2)],
            },
            (TEXTS, KINDS),
            ["accuracy", "f1_macro"],
        ),
    ),
    text_in_three=(
        "Counting, weighting and reducing, each with settings.",
        lambda: of_train(
            make_pipeline(
                CountVectorizer(), TfidfTransformer(), TruncatedSVD(2, random_state=0), SVC()
            ),
            {
                "tfidftransformer__use_idf": [True, False],
                "truncatedsvd__n_components": [2, 3],
                "svc__C": [1, 10],
            },
            (TEXTS, KINDS),
        ),
    ),
    columns_whole=(
        "A ColumnTransformer that no candidate changes.",
        lambda: of_train(
            make_pipeline(columns(), LogisticRegression()),
            {"logisticregression__C": [0.1, 1.0, 10]},
            table(),
        ),
    ),
    columns_in_part=(
        "One branch changes, the others stay.",
        lambda: of_train(
            make_pipeline(columns(), LogisticRegression()),
            {
                "columntransformer__numbers__simpleimputer__strategy": ["mean", "median"],
                "logisticregression__C": [0.1, 1.0],
            },
            table(),
        ),
    ),
    columns_in_a_pipeline_in_part=(
        "Within a branch the last step changes, and the first is kept.",
        lambda: of_train(
            make_pipeline(columns(), LogisticRegression()),
            {
                "columntransformer__numbers__standardscaler__with_mean": [True, False],
                "columntransformer__words__use_idf": [True, False],
            },
            table(),
        ),
    ),
    columns_by_kind=(
        "Columns that a selector finds.",
        lambda: of_train(
            make_pipeline(
                make_column_transformer(
                    (SimpleImputer(), make_column_selector(dtype_include=np.number)),
                    (OneHotEncoder(), ["colour"]),
                    remainder="drop",
                ),
                SVC(),
            ),
            {"svc__C": [1, 2]},
            table(),
        ),
    ),
    union=(
        "A FeatureUnion, one part of which changes.",
        lambda: of_train(
            make_pipeline(
                make_union(StandardScaler(), PCA(1, svd_solver="full"), PolynomialFeatures()), SVC()
            ),
            {"featureunion__pca__n_components": [1, 2], "svc__C": [1, 2]},
            numbers(),
        ),
    ),
    nested=(
        "Pipelines in pipelines, gaps between steps.",
        lambda: of_train(
            Pipeline(
                [
                    ("gap", None),
                    ("before", make_pipeline(StandardScaler(), "passthrough")),
                    ("inner", Pipeline([("poly", PolynomialFeatures()), ("own", SVC())])),
                ]
            ),
            {"inner__poly__degree": [1, 2], "inner__own__C": [1, 2]},
            numbers(),
        ),
    ),
    optional_step=(
        "A step that some candidates leave out.",
        lambda: of_train(
            Pipeline([("one", StandardScaler()), ("two", MinMaxScaler()), ("own", SVC())]),
            {
                "two": ["passthrough", None, MinMaxScaler(), PCA(2, svd_solver="full")],
                "own__C": [1, 2],
            },
            numbers(),
        ),
    ),
    other_names=(
        "The same step under another name.",
        lambda: Shared(
            Pipeline([("own", SVC())]),
            {
                "steps": [
                    [("a", StandardScaler()), ("own", SVC())],
                    [("b", StandardScaler()), ("own", SVC(C=2))],
                ]
            },
            *numbers(),
        ),
    ),
    in_place_afterwards=(
        "The step after the kept one writes into its input.",
        lambda: of_train(
            make_pipeline(MinMaxScaler(), StandardScaler(copy=False), SVC()),
            {"svc__C": [1, 2, 3]},
            numbers(),
            ["accuracy", "f1_macro", "roc_auc_ovr_weighted"][:2],
        ),
    ),
    in_place_by_the_user=(
        "A user's transformer writes into its input.",
        lambda: of_train(
            make_pipeline(MinMaxScaler(), InPlaceTransformer(), SVC()),
            {"svc__C": [1, 2, 3]},
            numbers(),
        ),
    ),
    copy_x_false=(
        "A regression overwrites its X.",
        lambda: of_train(
            make_pipeline(PolynomialFeatures(), LinearRegression(copy_X=False)),
            {"linearregression__fit_intercept": [True, False]},
            numbers(),
        ),
    ),
    inverse_transform=(
        "A scorer that transforms back and forth.",
        lambda: of_train(
            make_pipeline(StandardScaler(), PCA(2, svd_solver="full"), SVC()),
            {"svc__C": [1, 2, 3]},
            numbers(),
            inverse_error,
        ),
    ),
    target_encoder=(
        "fit_transform differs from fit and transform.",
        lambda: of_train(
            make_pipeline(TargetEncoder(random_state=0), LogisticRegression()),
            {"logisticregression__C": [0.1, 1.0]},
            (table()[0][["colour"]], (flowers()[1] > 0).astype(int)),
        ),
    ),
    warning_of_a_step=(
        "A kept step warns; every candidate gets the warning.",
        lambda: of_train(
            make_pipeline(SelectKBest(f_classif, k=3), SVC()),
            {"svc__C": [1, 2], "svc__tol": [0.1, 0.01]},
            (np.hstack([numbers()[0], np.ones((50, 1))]), numbers()[1]),
        ),
    ),
    forest_after=(
        "A group of forests and other classifiers after the same step.",
        lambda: of_train(
            Pipeline([("words", TfidfVectorizer()), ("own", SVC())]),
            [
                {"own": [RandomForestClassifier(random_state=0)], "own__n_estimators": [3, 6, 9]},
                {"own": [SVC()], "own__C": [1, 2]},
            ],
            (TEXTS, KINDS),
        ),
    ),
    single_precision_fortran=(
        "Memory order and precision of the output are kept.",
        lambda: of_train(
            make_pipeline(StandardScaler(), PCA(3, svd_solver="full"), Ridge(alpha=0.1)),
            {"ridge__alpha": [0.1, 1.0]},
            (np.asfortranarray(numbers()[0], np.float32), numbers()[1].astype(float)),
        ),
    ),
    sparse_input=(
        "Sparse in, sparse out.",
        lambda: of_train(
            make_pipeline(VarianceThreshold(), SelectKBest(chi2, k=2), MultinomialNB()),
            {"selectkbest__k": [1, 2, "all"], "multinomialnb__alpha": [0.1, 1.0]},
            (sparse.csr_matrix(np.abs(numbers()[0])), numbers()[1]),
        ),
    ),
)


@SHARED
def test_pipelines_that_begin_alike_score_as_if_each_were_fitted_alone(
    row: Row, tmp_path: Path
) -> None:
    """First steps come from another fit, and results are those of a separate fit."""
    shared = row.make()
    ours = shared.together(tmp_path)
    assert different(ours, shared.apart()) == []
    assert any(result.prefix_kept for result in ours)


ALONE = rows(
    in_place_first=(
        "The first step writes into X itself.",
        lambda: of_train(
            make_pipeline(StandardScaler(copy=False), SVC()),
            {"svc__C": [1, 2]},
            numbers(),
            ["accuracy", "f1_macro"],
        ),
    ),
    passes_on=(
        "The first step hands X itself on, and the second writes into it.",
        lambda: of_train(
            make_pipeline(FunctionTransformer(), StandardScaler(copy=False), SVC()),
            {"svc__C": [1, 2]},
            numbers(),
        ),
    ),
    user_step=(
        "A transformer of the user's own may do anything.",
        lambda: of_train(
            make_pipeline(InPlaceTransformer(), StandardScaler(), SVC()),
            {"svc__C": [1, 2]},
            numbers(),
        ),
    ),
    failing_step=(
        "The shared step fails: all candidates fail, with scikit-learn's traceback.",
        lambda: of_train(
            make_pipeline(SelectKBest(chi2, k=1), SVC()),
            {"svc__C": [1, 2]},
            (numbers()[0] - 3, numbers()[1]),
        ),
    ),
    failing_step_raises=(
        "The shared step fails with error_score='raise'.",
        lambda: of_train(
            make_pipeline(SelectKBest(chi2, k=1), GaussianNB()),
            {"gaussiannb__var_smoothing": [0.1, 0.2]},
            (numbers()[0] - 3, numbers()[1]),
            error_score="raise",
        ),
    ),
    failing_group=(
        "A forest that cannot be fitted, in every size.",
        lambda: of_train(
            RandomForestClassifier(random_state=0, bootstrap=False, max_samples=0.5),
            {"n_estimators": [1, 2, 3]},
            numbers(),
            error_score=-1.0,
        ),
    ),
    warning_is_an_error=(
        "A filter makes an error of the step's warning.",
        lambda: of_train(
            make_pipeline(SelectKBest(f_classif, k=3), SVC()),
            {"svc__C": [1, 2]},
            (np.hstack([numbers()[0], np.ones((50, 1))]), numbers()[1]),
            filters=[("error", "Features", UserWarning)],
        ),
    ),
    pandas_output=(
        "Frames are not kept.",
        lambda: of_train(
            make_pipeline(StandardScaler(), SVC()).set_output(transform="pandas"),
            {"svc__C": [1, 2]},
            (table()[0][["a", "c", "d"]], numbers()[1]),
        ),
    ),
    no_seed=(
        "A step that draws without a seed.",
        lambda: Shared(
            make_pipeline(StandardScaler(), TruncatedSVD(2, random_state=None), GaussianNB())[1:],
            {"gaussiannb__var_smoothing": [0.1]},
            *numbers(),
            scoring=lambda estimator, X, y: 0.0,
        ),
    ),
    invalid_in_the_group=(
        "One member has a value that no fit accepts.",
        lambda: of_train(
            make_pipeline(StandardScaler(), SVC(kernel="linear")),
            {"svc__degree": [1, -5, 3], "svc__gamma": [0.1, -0.1]},
            numbers(),
        ),
    ),
    scorer_fails=(
        "A scorer that raises: the text names no code of skygrid.",
        lambda: of_train(
            make_pipeline(StandardScaler(), RandomForestClassifier(random_state=0)),
            {"randomforestclassifier__n_estimators": [2, 4]},
            numbers(),
            "roc_auc",
        ),
    ),
)


@ALONE
def test_steps_that_cannot_be_shared_score_as_alone(row: Row, tmp_path: Path) -> None:
    """Steps that write into X, fail, warn or are unknown give the results of separate fits."""
    shared = row.make()
    ours = shared.together(tmp_path)
    assert different(ours, shared.apart()) == []
    assert not any(result.prefix_kept and result.status != "scored" for result in ours)


def test_one_and_one_point_zero_are_two_settings(tmp_path: Path) -> None:
    """min_df=1 (one document) and min_df=1.0 (all documents) do not share a fit."""
    pipeline = make_pipeline(CountVectorizer(), MultinomialNB())
    shared = Shared(
        pipeline,
        {"countvectorizer__min_df": [1, 1.0], "multinomialnb__alpha": [0.1, 1, 1.0]},
        np.array([f"{text} fruit" for text in TEXTS]),
        KINDS,
    )
    assert len(set(shared.sharing.prefixes)) == 2
    assert_same(shared, tmp_path)
    scores = [result.test_scores for result in shared.apart()]
    assert scores[0] != scores[3]


def test_a_forest_of_one_feature_is_not_a_forest_of_all(tmp_path: Path) -> None:
    """max_features=1 and 1.0 make two groups."""
    shared = Shared(
        RandomForestClassifier(random_state=0),
        {"max_features": [1, 1.0, True], "n_estimators": [2, 4]},
        *numbers(),
    )
    assert sorted(map(sorted, shared.groups)) == [[0, 1], [2, 3], [4, 5]]
    assert_same(shared, tmp_path)


def test_members_alone_and_in_any_part_of_their_group(tmp_path: Path) -> None:
    """Any part of a group gives the results of separate fits."""
    shared = Shared(
        make_pipeline(StandardScaler(), RandomForestClassifier(random_state=0, oob_score=True)),
        {"randomforestclassifier__n_estimators": [40, 30, 50, 35]},
        *numbers(),
    )
    apart = shared.apart()
    whole = shared.sharing.groups[0].members
    for part in [whole[1:], whole[::-1][:2], whole[2:3]]:
        found = shared.evaluated([part], 0, tmp_path)
        expected = [result for result in apart if result.candidate in part][: len(part)]
        assert different(sorted(found, key=lambda result: result.candidate), expected) == []
        assert sum(result.answered for result in found) == len(part) - 1


class OwnScaler(StandardScaler):
    """A subclass, which may do anything."""


class OwnForest(RandomForestClassifier):
    """A subclass, which may do anything."""


class OwnTransformer(TransformerMixin, BaseEstimator):
    """Returns X unchanged."""

    def fit(self, X: Any, y: Any = None) -> OwnTransformer:
        return self

    def transform(self, X: Any) -> Any:
        return X


NEVER = rows(
    neighbours=("Neighbours: ties.", lambda: (KNeighborsClassifier(), {"n_neighbors": [1, 3, 5]})),
    kernel=("Other kernels.", lambda: (SVC(), {"C": [1, 2], "gamma": [0.1, 0.2]})),
    poly=(
        "All parameters matter.",
        lambda: (SVC(kernel="poly"), {"degree": [1, 2], "coef0": [0.0, 1.0]}),
    ),
    own_kernel=("A kernel function.", lambda: (SVC(kernel=np.dot), {"gamma": [0.1, 0.2]})),
    path=(
        "C: a path has other starting points.",
        lambda: (LogisticRegression(), {"C": [0.1, 1.0]}),
    ),
    components=(
        "Components: slices differ in the last bits.",
        lambda: (PCA(random_state=0), {"n_components": [1, 2]}),
    ),
    no_seed=("No seed.", lambda: (RandomForestClassifier(), {"n_estimators": [1, 2]})),
    generator=(
        "A generator.",
        lambda: (
            RandomForestClassifier(random_state=np.random.RandomState(0)),
            {"n_estimators": [1, 2]},
        ),
    ),
    numpy_seed=(
        "A NumPy seed.",
        lambda: (RandomForestClassifier(random_state=np.int64(1)), {"n_estimators": [1, 2]}),
    ),
    seeds=(
        "Other seeds.",
        lambda: (RandomForestClassifier(n_estimators=3), {"random_state": [1, 2]}),
    ),
    warm_start=(
        "Warm start.",
        lambda: (
            RandomForestClassifier(random_state=0, warm_start=True),
            {"n_estimators": [1, 2]},
        ),
    ),
    subclass=("A subclass.", lambda: (OwnForest(random_state=0), {"n_estimators": [1, 2]})),
    part=(
        "A subclass within.",
        lambda: (
            make_pipeline(OwnScaler(), RandomForestClassifier(random_state=0)),
            {"randomforestclassifier__n_estimators": [1, 2]},
        ),
    ),
    own=(
        "The user's own step.",
        lambda: (
            make_pipeline(OwnTransformer(), DecisionTreeClassifier(random_state=0)),
            {"decisiontreeclassifier__ccp_alpha": [0.0, 0.1]},
        ),
    ),
    one=("1 is not 1.0.", lambda: (Ridge(solver="svd"), {"alpha": [1, 1.0, True]})),
    numpy_one=("np.int64(1) is not 1.", lambda: (Ridge(solver="svd"), {"alpha": [1, np.int64(1)]})),
    no_count=(
        "A number of trees that is not an int.",
        lambda: (RandomForestClassifier(random_state=0), {"n_estimators": [2, 3.0, True]}),
    ),
    probability=(
        "Probabilities need random numbers.",
        lambda: (SVC(kernel="linear", probability=True), {"gamma": [0.1, 0.2]}),
    ),
    memory=(
        "A pipeline that caches.",
        lambda: (
            Pipeline(
                [("s", StandardScaler()), ("own", RandomForestClassifier(random_state=0))],
                memory="nowhere",
            ),
            {"own__n_estimators": [1, 2]},
        ),
    ),
    pipeline_setting=(
        "A setting of the pipeline itself.",
        lambda: (
            Pipeline([("s", StandardScaler()), ("own", DecisionTreeClassifier(random_state=0))]),
            {"verbose": [False, True], "own__max_depth": [1]},
        ),
    ),
    misspelled=(
        "An unknown parameter.",
        lambda: (DecisionTreeClassifier(random_state=0), {"ccp_alfa": [0.0, 0.0]}),
    ),
)


@NEVER
def test_candidates_not_known_to_be_exact_are_fitted_separately(row: Row) -> None:
    """Candidates that are not known to be exact are never grouped."""
    estimator, grid = row.make()
    assert Shared(estimator, grid, *numbers(), scoring=lambda e, X, y: 0.0).groups == []
    assert Shared(estimator, grid, *numbers(), scoring="accuracy").groups == []


def test_histogram_boosting_that_may_stop_early_is_not_shared() -> None:
    """`max_iter` is shared only if rounds are known not to stop early."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    from skygrid.plan.sharing import find_sharing

    for early, n_samples, groups in [
        (True, 50, 0),
        ("auto", 20_000, 0),
        ("auto", None, 0),
        ("auto", 50, 1),
        (False, 20_000, 1),
    ]:
        estimator = HistGradientBoostingClassifier(random_state=0, early_stopping=early)
        candidates = [{"max_iter": 1}, {"max_iter": 2}]
        sharing = find_sharing(estimator, candidates, scorer=None, n_samples=n_samples)
        assert len(sharing.groups) == groups, (early, n_samples)


def test_metadata_routing_turns_sharing_off() -> None:
    """With metadata routing nothing is shared."""
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(random_state=0))
    shared = Shared(pipeline, {"randomforestclassifier__n_estimators": [1, 2]}, *numbers())
    assert shared.groups
    with sklearn.config_context(enable_metadata_routing=True):
        assert shared.groups == []
        assert set(shared.sharing.prefixes) == {-1}


def test_a_step_with_sample_weights_is_fitted_separately(tmp_path: Path) -> None:
    """A first step with sample weights is fitted separately each time."""
    weights = np.linspace(0.1, 1, 50)
    shared = Shared(
        Pipeline([("scale", StandardScaler()), ("own", SVC())]),
        {"own__C": [1, 2]},
        *numbers(),
        fit_params={"scale__sample_weight": weights, "own__sample_weight": weights},
    )
    ours = shared.together(tmp_path)
    assert different(ours, shared.apart()) == []
    assert not any(result.prefix_kept for result in ours)


def test_a_union_with_transformer_weights_keeps_its_parts(tmp_path: Path) -> None:
    """Parts of a union are shared although the union weights their output differently."""
    union = FeatureUnion([("a", StandardScaler()), ("b", MinMaxScaler())])
    shared = Shared(
        Pipeline([("union", union), ("own", SVC())]),
        {"union__transformer_weights": [{"a": 1.0}, {"a": 0.5, "b": 2}], "own__C": [1]},
        *numbers(),
    )
    ours = shared.together(tmp_path)
    assert different(ours, shared.apart()) == []
    assert any(result.prefix_kept for result in ours)
