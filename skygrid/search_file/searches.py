"""Tells searches whose fits can be distributed from other values, before anything is fitted.

skygrid drives the body of `BaseSearchCV.fit`. A search that never calls it would fit all candidates
in the process that calls ``fit``, so it is refused.
"""

from __future__ import annotations

import contextlib
import dis
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from skygrid.errors import UsageError
from skygrid.search_file.estimators import BaseSearchCV, is_estimator, is_search
from skygrid.user_code.source import Place, describe

_EXAMPLE = "GridSearchCV(estimator, param_grid)"

_BY_ITSELF = (
    "fit it with its own fit(X, y), in a script: skygrid exec SCRIPT runs its joblib loops on "
    "nodes, and so does cluster.joblib()"
)

_WAYS_UP = frozenset({"super", "mro", "__mro__", "__base__", "__bases__"})
"""Names through which a method reaches the classes above its own."""


_MOST_WRAPPERS = 20
"""Maximum number of wrappers to unwrap; more may be an endless chain."""


def check_search(search: Any, place: Place) -> None:
    """Refuse a value of `search` whose fits cannot be distributed.

    Raises
    ------
    SearchFileError
        It is a class, an estimator, another value, or a search with a ``fit`` of its own.
    """
    found = objection(search)
    if found is not None:
        raise place.mistake(*found)


def refuse_undistributable(search: Any) -> None:
    """Refuse a value from Python whose fits cannot be distributed.

    Raises
    ------
    UsageError
        The message names the value and the remedy.
    """
    found = objection(search)
    if found is not None:
        problem, remedy = found
        raise UsageError(f"the search {problem}; {remedy}")


def objection(search: Any) -> tuple[str, str] | None:
    """Return the reason why the fits of `search` cannot be distributed, None if they can.

    Returns
    -------
    objection : tuple of str, or None
        The problem, as a sentence without its subject, and the remedy.
    """
    if isinstance(search, type):
        made = search.__name__
        if issubclass(search, BaseSearchCV):
            return f"is {describe(search)}, not an instance", f"write {made}(estimator, ...)"
        return f"is {describe(search)}, which is no search", f"write e.g. {_EXAMPLE}"
    if is_search(search):
        return None if comes_to_base_fit(type(search)) else _goes_its_own_way(search)
    if is_estimator(search):
        return _estimator_instead(search)
    return f"is {describe(search)}", f"write e.g. {_EXAMPLE}"


def _goes_its_own_way(search: Any) -> tuple[str, str]:
    problem = "whose fit does not call super().fit(), so its fits cannot be distributed"
    return f"is {describe(search)}, {problem}", _BY_ITSELF


def _estimator_instead(estimator: Any) -> tuple[str, str]:
    """Return the objection to an estimator that was given as a search."""
    what, kind = describe(estimator), type(estimator).__name__
    wrapped = f"GridSearchCV({kind}(...), param_grid)"
    inner = next(filter(is_search, _parameters(estimator, deep=True).values()), None)
    if inner is not None:
        around = type(inner).__name__
        return f"is {what} around a {around}", f"write {around}({kind}(...), ...) instead"
    if "cv" in _parameters(estimator, deep=False):
        problem = "which cross-validates by itself, so its fits cannot be distributed"
        return f"is {what}, {problem}", f"{_BY_ITSELF}. Or search over it: {wrapped}"
    return f"is {what}, which is no search", f"write e.g. {wrapped}"


def _parameters(estimator: Any, *, deep: bool) -> dict[str, Any]:
    try:
        return dict(estimator.get_params(deep=deep))
    except Exception:  # noqa: BLE001 (no estimator of scikit-learn's kind: it is refused anyway)
        return {}


def comes_to_base_fit(kind: type) -> bool:
    """Return whether ``fit`` of a subclass of `BaseSearchCV` can call `BaseSearchCV.fit`.

    The code is read, not run. A ``fit`` that might call it counts, as does one that is not written
    in Python; after it has run, skygrid knows for sure.
    """
    for owner in kind.__mro__:
        if owner is BaseSearchCV:
            return True
        fit = vars(owner).get("fit")
        if fit is None:
            continue
        ways = {_way_up(function, kind) for function in _reachable(fit, kind)}
        if "past" in ways or not ways:
            return True
        if "up" not in ways:
            return False
    return False


def _way_up(function: FunctionType, kind: type) -> str:
    """Return "up" for code with super().fit, "past" for a class's fit by name, "" for others."""
    if function is vars(BaseSearchCV)["fit"]:
        return "past"
    for code in _codes(function.__code__):
        if "fit" in (*code.co_names, *code.co_consts) and not _WAYS_UP.isdisjoint(code.co_names):
            return "up"
        if any(_is_search_class(name, function, kind) for name in _names_before_fit(code)):
            return "past"
    return ""


def _names_before_fit(code: CodeType) -> Iterator[str]:
    """Yield X for each ``X.fit`` in the code."""
    before = None
    for instruction in dis.get_instructions(code):
        if before is not None and instruction.argval == "fit" and "LOAD" in instruction.opname:
            yield str(before.argval)
        before = instruction


def _is_search_class(name: str, function: FunctionType, kind: type) -> bool:
    if name in {owner.__name__ for owner in kind.__mro__ if issubclass(owner, BaseSearchCV)}:
        return True
    value = function.__globals__.get(name)
    return isinstance(value, type) and issubclass(value, BaseSearchCV)


def _reachable(method: Any, kind: type) -> Iterator[FunctionType]:
    """Yield the Python functions through which a method may call another class's ``fit``.

    These are the method itself, the functions that a wrapper holds, and, by the names in their
    code, other methods of the class and functions of the same package.
    """
    waiting = [method]
    met: set[int] = set()
    while waiting:
        function = _function_of(waiting.pop())
        if function is None or id(function) in met:
            continue
        met.add(id(function))
        yield function
        waiting += _held(function)
        waiting += filter(_is_a_users, _named(function, kind))


def _function_of(value: Any) -> FunctionType | None:
    """Return the Python function behind a method, a partial or a decorator's object."""
    for _ in range(_MOST_WRAPPERS):
        if isinstance(value, FunctionType):
            return value
        wrapped = (
            getattr(value, name, None) for name in ("__wrapped__", "__func__", "func", "fget")
        )
        value = next((inner for inner in wrapped if inner is not None), None)
    return None


def _held(function: FunctionType) -> Iterator[Any]:
    """Yield the functions that a wrapper may call: its closure and ``__wrapped__``."""
    yield getattr(function, "__wrapped__", None)
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # the cell is empty
            yield cell.cell_contents


def _named(function: FunctionType, kind: type) -> Iterator[Any]:
    """Yield methods of the class and functions of the package that the code names."""
    for code in _codes(function.__code__):
        for name in set(code.co_names) - {"fit"}:
            yield inspect.getattr_static(kind, name, None)
            known = function.__globals__.get(name)
            if _package(known) == _package(function):
                yield known


def _is_a_users(value: Any) -> bool:
    """Return whether a function is not scikit-learn's, whose methods never call ``fit``."""
    return _package(value) != "sklearn"


def _package(value: Any) -> str:
    return str(getattr(value, "__module__", "")).partition(".")[0]


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code and that of the functions inside it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)
