"""Checks of estimators and searches."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skygrid.search_file.portable import COPY_REMEDY, REMEDY, find_obstacle, find_uncopied
from skygrid.user_code.failures import error_text
from skygrid.user_code.source import Place, describe

# The base class of all searches is documented for subclassing but exported by no public module;
# every release's GridSearchCV has it among its bases.
BaseSearchCV: type = next(base for base in GridSearchCV.__mro__ if base.__name__ == "BaseSearchCV")


def is_search(value: Any) -> bool:
    """Return whether `value` is a grid, randomized, halving or other cross-validated search."""
    return isinstance(value, BaseSearchCV)


def is_estimator(value: Any) -> bool:
    """Return whether `value` is an instance that can be fitted."""
    return hasattr(value, "fit") and not isinstance(value, type)


def is_estimator_class(value: Any) -> bool:
    """Return whether `value` is an estimator's class, used in place of an instance."""
    return isinstance(value, type) and hasattr(value, "fit")


def check_estimator(estimator: Any, place: Place) -> None:
    """Refuse a value that scikit-learn could not clone, set parameters on and fit.

    Raises
    ------
    SearchFileError
        It is a class, a value of another kind, or its constructor breaks the conventions.
    """
    if isinstance(estimator, type):
        raise place.mistake(
            f"is {describe(estimator)}, not an instance", f"write {estimator.__name__}()"
        )
    if not hasattr(estimator, "fit"):
        raise place.mistake(f"is {describe(estimator)}, which has no fit", "write e.g. SVC()")
    lacking = [name for name in ("get_params", "set_params") if not hasattr(estimator, name)]
    if lacking:
        raise place.mistake(
            f"is {describe(estimator)}, which has no {lacking[0]}",
            "derive its class from sklearn.base.BaseEstimator",
        )
    _check_steps(estimator, place)
    _check_clones(estimator, place)


def parameters_of(estimator: Any, place: Place) -> dict[str, Any]:
    """Return ``estimator.get_params(deep=True)``."""
    try:
        return dict(estimator.get_params(deep=True))
    except Exception as error:  # noqa: BLE001 (a user's constructor may raise anything)
        raise place.mistake(
            f"cannot tell its parameters: {error_text(error)}",
            "store every argument of __init__ under its own name, e.g. self.alpha = alpha",
        ) from None


def _check_steps(estimator: Any, place: Place) -> None:
    """Refuse classes among the steps of pipelines, which scikit-learn reports late."""
    steps = getattr(estimator, "steps", None) if isinstance(estimator, Pipeline) else None
    if isinstance(steps, list | tuple):
        for step in steps:
            if isinstance(step, list | tuple) and len(step) == 2 and is_estimator_class(step[1]):
                name, kind = step
                raise place.mistake(
                    f"has the class {kind.__name__} as its step {name!r}, not an instance",
                    f"write ({name!r}, {kind.__name__}())",
                )
            if isinstance(step, list | tuple) and isinstance(step[-1], Pipeline):
                _check_steps(step[-1], place)


def _check_clones(estimator: Any, place: Place) -> None:
    parameters_of(estimator, place)
    try:
        clone(estimator)
    except Exception as error:  # noqa: BLE001 (a user's constructor may raise anything)
        # Parameters that are no estimators are copied through a pickle.
        obstacle = find_obstacle(estimator)
        if obstacle is not None:
            raise place.part(obstacle.path).mistake(obstacle.problem, REMEDY) from None
        uncopied = find_uncopied(estimator)
        if uncopied is not None:
            raise place.part(uncopied.path).mistake(uncopied.problem, COPY_REMEDY) from None
        raise place.mistake(
            f"cannot be cloned: {error_text(error)}",
            "let __init__ only store its arguments, unchanged",
        ) from None
