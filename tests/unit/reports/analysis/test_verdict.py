"""The verdict, the corrected resampled t-test and the sentences."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from skygrid.reports.analysis.effects import effects
from skygrid.reports.analysis.resampled_t_test import t_statistics, two_sided_p
from skygrid.reports.analysis.verdict import judge
from tests.candidate_tables import grid_table, table_of

BEST = np.array([0.91, 0.93, 0.90, 0.94, 0.92])
OTHER = np.array([0.89, 0.92, 0.89, 0.91, 0.92])


def test_the_corrected_t_statistic_is_that_of_a_worked_example():
    """Differences .02 .01 .01 .03 0 have mean .014 and variance 1.3e-4; t follows by hand."""
    t = t_statistics(BEST, OTHER[None, :], np.array([0.25]))

    assert t[0] == pytest.approx(0.014 / np.sqrt(0.45 * 1.3e-4))
    assert two_sided_p(t, 5)[0] == pytest.approx(2 * stats.t.sf(t[0], df=4))


@given(
    st.lists(
        st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=2, max_size=12
    )
)
def test_without_overlap_the_test_is_scipys_paired_t_test(pairs: list[tuple[float, float]]):
    """A ratio of 0 removes the correction."""
    best, other = np.array(pairs, dtype=np.float64).T
    if np.std(best - other) < 1e-6:
        return
    t = t_statistics(best, other[None, :], np.zeros(1))

    expected = stats.ttest_rel(best, other)
    assert t[0] == pytest.approx(expected.statistic, abs=1e-6)
    assert two_sided_p(t, len(best))[0] == pytest.approx(expected.pvalue, abs=1e-6)


def test_equal_scores_are_indistinguishable_and_a_constant_difference_is_not():
    """A variance of zero decides by the mean difference, rounding aside."""
    scores = [BEST, BEST, BEST + 1e-17, BEST - 0.1]

    verdict = judge(table_of([{"a": index} for index in range(4)], scores, best_index=0))

    assert verdict.comparison.indistinguishable == (1, 2)
    assert verdict.comparison.p_values[3] == 0
    assert np.isnan(verdict.comparison.p_values[0])


def test_the_sizes_of_the_splits_decide_the_correction():
    """Large test sets beside small training sets make a difference less sure."""
    params = [{"a": 1}, {"a": 2}]
    sure = judge(table_of(params, [BEST, OTHER], n_train=np.full(5, 990), n_test=np.full(5, 10)))
    unsure = judge(table_of(params, [BEST, OTHER], n_train=np.full(5, 50), n_test=np.full(5, 50)))

    assert sure.comparison.p_values[1] < 0.06 < 0.2 < unsure.comparison.p_values[1]
    assert unsure.comparison.indistinguishable == (1,)


def test_one_split_gives_no_test_and_says_why():
    """The verdict names the reason instead of a number of candidates."""
    verdict = judge(table_of([{"a": 1}, {"a": 2}], [[0.9], [0.8]]))

    assert verdict.best == 0
    assert verdict.comparison.test == ""
    assert verdict.cheapest is None
    assert verdict.sentences == (
        "The best score is 0.9000, on one split.",
        "That is 0.050 better than the median candidate.",
        "No test of the difference: one split does not show how much scores vary.",
    )


def test_candidates_with_missing_splits_are_not_compared():
    """A candidate that failed on a split has no mean score, as in scikit-learn."""
    failing = OTHER.copy()
    failing[2] = np.nan

    verdict = judge(table_of([{"a": 1}, {"a": 2}, {"a": 3}], [failing, OTHER, BEST]))

    assert (verdict.best, verdict.scored, verdict.comparison.compared) == (2, 2, 1)


def test_a_search_without_scores_has_no_best_candidate():
    """The verdict says so in a sentence."""
    verdict = judge(table_of([{"a": 1}], [[np.nan, np.nan]]))

    assert verdict.best is None
    assert verdict.sentences == (
        "There is no best candidate: no candidate has a score on every split.",
    )


def test_a_search_in_progress_is_judged_on_the_splits_that_most_candidates_have():
    """Pending fits are left out with their splits; failed ones are not pending."""
    scores = np.full((4, 5), np.nan)
    scores[:, 0] = [0.1, 0.2, 0.3, np.nan]
    scores[:3, 3] = [0.1, 0.4, 0.3]
    scores[0] = 0.1
    failed = np.zeros((4, 5), dtype=bool)
    failed[3, 0] = True
    sizes = np.full(5, 10.0)

    params = [{"a": index} for index in range(4)]
    table = table_of(params, scores, failed=failed, n_train=sizes, n_test=sizes)

    verdict = judge(table)

    assert (verdict.best, verdict.mean, verdict.scored) == (1, pytest.approx(0.3), 3)
    assert verdict.sentences[0] == "So far the best score is 0.3000, on 2 of 5 splits."
    assert effects(table)


def test_the_choice_of_scikit_learn_is_kept():
    """A callable refit may choose another candidate than the best mean."""
    verdict = judge(table_of([{"a": 1}, {"a": 2}], [BEST, OTHER], best_index=1))

    assert (verdict.best, verdict.mean) == (1, pytest.approx(OTHER.mean()))
    assert verdict.gain_over_median < 0


def test_halving_compares_within_the_iteration_of_the_best():
    """Earlier iterations saw other samples, so a better score there does not count."""
    params = [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 1}, {"a": 2}]
    scores = [BEST + 0.05, OTHER, OTHER, OTHER, BEST]

    verdict = judge(table_of(params, scores, rung=(0, 0, 0, 1, 1)))

    assert (verdict.best, verdict.scored, verdict.comparison.compared) == (4, 2, 1)
    assert verdict.comparison.indistinguishable == (3,)
    assert verdict.sentences[2] == (
        "The other candidate of the last iteration is statistically indistinguishable from it at"
        " the 5 % level of the corrected resampled t-test (Nadeau and Bengio 2003)."
    )


def test_defaults_are_found_by_value():
    """``C=1`` is the default ``C=1.0``, and an estimator equals one with the same parameters."""
    defaults = {"svc__C": 1.0, "svc": SVC()}
    params = [{"svc__C": 10, "svc": SVC()}, {"svc__C": np.int64(1), "svc": SVC()}]

    verdict = judge(table_of(params, [BEST, OTHER], defaults=defaults))

    assert verdict.default == 1
    assert verdict.gain_over_default == pytest.approx(0.014)
    assert "0.014 better than the estimator's default parameters" in verdict.sentences[1]


def test_a_count_is_not_the_default_fraction():
    """``max_features=1`` means one feature, ``1.0`` all of them."""
    params = [{"max_features": 1}, {"max_features": 2}]

    assert judge(table_of(params, [BEST, OTHER], defaults={"max_features": 1.0})).default is None


def test_the_cheapest_and_the_simplest_of_the_indistinguishable_are_named():
    """Both come from the candidates that the test cannot tell from the best."""
    params = [{"max_depth": depth, "n_estimators": 100} for depth in (2, 4, 8, None)]
    scores = [BEST - 0.2, OTHER + 0.01, OTHER + 0.011, BEST]
    verdict = judge(table_of(params, scores, fit_seconds=np.outer([1, 2, 3, 9], np.ones(5))))

    assert verdict.comparison.indistinguishable == (2, 1)
    assert (verdict.cheapest, verdict.simplest) == (1, 1)
    assert verdict.sentences[-2:] == (
        (
            "The cheapest of them within one standard deviation fits in 2.0 s instead of 9.0 s,"
            " with a mean of 0.9160: max_depth=4."
        ),
        "It is also the simplest of these.",
    )


def test_a_much_worse_candidate_is_not_recommended_because_splits_are_few():
    """The test of two splits tells little apart, so the mean decides too; a sentence says so."""
    scores = [[0.90, 0.92], [0.60, 0.70], [0.905, 0.90]]
    seconds = np.outer([9, 1, 2], np.ones(2))

    verdict = judge(table_of([{"C": 9}, {"C": 1}, {"C": 2}], scores, fit_seconds=seconds))

    assert verdict.comparison.indistinguishable == (2, 1)
    assert (verdict.cheapest, verdict.simplest) == (2, 2)
    assert verdict.sentences[2].endswith("With 2 splits the test sees large differences only.")


def test_nothing_is_called_simpler_that_differs_in_an_unknown_direction():
    """A kernel does not order models."""
    params = [{"kernel": "rbf", "C": 10}, {"kernel": "linear", "C": 1}]

    assert judge(table_of(params, [BEST, OTHER], n_train=None)).simplest is None


@given(st.permutations(range(12)))
def test_the_verdict_does_not_depend_on_the_order_of_candidates(order: list[int]):
    """Rows are numbered anew, and all else stays."""
    table = grid_table(
        {"C": [1, 10, 100], "g": [1, 2, 3, 4]}, lambda p: p["C"] * p["g"] / 900, noise=0.05
    )
    mixed = table_of([table.params[row] for row in order], table.scores[list(order)])

    one, other = judge(table), judge(mixed)

    assert order[other.best] == one.best
    assert tuple(order[row] for row in other.comparison.indistinguishable) == (
        one.comparison.indistinguishable
    )
    assert other.sentences[:3] == one.sentences[:3]


def test_twenty_thousand_candidates_take_under_a_second():
    """Processor time of the verdict of a large grid."""
    grid = {"C": list(range(1, 101)), "gamma": list(range(1, 201))}
    table = grid_table(grid, lambda p: p["C"] / 100, noise=0.1)
    started = time.process_time()

    judge(table)

    assert time.process_time() - started < 1


def test_estimators_as_values_are_compared_by_class_and_parameters():
    """The sentence shows a short text for an estimator."""
    params = [{"clf": SVC()}, {"clf": LogisticRegression()}]
    seconds = np.array([[5.0], [1.0]]) * np.ones(5)

    verdict = judge(table_of(params, [BEST, BEST - [0, 0, 0.01, 0, 0]], fit_seconds=seconds))

    assert verdict.cheapest == 1
    assert verdict.sentences[-1].endswith(": clf=LogisticRegression(…).")


def test_a_candidate_that_a_refit_function_chose_is_not_called_the_best():
    """Where refit chose a lower mean, the verdict says so, and names the best mean."""
    table = table_of([{"a": index} for index in range(2)], [OTHER, BEST], best_index=0)

    verdict = judge(table)

    assert verdict.better == pytest.approx(0.92)
    assert verdict.sentences[0].startswith(
        "The search chose a candidate whose mean score is 0.9060"
    )
    assert verdict.sentences[0].endswith("the best mean is 0.9200.")
    assert judge(table_of([{"a": 1}, {"a": 2}], [BEST, BEST], best_index=1)).better is None
