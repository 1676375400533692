"""Makes the scikit-learn search that a search file describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from skygrid.errors import SearchFileError
from skygrid.search_file.estimators import check_estimator, is_estimator, is_search
from skygrid.search_file.names import GRID, OPTIONS, RANDOMIZED, Names
from skygrid.search_file.parameters import check_distributions, check_grid
from skygrid.search_file.scoring import check_refit_names, check_scoring
from skygrid.search_file.searches import check_search
from skygrid.search_file.settings import (
    check_cv,
    check_error_score,
    check_n_iter,
    check_random_state,
    check_refit,
    check_return_train_score,
)
from skygrid.user_code.source import Place

_CHECKS: dict[str, Callable[[Any, Place], Any]] = {
    "scoring": check_scoring,
    "refit": check_refit,
    "error_score": check_error_score,
    "return_train_score": check_return_train_score,
    "n_iter": check_n_iter,
    "random_state": check_random_state,
}


def build_search(names: Names) -> Any:
    """Return the unfitted search, built from the file's names or taken from `search`.

    Raises
    ------
    SearchFileError
        A name is missing, misspelt, of the wrong kind, or contradicts another.
    """
    if names.given("search"):
        return _whole_search(names)
    if not names.given("estimator"):
        raise _missing_estimator(names)
    randomized = names.given("param_distributions")
    if randomized and names.given("param_grid"):
        raise _both(names, "param_distributions", "param_grid")
    if not randomized and not names.given("param_grid"):
        raise _missing_space(names)
    if not randomized and names.given("n_iter"):
        raise names.place("n_iter").mistake(
            "goes with 'param_distributions'", "delete it, or rename 'param_grid'"
        )
    return _search_of_parts(names, randomized=randomized)


def does_refit(search: Any) -> bool:
    """Return whether the search ends with an estimator fitted on all data."""
    return bool(getattr(search, "refit", True))


def _search_of_parts(names: Names, *, randomized: bool) -> Any:
    optional = (*RANDOMIZED[1:], *OPTIONS) if randomized else OPTIONS
    names.refuse_misspelt((*optional, "holdout"))
    estimator = names.value("estimator")
    place = names.place("estimator")
    if is_search(estimator):
        raise place.mistake(
            f"is already a {type(estimator).__name__}", "call it 'search' and delete the grid"
        )
    check_estimator(estimator, place)
    space_name = "param_distributions" if randomized else "param_grid"
    check_space = check_distributions if randomized else check_grid
    space = names.value(space_name)
    check_space(space, estimator, names.place(space_name))
    options = {name: names.value(name) for name in optional if names.given(name)}
    places = {name: names.place(name) for name in options}
    options = _checked(options, places)
    make = RandomizedSearchCV if randomized else GridSearchCV
    return make(estimator, space, **options)


def _whole_search(names: Names) -> Any:
    for name in (*GRID, *RANDOMIZED[:2], *OPTIONS):
        if names.given(name):
            raise _both(names, "search", name)
    names.refuse_misspelt(("holdout",))
    search = names.value("search")
    place = names.place("search")
    check_search(search, place)
    _check_seed(names, search)
    check_estimator(search.estimator, place.part(".estimator"))
    for attribute, check in (
        ("param_grid", check_grid),
        ("param_distributions", check_distributions),
    ):
        if hasattr(search, attribute):
            check(getattr(search, attribute), search.estimator, place.part(f".{attribute}"))
    own = [*OPTIONS, *(RANDOMIZED[1:] if isinstance(search, RandomizedSearchCV) else ())]
    options = {name: getattr(search, name) for name in own if hasattr(search, name)}
    checked = _checked(options, {name: place.part(f".{name}") for name in options})
    return _unfitted(search, checked.get("cv"))


def _unfitted(search: Any, cv: Any) -> Any:
    """Return the search without results, with splits that can be read more than once."""
    if getattr(search, "cv", None) is not cv:
        search.cv = cv
    return clone(search) if hasattr(search, "cv_results_") else search


def _check_seed(names: Names, search: Any) -> None:
    """Refuse a seed that the search was not given and would silently ignore."""
    if not names.given("random_state") or "random_state" not in search.get_params(deep=False):
        return
    seed = names.value("random_state")
    if search.random_state is None and seed is not None:
        raise names.place("random_state").mistake(
            "is not used by 'search'",
            f"write {type(search).__name__}(..., random_state=random_state)",
        )


def _checked(options: dict[str, Any], places: dict[str, Place]) -> dict[str, Any]:
    """Check every option, alone and together; return them in the form for scikit-learn."""
    checked = dict(options)
    for name, value in options.items():
        if name == "cv":
            checked["cv"] = check_cv(value, places["cv"])
        else:
            _CHECKS[name](value, places[name])
    if "scoring" in options:
        refit_place = places.get("refit", places["scoring"])
        check_refit_names(options["scoring"], options.get("refit", True), refit_place)
    return checked


def _both(names: Names, first: str, second: str) -> Exception:
    line = names.file.lines.get(second)
    where = f" (line {line})" if line is not None else ""
    return names.place(first).mistake(
        f"and {second!r}{where} are both given", f"keep one; a helper may be called _{second}"
    )


def _missing_estimator(names: Names) -> Exception:
    found = names.holds(is_search)
    if found is not None:
        return names.place(found).mistake(
            "is a search, but is not called so", f"write search = {found}"
        )
    found = names.holds(is_estimator)
    if found is not None and "estimator" not in names.file.lines:
        return names.place(found).mistake(
            "is not a name that skygrid reads",
            f"did you mean 'estimator'? Write estimator = {found}",
        )
    if names.defines("main"):
        return SearchFileError(
            f"{names.file.shown} has no 'search', but a function main(). To run it as a script "
            f"whose searches and loops use nodes: skygrid exec {names.file.shown}"
        )
    return names.missing("estimator", "write e.g. estimator = SVC(), or search = GridSearchCV(...)")


def _missing_space(names: Names) -> Exception:
    if is_search(names.value("estimator")):
        return names.place("estimator").mistake("is already a search", "call it 'search'")
    return names.missing_one_of(
        ("param_grid", "param_distributions"), "write e.g. param_grid = {'C': [0.1, 1, 10]}"
    )
