"""Records of the analysis: its input, and the result of each function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Axis = Literal["log", "linear", "category"]
"""Kind of an axis. A parameter with any value that is no number has categories."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CandidateTable:
    """Scores and fit times of all candidates for one metric.

    Scores are scikit-learn's: greater is better.
    """

    params: tuple[Mapping[str, Any], ...]
    """Parameters of each candidate, with the values as the user gave them."""

    scores: Floats
    """Test scores, shape (n_candidates, n_splits); NaN for fits that failed or have not run."""

    fit_seconds: Floats
    """Fit times in seconds, shape (n_candidates, n_splits); NaN if unknown."""

    best_index: int | None = None
    """Row that scikit-learn chose as the best; None to choose the best mean score, of the last
    iteration in a halving search."""

    metric: str = "score"
    """Name of the metric, for texts."""

    family: tuple[int, ...] = ()
    """Position of each candidate's grid in a list of dicts; empty if one dict was given."""

    rung: tuple[int, ...] = ()
    """Iteration of each candidate in a halving search, from 0; empty for other searches."""

    train_scores: Floats | None = None
    """Train scores, shape of `scores`; None without ``return_train_score``."""

    failed: Bools | None = None
    """True for fits that failed, shape of `scores`. None if each NaN in `scores` is a failure, as
    in a finished search."""

    derived: Bools | None = None
    """True for fit times computed from another candidate's fit, shape of `scores`; None if all were
    measured."""

    n_train: Floats | None = None
    """Number of training samples, shape (n_splits,) or (n_candidates, n_splits); None if not
    known."""

    n_test: Floats | None = None
    """Number of test samples, in the shape of `n_train`; None if unknown."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The estimator's own values of the searched parameters, where it has them."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Candidates that can be compared value by value.

    They come from one grid and have the same parameters. A grid that tries several classes of
    predictors for one step makes one family for each class.
    """

    index: int
    """Position of the family, from 0."""

    label: str
    """Values that all candidates of the family share and others lack, as ``clf=SVC(…)``; empty for
    the only family."""

    rows: tuple[int, ...]
    """All candidates of the family. In a halving search: of all iterations."""

    best: int | None
    """Row with the best mean score in the last iteration that the family reached; None without
    scores."""

    best_mean: float | None
    median: float | None
    """Median of the mean scores in the first iteration of the family."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The best candidate compared with each other one by the corrected resampled t-test."""

    test: str
    """Name of the test; empty if none was possible."""

    reason: str
    """Reason why no test was possible; otherwise empty."""

    significance: float
    """Level of the two-sided test of each pair, as 0.05."""

    compared: int
    """Number of candidates that were compared with the best one."""

    indistinguishable: tuple[int, ...]
    """Rows of the candidates that the test cannot tell from the best one, best mean first. The best
    candidate itself is not among them."""

    p_values: Floats = field(repr=False, compare=False)
    """Two-sided p-value for each row of the table; NaN if not compared."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The best candidate, and how sure that is."""

    best: int | None
    """Row of the best candidate; None if no candidate has a score."""

    mean: float | None
    """Mean score of the best candidate over the splits."""

    std: float | None
    """Population standard deviation over the splits, as in ``std_test_score``."""

    better: float | None = None
    """A better mean of another candidate, where a `refit` function chose this one; else None."""

    splits: int
    """Number of splits with a score for the best candidate."""

    scored: int
    """Number of candidates with a mean score; in a halving search, in the iteration of the best."""

    median: float | None
    """Median of their mean scores."""

    gain_over_median: float | None
    default: int | None
    """Row of the candidate with the estimator's own parameters; None if it was not tried."""

    default_mean: float | None
    gain_over_default: float | None
    comparison: Comparison
    cheapest: int | None
    """Row with the shortest mean fit time among the best candidate and the indistinguishable ones
    within one standard deviation of it; None without a test or without fit times."""

    simplest: int | None
    """Row of the simplest of the same candidates: each parameter that differs from the best
    candidate's has a value that makes a simpler model, as a smaller ``max_depth``. None if there is
    none, or if the parameters do not say."""

    sentences: tuple[str, ...]
    """The verdict as plain sentences, most important first."""


AdviceKind = Literal[
    "constant",
    "failures",
    "edge",
    "overfitting",
    "no-effect",
    "cost",
    "finer",
]


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One hint for the next search."""

    kind: AdviceKind
    text: str
    """One or two sentences that give the reason with its numbers."""

    parameter: str | None = None
    """Name of the parameter; None if the hint concerns the search."""

    line: str | None = None
    """Line to paste into the grid, as ``"C": [1e-05, 0.0001, 0.001],``; None if there is none. A
    hint to split the grid has the whole ``param_grid = [...]`` in several lines."""

    imports: str | None = None
    """Import that the line needs, as ``from scipy.stats import loguniform``; None if it needs
    none."""


@dataclass(frozen=True, kw_only=True)
class EffectValue:
    """One value of a parameter."""

    text: str
    """The value as short text."""

    number: float | None
    """The value as a number; None on an axis of categories."""

    mean: float | None
    """Marginal mean: mean of the mean scores of `rows`; None without scores."""

    best: float | None
    """Best of the mean scores of `rows`."""

    rows: tuple[int, ...]
    """Candidates of the family with this value. ``table.scores[rows]`` are the points."""

    scored: int
    """Number of `rows` that have a mean score."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Scores over the values of one parameter in one family."""

    family: int
    """`Family.index`."""

    name: str
    axis: Axis
    values: tuple[EffectValue, ...]
    """In ascending order; categories in order of appearance after the numbers among them."""

    trend: tuple[tuple[float, float], ...] = ()
    """Mean value and mean score of about ten equal groups, if most values occur once, as in a
    random search; otherwise empty."""


@dataclass(frozen=True, kw_only=True)
class MainEffect:
    """Part of the variance that one parameter explains alone."""

    name: str
    fraction: float
    """Between 0 and 1."""


@dataclass(frozen=True, kw_only=True)
class PairEffect:
    """Part of the variance that two parameters explain together and neither explains alone."""

    first: str
    second: str
    fraction: float
    """Between 0 and 1."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Importance of the parameters of one family: a decomposition of the scores' variance."""

    family: int
    """`Family.index`."""

    method: Literal["exact", "forest"] | None
    """exact: functional ANOVA of a complete grid. forest: functional ANOVA of a random forest that
    was fitted to the scores (Hutter, Hoos and Leyton-Brown 2014). None if there is no result."""

    note: str
    """One sentence that names the method, or the reason why there is no result."""

    main: tuple[MainEffect, ...] = ()
    """Largest first."""

    pairs: tuple[PairEffect, ...] = ()
    """Largest first. With many parameters, pairs of the most important ones only."""

    candidates: int = 0
    """Number of candidates that were used."""

    without_score: int = 0
    """Number of candidates that were left out because a score is missing."""

    sampled_from: int | None = None
    """Number of candidates from which those used were drawn; None if all were used."""

    explained: float | None = None
    """Out-of-bag R² of the forest, at most 1; None for an exact result."""


@dataclass(frozen=True, kw_only=True)
class CostPoint:
    """Score and fit time of one candidate."""

    row: int
    fit_seconds: float
    """Mean over the splits."""

    score: float
    derived: bool
    """True if any of its fit times was computed from another candidate's fit."""

    on_front: bool
    """True if no other candidate is at least as good and at least as fast, and better in one."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Mean score against mean fit time."""

    points: tuple[CostPoint, ...]
    """Candidates with both, fastest first. In a halving search: those in the iteration of the
    best."""

    front: tuple[int, ...]
    """Positions in `points` of the Pareto front, fastest first."""
