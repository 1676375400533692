"""Contents of the three blobs that the fits of a round need: data, search and plan.

The driver makes these records and a slot opens them; nothing else knows how they travel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the driver imports this module before it needs NumPy or joblib
    from skygrid.worker.user_code.module_values import ModuleValues
    from skygrid.worker.user_code.process_state import ProcessState
    from skygrid.worker.user_code.user_modules import UserFiles
    from skygrid.worker.user_code.warning_rules import WarningRule

    from .joblib_backend import JoblibContext


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """Data of a search: the same for all of its fits."""

    X: Any
    y: Any
    fit_params: Mapping[str, Any]
    """Routed to the estimator's ``fit``."""

    score_params: Mapping[str, Any]
    """Routed to the scorer."""


@dataclass(frozen=True, kw_only=True)
class JointData:
    """Data of several searches whose fits are one round. It takes the place of a `SearchData`."""

    parts: tuple[SearchData, ...]


@dataclass(frozen=True, kw_only=True)
class SearchWork:
    """Everything else that all fits of a search need.

    The fields stand in the order in which they are unpickled: the first three prepare the
    process for the others.
    """

    process: ProcessState | None = None
    """Settings of the driver's process; None: unchanged."""

    modules: UserFiles | None = None
    """The user's modules; None: those that are installed."""

    values: ModuleValues | None = None
    """Values of the globals of these modules."""

    estimator: Any
    """The unfitted base estimator; every fit clones it."""

    scorer: Any
    """The search's scorer, a single callable also for several metrics."""

    return_train_score: bool
    error_score: Any
    verbose: int
    n_jobs: int | None = None
    """The search's ``n_jobs``: joblib inside a fit depends on how scikit-learn would run the fits.
    """

    column_of_one_score: str | None = None
    """Column of ``cv_results_`` that the search misses if ``estimator.score`` returns several
    scores; None if the search has another scorer, or accepts several scores."""

    callback_context: bool = True
    """True if the search passes the context of fit callbacks on; scikit-learn's own classes do."""

    sklearn_config: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `sklearn.set_config`."""

    joblib: JoblibContext | None = None
    """State of joblib inside a fit; None: unchanged."""

    warning_rules: Sequence[WarningRule] = ()
    """Warning filters of the driver, the first to match first."""


@dataclass(frozen=True, kw_only=True)
class CallSetup:
    """Everything that all calls of a round need. It takes the place of a `SearchWork`.

    The fields stand in the order in which they are unpickled, as in `SearchWork`.
    """

    process: ProcessState | None = None
    """Settings of the driver's process; None: unchanged."""

    modules: UserFiles | None = None
    """The user's modules; None: those that are installed."""

    values: ModuleValues | None = None
    """Values of the globals of these modules."""

    joblib: JoblibContext
    """State of joblib in a slot."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Candidates that one fit answers, on any one split."""

    members: tuple[int, ...]
    """Indices into the round's candidates, two or more, the longest fit first."""

    rule: str
    """Name of the sharing rule that applies."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Work that the fits of one round share."""

    groups: tuple[Group, ...] = ()
    """Disjoint; a candidate in no group has its own fit."""

    prefixes: tuple[int, ...] = ()
    """Per candidate: number of the longest pipeline prefix that others have too; -1 for none."""

    kept: frozenset[str] = frozenset()
    """Digests of the fitted transformers that a node keeps for other fits."""

    samples: bool = False
    """The slots of a node share the samples of a split, because X is large. Fits then go out split
    by split, which limits the samples in memory.
    """

    @property
    def on_nodes(self) -> bool:
        """True if the slots of a node share anything besides the fits of groups."""
        return bool(self.kept) or self.samples


@dataclass(frozen=True, kw_only=True)
class RoundTasks:
    """Candidates and splits of a round; a task is one of each."""

    candidates: Sequence[Mapping[str, Any]]
    """Parameter settings, in scikit-learn's order."""

    splits: Sequence[tuple[Any, Any]]
    """(train, test) index arrays, in scikit-learn's order."""

    sharing: Sharing = field(default_factory=Sharing)
    parts: tuple[int, ...] = ()
    """Per split: number of its data in `JointData.parts`. Empty: the round has one `SearchData`."""
