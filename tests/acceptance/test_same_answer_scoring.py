"""Scores and failures of fits and scorers are scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # opens the next import
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import fbeta_score, make_scorer, mean_absolute_error
from sklearn.model_selection import GridSearchCV, GroupKFold, HalvingGridSearchCV
from sklearn.svm import SVC, LinearSVC

from tests.acceptance import doubles
from tests.acceptance.doubles import (
    FailingClassifier,
    SeveralScoresClassifier,
    SplitFailingClassifier,
    ThresholdClassifier,
    UnscorableClassifier,
    WeightedClassifier,
)
from tests.acceptance.searches import Job, Row, assert_same_answer, flowers, patients, rows

pytestmark = pytest.mark.sklearn_versions


def levels(estimator: Any = None, values: Any = (1, 2, 3), **options: Any) -> Job:
    """Return a search over the levels of a double."""
    estimator = ThresholdClassifier() if estimator is None else estimator
    options = {"cv": 3, "return_train_score": True} | options
    return Job(GridSearchCV(estimator, {"level": list(values)}, **options), *flowers())


@rows(
    name=("A scorer by its name.", lambda: levels(scoring="balanced_accuracy")),
    function=("A function of the user's own.", lambda: levels(scoring=doubles.own_score)),
    closure=(
        "A function that cannot be imported.",
        lambda: levels(scoring=lambda estimator, X, y: float(estimator.cut_) / 3),
    ),
    made_scorer=(
        "A scorer made of a metric with options.",
        lambda: levels(scoring=make_scorer(fbeta_score, beta=0.5, average="macro")),
    ),
    smaller_is_better=(
        "A metric with its sign changed.",
        lambda: Job(
            GridSearchCV(
                Ridge(),
                {"alpha": [0.1, 10]},
                scoring=make_scorer(mean_absolute_error, greater_is_better=False),
            ),
            *patients(),
        ),
    ),
    probabilities=(
        "A scorer that wants probabilities.",
        lambda: Job(
            GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, scoring="neg_log_loss"), *flowers()
        ),
    ),
    fitted_attributes=(
        "A scorer that looks into the fitted estimator.",
        lambda: Job(
            GridSearchCV(
                LinearSVC(random_state=0), {"C": [0.1, 1]}, scoring=doubles.score_of_fitted
            ),
            *flowers(),
        ),
    ),
    list_of_names=(
        "Several scorers by name.",
        lambda: levels(scoring=["accuracy", "recall_macro"], refit="accuracy"),
    ),
    dict_of_anything=(
        "Several scorers, by names of the user's own.",
        lambda: levels(
            scoring={
                "a b": "accuracy",
                "own": doubles.own_score,
                "f": make_scorer(fbeta_score, beta=2, average="micro"),
            },
            refit="own",
        ),
    ),
    dict_of_scores=(
        "One scorer that gives several scores.",
        lambda: levels(scoring=doubles.two_scores, refit="odds"),
    ),
    single_precision=("A score of NumPy's float32.", lambda: levels(scoring=doubles.narrow_score)),
    integers=("A score that counts.", lambda: levels(scoring=doubles.integer_score)),
    booleans=("A score that is true or false.", lambda: levels(scoring=doubles.true_or_false)),
    fractions=("A score that is a fraction.", lambda: levels(scoring=doubles.exact_score)),
    complex_numbers=("A complex score.", lambda: levels(scoring=doubles.complex_score)),
    signalling=(
        "A score that no float can hold is an error.",
        lambda: levels(scoring=doubles.signalling_score),
    ),
    dict_of_the_estimator_in_a_halving_search=(
        "A halving search needs one score, also without a refit.",
        lambda: Job(
            HalvingGridSearchCV(
                SeveralScoresClassifier(), {"level": [1, 2, 3]}, cv=2, refit=False, random_state=0
            ),
            *flowers(),
        ),
    ),
    dict_of_the_estimator_and_own_choice=(
        "A function that chooses the best candidate may read several scores of the estimator.",
        lambda: levels(SeveralScoresClassifier(), refit=doubles.first_of_two_scores),
    ),
    dict_of_the_estimator_without_a_refit=(
        "Without a refit, an estimator may give several scores.",
        lambda: levels(SeveralScoresClassifier(), refit=False),
    ),
    decimals=("A score that is a decimal number.", lambda: levels(scoring=doubles.decimal_score)),
    not_finite=(
        "Scores that are infinite or no number warn, and rank last.",
        lambda: levels(scoring=doubles.endless_score, values=(1, 2, 3, 4), refit=False),
    ),
    text=("A score that is no number is an error.", lambda: levels(scoring=doubles.text_score)),
)
def test_scores(row: Row, cluster: Any, capfd: Any) -> None:
    """Every score keeps every bit."""
    assert_same_answer(cluster, row, capfd)


@rows(
    some=("Some fits fail.", lambda: levels(FailingClassifier())),
    some_and_a_number=(
        "Failed fits get a number as their score.",
        lambda: levels(FailingClassifier(), error_score=-1),
    ),
    some_of_several_texts=(
        "Fits fail for reasons that differ from split to split.",
        lambda: levels(SplitFailingClassifier()),
    ),
    some_in_both_scores=(
        "A failed fit fails all of several scorers.",
        lambda: levels(FailingClassifier(), scoring=["accuracy", "f1_macro"], refit="accuracy"),
    ),
    some_in_a_dict_of_scores=(
        "A failed fit fails all scores of a scorer that gives several.",
        lambda: levels(FailingClassifier(), scoring=doubles.two_scores, refit="share"),
    ),
    the_first_in_a_dict_of_scores=(
        "The first fit fails, so another one gives the names of the scores.",
        lambda: levels(
            FailingClassifier(fails_at=(1,)),
            scoring=doubles.two_scores,
            refit="share",
            error_score=0.25,
        ),
    ),
    all_of_them=("All fits fail.", lambda: levels(FailingClassifier(fails_at=(1, 2, 3)))),
    all_of_them_with_a_number=(
        "All fits fail, although error_score is a number.",
        lambda: levels(FailingClassifier(fails_at=(1, 2, 3)), error_score=0.0),
    ),
    raised=(
        "With error_score='raise' a failing fit raises.",
        lambda: levels(FailingClassifier(), error_score="raise"),
    ),
    raised_key=(
        "A KeyError keeps its key.",
        lambda: levels(FailingClassifier(error="key"), error_score="raise"),
    ),
    raised_own=(
        "An exception of the user's own keeps its class and text.",
        lambda: levels(FailingClassifier(error="own"), error_score="raise"),
    ),
    raised_first=(
        "The failing fit that is first in scikit-learn's order raises.",
        lambda: levels(SplitFailingClassifier(), error_score="raise", values=(1, 2, 3, 4)),
    ),
    raised_after_warnings=(
        "Warnings before the error are issued.",
        lambda: levels(
            FailingClassifier(fails_at=(3,)),
            scoring=["accuracy", "precision_macro"],
            refit="accuracy",
            error_score="raise",
        ),
    ),
    unscorable=("A fitted estimator cannot be scored.", lambda: levels(UnscorableClassifier())),
    unscorable_and_a_number=(
        "A failed score gets error_score with its type.",
        lambda: levels(UnscorableClassifier(), error_score=np.float32(0.1)),
    ),
    unscorable_raised=(
        "With error_score='raise' a failed score raises.",
        lambda: levels(UnscorableClassifier(), error_score="raise"),
    ),
    unscorable_by_one=(
        "One of several scorers fails.",
        lambda: levels(
            scoring={"own": doubles.score_that_breaks, "accuracy": "accuracy"}, refit="accuracy"
        ),
    ),
    unscorable_by_one_and_a_number=(
        "One of several scorers fails and gets a number.",
        lambda: levels(
            scoring={"own": doubles.score_that_breaks, "accuracy": "accuracy"},
            refit="own",
            error_score=0.5,
        ),
    ),
    unscorable_by_one_raised=(
        "One of several scorers fails and raises.",
        lambda: levels(
            scoring={"own": doubles.score_that_breaks, "accuracy": "accuracy"},
            refit="own",
            error_score="raise",
        ),
    ),
    unscorable_dict=(
        "A scorer that gives several scores fails in one fit.",
        lambda: levels(scoring=doubles.scores_that_break, refit=False, error_score=0.5),
    ),
    refit_fails=(
        "A refit that fails raises.",
        lambda: levels(
            FailingClassifier(), scoring=doubles.own_score, error_score=9.0, values=(1, 2)
        ),
    ),
)
def test_failures(row: Row, cluster: Any, capfd: Any) -> None:
    """Failures give scikit-learn's values, texts and classes."""
    assert_same_answer(cluster, row, capfd)


def weights(n_samples: int) -> Any:
    return np.linspace(0.1, 2, n_samples)


def weighted(search: Any, **fit_params: Any) -> Job:
    return Job(search, *flowers(), fit_params)


def routed(make_search: Callable[[], Any], **fit_params: Any) -> Job:
    """Return a job with metadata routing."""
    config = {"enable_metadata_routing": True}
    with sklearn.config_context(**config):
        return Job(make_search(), *flowers(), fit_params, config)


def macro_scorer(*, weighted: bool) -> Any:
    scorer = make_scorer(fbeta_score, beta=1, average="macro")
    return scorer.set_score_request(sample_weight=weighted)


@rows(
    groups=(
        "Groups decide the splits.",
        lambda: weighted(
            GridSearchCV(SVC(), {"C": [1, 2]}, cv=GroupKFold(3)), groups=np.arange(50) % 7
        ),
    ),
    groups_missing=(
        "A splitter without its groups is an error.",
        lambda: weighted(GridSearchCV(SVC(), {"C": [1]}, cv=GroupKFold(3))),
    ),
    sample_weight=(
        "Sample weights are cut to each fit.",
        lambda: weighted(
            GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=3), sample_weight=weights(50)
        ),
    ),
    sample_weight_for_several_scorers=(
        "Sample weights reach the scorers that take them.",
        lambda: weighted(
            GridSearchCV(
                SVC(), {"C": [1]}, cv=3, scoring=["accuracy", "f1_macro"], refit="accuracy"
            ),
            sample_weight=weights(50).tolist(),
        ),
    ),
    sample_weight_and_own_function=(
        "A scorer that takes no sample weights gets none.",
        lambda: weighted(
            GridSearchCV(SVC(), {"C": [1, 2]}, cv=3, scoring=doubles.own_score),
            sample_weight=weights(50),
        ),
    ),
    other_fit_parameters=(
        "Fit parameters of other kinds arrive whole or cut, as they are.",
        lambda: weighted(
            GridSearchCV(WeightedClassifier(), {"level": [1, 2]}, cv=3),
            offsets=weights(50) * 3,
            label="abc",
        ),
    ),
    routed_weights=(
        "Routed sample weights reach fit and score.",
        lambda: routed(
            lambda: GridSearchCV(
                LogisticRegression().set_fit_request(sample_weight=True),
                {"C": [0.1, 1]},
                cv=3,
                scoring=macro_scorer(weighted=True),
            ),
            sample_weight=weights(50),
        ),
    ),
    routed_groups=(
        "Routed groups reach the splitter and nothing else.",
        lambda: routed(
            lambda: GridSearchCV(
                LinearRegression(), {"fit_intercept": [True, False]}, cv=GroupKFold(3)
            ),
            groups=np.arange(50) % 5,
        ),
    ),
    routed_for_several_scorers=(
        "Routed weights reach the one of several scorers that asked for them.",
        lambda: routed(
            lambda: GridSearchCV(
                LogisticRegression().set_fit_request(sample_weight=True),
                {"C": [0.1, 1]},
                cv=3,
                scoring={"with": macro_scorer(weighted=True), "not": macro_scorer(weighted=False)},
                refit="with",
            ),
            sample_weight=weights(50),
        ),
    ),
    routed_by_nobody=(
        "Weights that were not requested are refused.",
        lambda: routed(
            lambda: GridSearchCV(LogisticRegression(), {"C": [1]}), sample_weight=weights(50)
        ),
    ),
)
def test_fit_parameters(row: Row, cluster: Any, capfd: Any) -> None:
    """Fit parameters reach the same places as in scikit-learn."""
    assert_same_answer(cluster, row, capfd)
