"""The data of a search file: `dataset` in its forms, `holdout`, and their agreement.

Checks use types, shapes and lengths alone: no value of X is read and nothing is copied.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sklearn.utils
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    StratifiedGroupKFold,
    StratifiedKFold,
)

from skygrid.errors import SearchFileError
from skygrid.search_file.arrays import check_samples, check_targets, n_features, n_samples
from skygrid.search_file.names import Names
from skygrid.search_file.scoring import check_takes_targets
from skygrid.user_code.source import Place, describe, did_you_mean

_FORM = "write (X, y), (X,), a Bunch, or a dict with 'X' and 'y'"
_FOLDED = (KFold, StratifiedKFold, GroupKFold, StratifiedGroupKFold)
_GROUPED = (GroupKFold, StratifiedGroupKFold, GroupShuffleSplit, LeaveOneGroupOut, LeavePGroupsOut)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Data of a search, and its holdout."""

    X: Any
    y: Any = None
    fit_params: Mapping[str, Any] = field(default_factory=dict)
    holdout: tuple[Any, Any] | None = None


def read_data(names: Names, search: Any, *, refits: bool) -> Data:
    """Return the dataset and the holdout of a search file.

    Parameters
    ----------
    refits : bool
        The search refits, so a holdout can be scored.

    Raises
    ------
    SearchFileError
        A form is not understood, or lengths or features differ.
    """
    if not names.given("dataset"):
        raise _missing(names)
    place = names.place("dataset")
    X, y, fit_params = _parts(names.value("dataset"), place)
    check_samples(X, place, "X")
    check_targets(X, y, place, ("X", "y"))
    if y is None and _needs_targets(search.estimator):
        raise place.mistake(
            f"has no y, which {type(search.estimator).__name__} needs", "write dataset = (X, y)"
        )
    for name in ("groups", "sample_weight"):
        if fit_params.get(name) is not None:
            check_targets(X, fit_params[name], place, ("X", name))
    holdout = _holdout(names, X, refits=refits) if names.given("holdout") else None
    return Data(X=X, y=y, fit_params=fit_params, holdout=holdout)


def check_agreement(names: Names, search: Any, data: Data) -> None:
    """Refuse splits and scorers that do not fit these data.

    Raises
    ------
    SearchFileError
        More folds than samples, no groups for a splitter by groups, or a scorer without y.
    """
    if data.y is not None:
        check_takes_targets(getattr(search, "scoring", None), _place_of(names, "scoring"))
    cv = getattr(search, "cv", None)
    if isinstance(cv, _GROUPED) and data.fit_params.get("groups") is None:
        raise names.place("dataset").mistake(
            f"has no groups, which {type(cv).__name__} needs",
            'write dataset = {"X": X, "y": y, "groups": groups}',
        )
    folds, samples = _folds(cv), n_samples(data.X)
    if folds is None or samples is None or folds <= samples:
        return
    if cv is None:
        raise names.place("dataset").mistake(
            f"has {samples} samples, too few for {folds} folds",
            "add samples, or set cv to fewer folds",
        )
    raise _place_of(names, "cv").mistake(
        f"makes {folds} folds of {samples} samples", f"write at most {max(samples, 2)}"
    )


def _place_of(names: Names, option: str) -> Place:
    """Return the place of an option: its own name, or a part of `search`."""
    return (
        names.place("search").part(f".{option}") if names.given("search") else names.place(option)
    )


def _folds(cv: Any) -> int | None:
    if cv is None:
        return 5  # scikit-learn's default
    if isinstance(cv, numbers.Integral):
        return int(cv)
    return int(cv.n_splits) if isinstance(cv, _FOLDED) else None


def _missing(names: Names) -> SearchFileError:
    for pair in (("X", "y"), ("X_train", "y_train")):
        if all(name in names.file.lines for name in pair):
            return names.missing("dataset", f"write dataset = ({pair[0]}, {pair[1]})")
    return names.missing("dataset", "write e.g. dataset = (X, y)")


def _parts(dataset: Any, place: Place) -> tuple[Any, Any, dict[str, Any]]:
    """Return X, y and the fit parameters of any form of dataset."""
    # A Bunch is a dict with the keys data and target.
    if isinstance(dataset, sklearn.utils.Bunch) and "X" not in dataset:
        if "data" not in dataset:
            raise place.mistake("is a Bunch without 'data'", _FORM)
        return dataset["data"], dataset.get("target"), {}
    if isinstance(dataset, Mapping):
        return _of_mapping(dataset, place)
    if not isinstance(dataset, tuple):
        alone = isinstance(getattr(dataset, "shape", None), tuple)
        hint = ", which could be X alone" if alone else ""
        raise place.mistake(f"is {describe(dataset)}{hint}", _FORM)
    if len(dataset) == 4:
        raise place.mistake(
            "has 4 parts", "write dataset = (X_train, y_train) and holdout = (X_test, y_test)"
        )
    if len(dataset) not in {1, 2}:
        raise place.mistake(f"has {len(dataset)} parts", _FORM)
    return dataset[0], dataset[1] if len(dataset) == 2 else None, {}


def _of_mapping(dataset: Mapping[Any, Any], place: Place) -> tuple[Any, Any, dict[str, Any]]:
    for key in dataset:
        if not isinstance(key, str):
            raise place.mistake(f"has {describe(key)} as a key", "write strings, e.g. 'X' and 'y'")
    for wanted, other in (("X", "x"), ("y", "Y")):
        if wanted not in dataset and other in dataset:
            raise place.mistake(f"has the key {other!r}", f"write {wanted!r}")
    if "X" not in dataset:
        raise place.mistake("is a dict without 'X'", 'write {"X": X, "y": y}')
    fit_params = {name: value for name, value in dataset.items() if name not in {"X", "y"}}
    for name in fit_params:
        close = did_you_mean(name, ("groups", "sample_weight"), cutoff=0.85)
        nested = "__" in name  # clf__sample_weight is for a step of a Pipeline
        if close not in {None, name, *fit_params} and not nested:
            raise place.mistake(f"has the key {name!r}", f"did you mean {close!r}?")
    return dataset["X"], dataset.get("y"), fit_params


def _holdout(names: Names, X: Any, *, refits: bool) -> tuple[Any, Any]:
    place = names.place("holdout")
    holdout = names.value("holdout")
    form = "write (X_test, y_test)"
    if not isinstance(holdout, tuple):
        raise place.mistake(f"is {describe(holdout)}", form)
    if len(holdout) != 2:
        raise place.mistake(f"has {len(holdout)} parts", form)
    X_test, y_test = holdout
    check_samples(X_test, place, "X_test")
    check_targets(X_test, y_test, place, ("X_test", "y_test"))
    ours, theirs = n_features(X), n_features(X_test)
    if ours is not None and theirs is not None and ours != theirs:
        raise place.mistake(
            f"has {theirs} features and the dataset {ours}", "prepare both the same way"
        )
    if not refits:
        raise place.mistake(
            "is scored after the refit, but refit is False", "delete one of the two"
        )
    return X_test, y_test


def _needs_targets(estimator: Any) -> bool:
    """Return whether the estimator's tags require y; releases before 1.6 have no such tags."""
    get_tags = getattr(sklearn.utils, "get_tags", None)
    if get_tags is None:
        return False
    try:
        return bool(get_tags(estimator).target_tags.required)
    except Exception:  # noqa: BLE001 (tags are the user's own code; on an error nothing is required)
        return False
