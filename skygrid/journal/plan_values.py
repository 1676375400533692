"""The content of a recorded plan as data, read without the user's modules.

A plan is a pickle, and loading a pickle runs the code that it names. A report needs no such code:
it reads numbers, text, collections and arrays, and stand-ins for all other objects. So the plan of
a run that someone else made can be read too.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

_NUMPY = tuple(
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (
        ("multiarray", "_reconstruct"),
        ("multiarray", "scalar"),
        ("numeric", "_frombuffer"),
    )
)
_PLAIN = frozenset(
    {
        *(("builtins", name) for name in ("complex", "frozenset", "range", "set", "slice")),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *_NUMPY,
    }
)
"""Names that a pickle may use: they make values and run no other code."""


@dataclass(frozen=True, kw_only=True)
class PlanValues:
    """Candidates and splits of a round as data."""

    round: int
    candidates: Sequence[Mapping[str, Any]]
    n_train: tuple[int, ...]
    """Training samples of each split."""

    n_test: tuple[int, ...]
    """Test samples of each split; 0 if the plan does not say."""


class _StandInClass(type):
    """Class of stand-ins; a parameter may have a class or a function as its value."""

    def __repr__(cls) -> str:
        return cls.__name__


class StandIn(metaclass=_StandInClass):
    """Stand-in for an object of a class that is not loaded; it has the class's name and module."""

    def __new__(cls, *_: Any, **__: Any) -> StandIn:
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **_: Any) -> None:
        self.__dict__["_arguments"] = arguments

    def __setstate__(self, state: Any) -> None:
        self.__dict__["_state"] = state

    def __call__(self, *_: Any, **__: Any) -> StandIn:
        return self

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None:
        """Accept an item of a subclass of list."""

    def __hash__(self) -> int:
        return id(self)

    def get_params(self, *, deep: bool = False) -> dict[str, Any]:
        """Return the attributes that are parameters: no underscore at either end."""
        state = self.__dict__.get("_state")
        if not isinstance(state, dict):
            return {}
        return {
            key: value
            for key, value in state.items()
            if isinstance(key, str) and not key.startswith("_") and not key.endswith("_")
        }

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{key}={value!r}"
            for key, value in self.get_params().items()
            if isinstance(value, str | int | float | StandIn) and value is not False
        )
        return f"{type(self).__name__}({shown})"


class PredictorStandIn(StandIn):
    """Stand-in for an estimator that probably predicts."""

    def predict(self, X: Any) -> Any:
        """Refuse: the class is not loaded."""
        raise NotImplementedError(f"{type(self).__name__} is not loaded")


def plan_values(round: int, pickled: bytes) -> PlanValues:
    """Read a pickled plan; run no code of it.

    Raises
    ------
    ValueError
        If the pickle is damaged or is no plan.
    """
    try:
        candidates, splits = _Reader(io.BytesIO(pickled)).load()
        train, test = zip(*(map(_size, pair) for pair in splits), strict=True)
        if not all(isinstance(one, Mapping) for one in candidates):
            raise TypeError("a candidate is no mapping")
    except Exception as error:  # a damaged pickle raises anything
        raise ValueError(f"round {round} of the journal has no readable plan: {error}") from error
    return PlanValues(round=round, candidates=candidates, n_train=train, n_test=test)


def _size(indices: Any) -> int:
    """Return the number of samples that indices, a mask or a slice choose."""
    dtype = getattr(indices, "dtype", None)
    if dtype is not None and dtype.kind == "b":
        return int(indices.sum())
    return len(indices) if hasattr(indices, "__len__") else 0


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        return _stand_in(module, name)

    def persistent_load(self, pid: Any) -> Any:
        return _stand_in("", "object")()


_TRANSFORMERS = re.compile(
    r"sklearn\.(preprocessing|decomposition|feature_selection|feature_extraction|impute|compose|"
    r"random_projection|kernel_approximation|gaussian_process\.kernels)\b"
)
_PREDICTORS = re.compile(
    r"sklearn\.|xgboost\.|lightgbm\.|catboost\.|.*(Classifier|Regressor|SVC|SVR)$"
)


@cache
def _stand_in(module: str, name: str) -> _StandInClass:
    """Return the stand-in for a class or a function; reports compare predictors of one class."""
    path = f"{module}.{name}"
    predicts = _PREDICTORS.match(path) and not _TRANSFORMERS.match(path)
    base = PredictorStandIn if predicts else StandIn
    return _StandInClass(name.rpartition(".")[2], (base,), {"__module__": module})
