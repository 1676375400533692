"""Estimators, transformers and a search of other libraries give scikit-learn's answer.

Libraries are imported inside functions, because only `make test-libraries` installs them.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tests.acceptance.searches import Job, Row, assert_same_answer, flowers, patients, rows

pytestmark = pytest.mark.libraries


class LinkedRegression(RegressorMixin, BaseEstimator):
    """A generalised linear model of statsmodels with scikit-learn's interface."""

    def __init__(self, alpha: float = 0.0, var_power: float = 1.0) -> None:
        self.alpha = alpha
        self.var_power = var_power

    def fit(self, X: Any, y: Any) -> LinkedRegression:
        import statsmodels.api as sm

        family = sm.families.Tweedie(var_power=self.var_power)
        model = sm.GLM(y, sm.add_constant(X), family=family)
        self.params_ = model.fit_regularized(alpha=self.alpha, maxiter=20).params
        return self

    def predict(self, X: Any) -> Any:
        import statsmodels.api as sm

        return np.exp(sm.add_constant(X) @ self.params_)


def grid(estimator: Any, space: Any, data: Any = None, **options: Any) -> Job:
    return Job(GridSearchCV(estimator, space, **({"cv": 3} | options)), *(data or flowers()))


def customers() -> tuple[Any, Any]:
    """Return 60 rows with categories, numbers with gaps, dates and texts, in two classes."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, 60).astype(float)
    X = pd.DataFrame(
        {
            "city": rng.choice(["Basel", "Bern", "Chur"], 60),
            "plan": rng.choice(["free", "paid"], 60),
            "age": np.where(rng.random(60) < 0.1, np.nan, age),
            "visits": rng.poisson(4, 60),
            "since": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, 60), "D"),
            "note": [f"asked for {word} {n}" for n, word in enumerate(rng.choice(["a", "b"], 60))],
        }
    )
    return X, (age + 3 * X["visits"] + rng.normal(0, 9, 60) > 60).astype(int).to_numpy()


def categories() -> tuple[Any, Any]:
    X, y = customers()
    return X[["city", "plan", "visits"]].astype({"city": "category", "plan": "category"}), y


def numbers() -> tuple[Any, Any]:
    X, y = customers()
    return X[["age", "visits"]].assign(twice=2 * X["visits"]), y


def few() -> tuple[Any, Any]:
    """Return 50 samples, nine of them in the smaller class."""
    X, y = flowers()
    return X, (y == 2).astype(int) * (np.arange(50) % 2)


def waves() -> tuple[Any, Any]:
    """Return 24 shifted series of 12 points in two classes."""
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    points = np.arange(12) / 12 + rng.random((24, 1))
    return np.sin(2 * np.pi * points * (y[:, None] + 1))[:, :, None], y


def boosted_with_validation() -> Job:
    from xgboost import XGBRegressor

    X, y = patients()
    model = XGBRegressor(n_estimators=20, n_jobs=1, early_stopping_rounds=2)
    search = GridSearchCV(model, {"max_depth": [2, 3], "subsample": [0.5, 1]}, cv=3)
    return Job(search, X[:45], y[:45], {"eval_set": [(X[45:], y[45:])], "verbose": False})


def boosted() -> Job:
    from xgboost import XGBClassifier

    space = {"n_estimators": [3, 6], "learning_rate": [0.1, 0.5], "booster": ["gbtree", "dart"]}
    return grid(XGBClassifier(n_jobs=1, max_depth=2), space, scoring="neg_log_loss")


def light() -> Job:
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_jobs=1, verbose=-1, min_child_samples=3, random_state=0)
    space = {
        "n_estimators": [3, 6],
        "num_leaves": [3, 7],
        "subsample": [0.7],
        "subsample_freq": [1],
    }
    return grid(model, space, categories(), scoring=["roc_auc", "accuracy"], refit="roc_auc")


def cat() -> Job:
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(
        iterations=6, thread_count=1, random_seed=0, verbose=False, allow_writing_files=False
    )
    job = grid(model, {"depth": [2, 3], "l2_leaf_reg": [1, 9]}, categories())
    weights = np.linspace(0.1, 1, 60)
    return Job(
        job.search, job.X, job.y, {"cat_features": ["city", "plan"], "sample_weight": weights}
    )


def oversampled() -> Job:
    from imblearn.over_sampling import SMOTE
    from imblearn.pipeline import make_pipeline

    pipe = make_pipeline(StandardScaler(), SMOTE(random_state=0), LogisticRegression())
    space = {"smote__k_neighbors": [2, 3], "logisticregression__C": [0.1, 1]}
    return grid(pipe, space, few(), scoring="balanced_accuracy")


def balanced_forest() -> Job:
    from imblearn.ensemble import BalancedRandomForestClassifier

    model = BalancedRandomForestClassifier(random_state=0)
    return grid(model, {"n_estimators": [3, 5, 8], "max_depth": [2, None]}, few())


def encoded() -> Job:
    from category_encoders import CatBoostEncoder, TargetEncoder

    pipe = make_pipeline(TargetEncoder(cols=["city", "plan"]), LogisticRegression())
    space = [
        {"targetencoder__smoothing": [1.0, 20.0], "logisticregression__C": [0.1, 1]},
        {"targetencoder": [CatBoostEncoder(cols=["city", "plan"], random_state=0)]},
    ]
    X, y = categories()
    return grid(pipe, space, (X.astype({"city": object, "plan": object}), y))


def engineered() -> Job:
    from feature_engine.imputation import MeanMedianImputer
    from feature_engine.selection import DropCorrelatedFeatures
    from feature_engine.transformation import YeoJohnsonTransformer

    pipe = make_pipeline(
        MeanMedianImputer(), DropCorrelatedFeatures(), YeoJohnsonTransformer(), LogisticRegression()
    )
    space = {
        "meanmedianimputer__imputation_method": ["mean", "median"],
        "dropcorrelatedfeatures__threshold": [0.5, 0.99999],
    }
    return grid(pipe, space, numbers())


def vectorised() -> Job:
    from skrub import StringEncoder, TableVectorizer

    text = StringEncoder(n_components=2, random_state=0)
    pipe = make_pipeline(
        TableVectorizer(cardinality_threshold=10, high_cardinality=text),
        RandomForestClassifier(random_state=0),
    )
    space = {
        "tablevectorizer__high_cardinality__n_components": [2, 3],
        "randomforestclassifier__n_estimators": [3, 6],
    }
    return grid(pipe, space, customers())


def warped() -> Job:
    from tslearn.svm import TimeSeriesSVC

    return grid(TimeSeriesSVC(kernel="gak"), {"C": [0.1, 1], "gamma": [1.0, 10.0]}, waves())


def linked() -> Job:
    return grid(LinkedRegression(), {"alpha": [0.0, 0.1], "var_power": [1.0, 1.5]}, patients())


def bayesian() -> Job:
    from skopt import BayesSearchCV
    from skopt.space import Categorical, Real

    space = {"C": Real(1e-2, 1e2, prior="log-uniform"), "kernel": Categorical(["rbf", "poly"])}
    search = BayesSearchCV(
        SVC(),
        space,
        n_iter=8,
        n_points=2,
        cv=3,
        random_state=0,
        optimizer_kwargs={"n_initial_points": 4},
        return_train_score=True,
    )
    return Job(search, *flowers())


@rows(
    catboost=("Boosting with categories and weights.", cat),
    xgboost=("Boosting with its number of rounds in the grid.", boosted),
    xgboost_early_stopping=(
        "Early stopping on data in the fit parameters.",
        boosted_with_validation,
    ),
    lightgbm=("Boosting of categorical columns, with two scorers.", light),
    imbalanced_pipeline=("A pipeline that changes the number of samples.", oversampled),
    imbalanced_forest=("A subclass of scikit-learn's forest.", balanced_forest),
    category_encoders=("Encoders that use the target.", encoded),
    feature_engine=("Transformers that take and give data frames.", engineered),
    skrub=("Texts, dates and categories of a table.", vectorised),
    tslearn=("An X of three dimensions.", warped),
    statsmodels=("A model in a class of the user.", linked),
    scikit_optimize=("A search that chooses candidates in rounds.", bayesian),
)
def test_libraries(cluster: Any, row: Row, capfd: Any) -> None:
    """A search over another library's estimators gives scikit-learn's answer."""
    assert_same_answer(cluster, row, capfd)


# ---- searches that skygrid cannot take over ------------------------------------------------------


def genetic(X: Any, y: Any) -> Any:
    """Return the scores of a search that has a ``fit`` of its own."""
    from sklearn_genetic import GASearchCV
    from sklearn_genetic.space import Integer

    random.seed(0)  # where it draws its candidates
    np.random.seed(0)
    space = {"max_depth": Integer(1, 6), "min_samples_leaf": Integer(1, 9)}
    search = GASearchCV(
        DecisionTreeClassifier(random_state=0),
        param_grid=space,
        cv=3,
        population_size=4,
        generations=2,
        n_jobs=-1,
        verbose=False,
    ).fit(X, y)
    return search.best_params_, list(search.cv_results_["mean_test_score"])


def sampled(X: Any, y: Any) -> Any:
    """Return the scores of a search that is none of scikit-learn's."""
    from optuna.distributions import IntDistribution
    from optuna_integration.sklearn import OptunaSearchCV

    space = {"max_depth": IntDistribution(1, 6)}
    tree = DecisionTreeClassifier(random_state=0)
    search = OptunaSearchCV(tree, space, cv=3, n_trials=6, random_state=0).fit(X, y)
    return search.best_params_, [trial.value for trial in search.trials_]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fit", [genetic, sampled])
def test_searches_of_their_own_run_through_joblib(fit: Any, cluster: Any) -> None:
    """GASearchCV and OptunaSearchCV give the same answer inside `cluster.joblib()`, on nodes."""
    job = flowers()
    alone = fit(*job)
    pool = cluster.call_pool(trust_nodes=False)
    pool.used = False
    with cluster.joblib():
        assert fit(*job) == alone
    assert pool.used
