"""Checks of `scoring`, and of `refit` among several scorers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.metrics import get_scorer_names

from skygrid.search_file.names import accepts
from skygrid.user_code.source import Place, describe, did_you_mean

_EXAMPLE = "write a scorer's name such as 'accuracy'"


def check_scoring(scoring: Any, place: Place) -> None:
    """Refuse a `scoring` that scikit-learn would not take.

    Raises
    ------
    SearchFileError
        A scorer's name is unknown, or a function does not take (estimator, X, y).
    """
    if scoring is None:
        return
    if isinstance(scoring, list | tuple):
        _check_names(scoring, place)
    elif isinstance(scoring, Mapping):
        _check_mapping(scoring, place)
    elif isinstance(scoring, set | frozenset):
        raise place.mistake("is a set, which has no order", "write a list of scorers' names")
    else:
        _check_one(scoring, place)


def check_refit_names(scoring: Any, refit: Any, place: Place) -> None:
    """Refuse a `refit` that cannot choose among several scorers.

    Parameters
    ----------
    scoring : object
        Already checked; with one scorer there is nothing to choose.
    place : Place
        Place of `refit`, or of `scoring` if `refit` is not given.

    Raises
    ------
    SearchFileError
        It does not say which score decides, or names none of the scorers.
    """
    if not isinstance(scoring, list | tuple | Mapping) or callable(refit) or refit is False:
        return
    names = list(scoring)
    shown = ", ".join(repr(name) for name in names[:8])
    if not isinstance(refit, str):
        raise place.mistake(
            "leaves open which of several scores decides", f"set refit to {shown}, or False"
        )
    if refit not in names:
        close = did_you_mean(refit, names)
        remedy = f"did you mean {close!r}?" if close else f"write one of {shown}, or False"
        raise place.mistake(f"is {refit!r}, which is not among the scorers", remedy)


def check_takes_targets(scoring: Any, place: Place) -> None:
    """Refuse a function without a parameter for y, which scikit-learn passes if there are targets.

    Raises
    ------
    SearchFileError
        It is a metric of (y_true, y_pred), not a scorer.
    """
    if isinstance(scoring, Mapping):
        for name, scorer in scoring.items():
            check_takes_targets(scorer, place.part(f"[{name!r}]"))
    elif callable(scoring) and not accepts(scoring, 3):
        raise place.mistake("cannot be called with (estimator, X, y)", _make_scorer(scoring))


def _check_names(scoring: list[Any] | tuple[Any, ...], place: Place) -> None:
    if not scoring:
        raise place.mistake("is empty", _EXAMPLE)
    for name in scoring:
        if not isinstance(name, str):
            raise place.mistake(
                f"lists {describe(name)}", "list names only, or write a dict of name: scorer"
            )
        _check_one(name, place)
    if len(set(scoring)) < len(scoring):
        raise place.mistake("names a scorer twice", "name each once")


def _check_mapping(scoring: Mapping[Any, Any], place: Place) -> None:
    if not isinstance(scoring, dict):
        raise place.mistake(f"is {describe(scoring)}", "write dict(...) around it")
    if not scoring:
        raise place.mistake("is empty", _EXAMPLE)
    for name, scorer in scoring.items():
        if not isinstance(name, str):
            raise place.mistake(f"has {describe(name)} as a key", "name each score by a string")
        _check_one(scorer, place.part(f"[{name!r}]"))


def _check_one(scorer: Any, place: Place) -> None:
    if isinstance(scorer, str):
        known = get_scorer_names()
        if scorer not in known:
            close = _closest_scorer(scorer, known)
            remedy = f"did you mean {close!r}?" if close else _EXAMPLE
            raise place.mistake(f"is {scorer!r}, which names no scorer", remedy)
        return
    if isinstance(scorer, type) or not callable(scorer):
        raise place.mistake(f"is {describe(scorer)}", _EXAMPLE)
    if not accepts(scorer, 2, 3):
        raise place.mistake("cannot be called with (estimator, X, y)", _make_scorer(scorer))
    if not accepts(scorer, 3) and _is_metric(scorer):
        raise place.mistake("is a metric, not a scorer", _make_scorer(scorer))


def _closest_scorer(word: str, known: list[str]) -> str | None:
    for attempt in (word, word.removesuffix("_score")):
        started = [name for name in known if attempt and name.startswith(attempt)]
        close = min(started, key=len) if started else did_you_mean(attempt, known)
        if close is not None:
            return close
    return None


def _is_metric(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith("sklearn.metrics")


def _make_scorer(function: Any) -> str:
    name = getattr(function, "__name__", "metric")
    name = name if name.isidentifier() else "metric"
    return f"write make_scorer({name}) if it compares y_true with y_pred"
