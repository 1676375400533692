"""Nested cross-validation: scikit-learn's own, whose searches share one queue of fits.

scikit-learn's `cross_validate` runs in a thread of its own, and each outer fold in a further one,
all in this process. The searches inside ask for outcomes (`run.joint_rounds`), and the calling
thread runs their rounds on the nodes.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import joblib
import sklearn
from joblib.parallel import ParallelBackendBase, SequentialBackend
from sklearn.model_selection import cross_validate

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.errors import UsageError
from skygrid.joblib_backend.searches import is_distributable
from skygrid.run.joint_rounds import FoldRounds, JointRounds
from skygrid.search_file.estimators import is_search
from skygrid.search_file.portable import obstacles_named
from skygrid.search_file.searches import refuse_undistributable
from skygrid.sklearn_search.driven_search import (
    OutcomeSource,
    estimators_within,
    refuse_callbacks,
    take_over,
)
from skygrid.user_code.program_needs import code_of_program, needs_of

MOST_FOLDS = 64
"""Outer folds that run at a time: each has a thread and its samples."""

DECIDED = ("n_jobs", "pre_dispatch")
"""Arguments of `cross_validate` that the cluster decides."""


def nested_cross_validation(
    engine: PullEngine,
    config: RunConfig,
    estimator: Any,
    X: Any,
    y: Any,
    options: Mapping[str, Any],
) -> Any:
    """Return what scikit-learn's `cross_validate` returns, with the fits of searches on nodes.

    Raises
    ------
    UsageError
        If the estimator holds no search, or one that cannot be distributed.
    """
    refuse_unsearched(estimator)
    for name in DECIDED:
        if options.get(name) is not None:
            raise UsageError(f"the cluster decides on {name}: leave it out")
    code = code_of_program(shares_modules=engine.shares_modules)
    if not engine.shares_modules:
        with obstacles_named(estimator=estimator, X=X, y=y, options=options):
            needs = needs_of(code, estimator, X, y, options)
        engine.set_modules(needs)
    joint = JointRounds(engine, config, code)
    folds = _Folds(joint)

    def choose(search: Any) -> OutcomeSource | None:
        if not folds.here or not is_distributable(search):
            return None
        return lambda X, y, params: rounds()

    @contextmanager
    def rounds() -> Iterator[FoldRounds]:
        made = FoldRounds(engine, config, joint)
        try:
            yield made
        finally:
            made.warnings.issue()

    def validate() -> Any:
        several = {"n_jobs": MOST_FOLDS, "pre_dispatch": MOST_FOLDS}
        with joblib.parallel_config(FoldsBackend(folds), n_jobs=MOST_FOLDS):
            return cross_validate(estimator, X, y, **{**options, **several})

    with take_over(choose):
        return _served(joint, validate)


def refuse_unsearched(estimator: Any) -> None:
    """Refuse an estimator without a search, or with one whose fits cannot be distributed.

    Raises
    ------
    UsageError
    """
    searches = [one for one in estimators_within(estimator) if is_search(one)]
    if not searches:
        raise UsageError(
            f"{type(estimator).__name__} holds no search, so its folds have no inner fits: use "
            "scikit-learn's cross_validate inside `with cluster.joblib():`"
        )
    for search in searches:
        refuse_undistributable(search)
    refuse_callbacks(estimator)


def _served(joint: JointRounds, validate: Callable[[], Any]) -> Any:
    """Run a function in a thread, and the rounds that its folds ask for in this one."""
    ended = _Ended()
    sklearn_config = sklearn.get_config()

    def run() -> None:
        try:
            with joint.working(ended), sklearn.config_context(**sklearn_config):
                ended.result = validate()
        except BaseException as error:  # noqa: BLE001 (raised in the caller's thread)
            ended.error = error
        finally:
            ended.over = True
            joint.look()

    joint.expect(ended)
    # NumPy's error state, among others, belongs to the context.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="skygrid-folds", daemon=True)
    thread.start()
    try:
        joint.serve(lambda: ended.over)
    finally:
        joint.stop()
        thread.join()
    if ended.error is not None:
        raise ended.error
    return ended.result


class _Ended:
    """The end of the thread that runs scikit-learn's function."""

    over = False
    result: Any = None
    error: BaseException | None = None


class _Folds:
    """The folds of one nested cross-validation, a thread each."""

    def __init__(self, joint: JointRounds) -> None:
        self.joint = joint
        self._threads = threading.local()
        self._config = sklearn.get_config()
        """The caller's; each thread has its own."""

    @property
    def here(self) -> bool:
        """True in the thread of a fold."""
        return getattr(self._threads, "here", False)

    def start(self, batch: Any, callback: Callable[[Any], Any] | None) -> _Fold:
        """Run a batch of joblib in a thread."""
        fold = _Fold()

        def run() -> None:
            self._threads.here = True
            try:
                with self.joint.working(fold), sklearn.config_context(**self._config):
                    fold.results = [
                        # The wrapper of scikit-learn replaces the warning filters of all threads.
                        getattr(function, "function", function)(*args, **kwargs)
                        for function, args, kwargs in batch.items
                    ]
            except BaseException as error:  # noqa: BLE001 (raised by joblib)
                fold.error = error
            if callback is not None:
                callback(fold)

        self.joint.expect(fold)
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(run,), name="skygrid-fold", daemon=True).start()
        return fold


class _Fold:
    """A batch that runs in a thread; joblib's future."""

    def __init__(self) -> None:
        self.results: Any = None
        self.error: BaseException | None = None

    def get(self) -> Any:
        """Return the results, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.results


class FoldsBackend(ParallelBackendBase):
    """joblib's backend for outer folds: each runs in a thread of this process.

    Parameters
    ----------
    folds : _Folds
    """

    supports_retrieve_callback = True
    supports_sharedmem = True
    uses_threads = True

    def __init__(self, folds: _Folds) -> None:
        super().__init__(nesting_level=0)
        self._folds = folds

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        return MOST_FOLDS

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **_: Any) -> int:
        self.parallel = parallel
        return MOST_FOLDS

    def get_nested_backend(self) -> tuple[Any, int | None]:
        return SequentialBackend(nesting_level=1), None  # not used: folds have joblib's default

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> _Fold:
        return self._folds.start(func, callback)

    apply_async = submit  # name in joblib before 1.5

    def retrieve_result_callback(self, out: _Fold) -> Any:
        return out.get()

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Note that joblib has started all folds, and only waits for them from now on."""
        self._folds.joint.idle()
        yield

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End all folds: one has failed."""
        self._folds.joint.stop()
