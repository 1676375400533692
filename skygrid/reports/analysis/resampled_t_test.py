"""The corrected resampled t-test of Nadeau and Bengio."""

from __future__ import annotations

import numpy as np

from .records import CandidateTable, Floats

NAME = "corrected resampled t-test (Nadeau and Bengio 2003)"

EQUAL = 8 * float(np.finfo(np.float64).eps)
"""Relative difference of two mean scores up to which they are equal but for rounding."""


def t_statistics(best: Floats, others: Floats, ratio: Floats) -> Floats:
    """Return the corrected t-statistic of the score differences of candidate pairs.

    The scores of two splits are not independent, because their training sets overlap. The variance
    of the mean difference is therefore taken as ``(1/k + n_test/n_train) * s**2`` instead of
    ``s**2 / k``, for k splits and the sample variance ``s**2`` of the differences.

    Parameters
    ----------
    best : ndarray of shape (n_splits,)
        Scores of one candidate. At least two.
    others : ndarray of shape (n_others, n_splits)
        Scores of others on the same splits.
    ratio : ndarray of shape (n_others,)
        Size of a test set divided by the size of a training set.

    Returns
    -------
    t : ndarray of shape (n_others,)
        Positive where `best` is better; 0 for equal means, infinite for a difference that is the
        same on each split, NaN if a score is NaN. It has n_splits - 1 degrees of freedom.

    References
    ----------
    C. Nadeau and Y. Bengio, "Inference for the Generalization Error", Machine Learning 52,
    239-281, 2003. For repeated k-fold: R. R. Bouckaert and E. Frank, "Evaluating the Replicability
    of Significance Tests for Comparing Learning Algorithms", PAKDD 2004.
    """
    differences = best - others
    splits = differences.shape[1]
    mean = differences.mean(axis=1)
    spread = differences.std(axis=1, ddof=1)
    rounding = EQUAL * np.maximum(np.abs(best).max(), np.abs(others).max(axis=1))
    error = np.sqrt(1 / splits + ratio) * spread
    same_everywhere = spread <= rounding
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(same_everywhere, np.sign(mean) * np.inf, mean / error)
    return np.asarray(np.where(np.abs(mean) <= rounding, 0.0, t))


def two_sided_p(t: Floats, splits: int) -> Floats:
    """Return the two-sided p-values of t-statistics from this number of splits."""
    return np.asarray(2 * one_sided_p(np.abs(t), splits))


def one_sided_p(t: Floats, splits: int) -> Floats:
    """Return the probability of at least this t-statistic if there is no difference."""
    from scipy.special import stdtr

    return np.asarray(stdtr(splits - 1, -np.asarray(t)))


def size_ratio(table: CandidateTable) -> Floats:
    """Return the size of a test set divided by that of a training set, for each candidate.

    Unknown sizes are taken to be those of k-fold cross-validation.
    """
    candidates, splits = table.scores.shape
    if table.n_train is None or table.n_test is None:
        return np.full(candidates, 1 / max(1, splits - 1))
    ratio = np.mean(table.n_test, axis=-1) / np.mean(table.n_train, axis=-1)
    return np.broadcast_to(ratio, (candidates,))
