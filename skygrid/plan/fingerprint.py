"""Fingerprint of a search: digests of everything that decides its results.

Digests of pickles are not stable: pickles change with the order of sets and with the identity of
objects, and code pickled by value changes from process to process. So objects are hashed by their
content: numbers by their bits, arrays by dtype, shape and bytes, objects by class and state,
functions by name if they can be imported, otherwise by their code.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from skygrid.plan.spec import SearchSpec
from skygrid.worker.user_code.pickling import NodePickler

IGNORED_PARAMETERS = frozenset({"n_jobs", "verbose", "pre_dispatch", "refit", "estimator"})
"""Parameters of a search that change no outcome, and `estimator`, which is hashed separately."""

LARGE_BYTES = 1024 * 1024
"""Size in bytes from which an array is hashed once, although several candidates hold it."""


def fingerprint(
    spec: SearchSpec, versions: Mapping[str, str], settings: Mapping[str, Any]
) -> dict[str, str]:
    """Return the fingerprint of a search.

    Parameters
    ----------
    spec : SearchSpec
    versions : mapping of str to str
        Versions of Python and the packages that compute.
    settings : mapping
        scikit-learn's configuration.

    Returns
    -------
    parts : dict of str to str
        Version text, or SHA-256 in hexadecimal, by the name of the part.
    """
    user = frozenset(spec.code.modules)
    parts = {name: versions[name] for name in ("python", "scikit-learn", "numpy", "scipy")}
    params = spec.search.get_params(deep=False)
    parts["search class"] = digest(type(spec.search), user)
    parts["estimator"] = digest(params["estimator"], user)
    for name in sorted(params.keys() - IGNORED_PARAMETERS):
        parts[name] = digest(params[name], user)
    parts["X"] = digest(spec.X, user)
    parts["y"] = digest(spec.y, user)
    for name in sorted(spec.fit_params):
        parts[f"fit parameter {name}"] = digest(spec.fit_params[name], user)
    parts["scikit-learn settings"] = digest(dict(settings), user)
    if uses_user_code(params, user):
        parts["code of the search file and the modules beside it"] = _code_digest(sorted(user))
    return parts


def digest(value: Any, user_modules: Iterable[str] = ()) -> str:
    """Return the SHA-256 of a value's content.

    Parameters
    ----------
    value : object
    user_modules : iterable of str
        Modules whose functions are hashed by their code, not only by name.

    Returns
    -------
    digest : str
        Hexadecimal. NaN equals NaN; 1, 1.0 and True differ; order matters, except in sets.
    """
    walker = _Walker(frozenset(user_modules))
    walker.walk(value)
    return walker.hash.hexdigest()


def uses_user_code(value: Any, user_modules: frozenset[str]) -> bool:
    """Return whether a value contains a class or function of the user's modules."""
    walker = _Seeker(user_modules)
    walker.walk(value)
    return walker.met_user_code


class _Walker:
    def __init__(self, user_modules: frozenset[str]) -> None:
        self.hash = hashlib.sha256()
        self.met_user_code = False
        self._user = user_modules
        self._path: set[int] = set()
        self._contents: dict[int, tuple[weakref.ref[Any], str]] = {}

    def _add(self, kind: str, data: bytes | str | memoryview = b"") -> None:
        raw = data.encode() if isinstance(data, str) else data
        self.hash.update(f"{kind}:{len(raw)};".encode())
        self.hash.update(raw)

    def walk(self, value: Any) -> None:
        """Add a value to the hash."""
        write = _ATOMS.get(type(value))
        if write is not None:
            self._add(type(value).__name__, write(value))
            return
        if id(value) in self._path:
            self._add("cycle")
            return
        self._path.add(id(value))
        try:
            self._compound(value)
        finally:
            self._path.discard(id(value))

    def _compound(self, value: Any) -> None:
        take = _EXACT.get(type(value))
        if take is not None:
            take(self, value)
        elif isinstance(value, type):
            self._named("class", value)
        elif isinstance(value, np.generic):
            self._add(f"scalar {value.dtype.str}", value.tobytes())
        elif isinstance(value, np.dtype):
            self._add("dtype", repr(value.descr) if value.names else value.str)
        elif value is np.random.mtrand._rand:
            # scipy's distributions hold it until they get a seed: its state is not theirs.
            self._add("the global random state")
        else:
            self._object(value)

    def _sequence(self, value: Sequence[Any]) -> None:
        self._add(type(value).__name__, str(len(value)))
        for item in value:
            self.walk(item)

    def _mapping(self, value: Mapping[Any, Any]) -> None:
        self._add("dict", str(len(value)))
        for key, item in value.items():
            self.walk(key)
            self.walk(item)

    def _module(self, value: ModuleType) -> None:
        self._add("module", value.__name__)

    def _builtin(self, value: BuiltinFunctionType) -> None:
        self._named("builtin", value)

    def _method(self, value: MethodType) -> None:
        self._add("method", value.__name__)
        self.walk(value.__self__)

    def _array(self, array: np.ndarray) -> None:
        self._add("array", f"{array.dtype.str} {array.shape} {np.isfortran(array)}")
        if array.dtype.hasobject:
            for item in array.ravel().tolist():
                self.walk(item)
            return
        if array.nbytes < LARGE_BYTES:
            self._add("bytes", _bytes_of(array))
        else:
            self._add("content", self._content(array))

    def _content(self, array: np.ndarray) -> str:
        known = self._contents.get(id(array))
        if known is None or known[0]() is not array:
            known = weakref.ref(array), hashlib.sha256(_bytes_of(array)).hexdigest()
            self._contents[id(array)] = known
        return known[1]

    def _set(self, items: Iterable[Any]) -> None:
        self._add("set")
        for item in sorted(digest(item, self._user) for item in items):
            self._add("item", item)

    def _named(self, kind: str, value: Any) -> None:
        module = getattr(value, "__module__", None)
        self.met_user_code |= module in self._user
        self._add(kind, f"{module}:{value.__qualname__}")

    def _function(self, function: FunctionType) -> None:
        self._named("function", function)
        if _importable(function) and function.__module__ not in self._user:
            return
        self._code(function.__code__)
        self.walk(function.__defaults__)
        self.walk(function.__kwdefaults__)
        self.walk([_cell_contents(cell) for cell in function.__closure__ or ()])

    def _code(self, code: CodeType) -> None:
        self._add("code", code.co_code)
        self.walk(code.co_names)
        self.walk(code.co_consts)

    def _object(self, value: Any) -> None:
        self._named("object", type(value))
        # Hash an object by the parts that it gives to pickle.
        reduce = NodePickler.dispatch_table.get(type(value))
        reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        if isinstance(reduced, str):
            self._add("global", reduced)
            return
        for part in reduced:
            # The items of list and dict subclasses are iterators.
            self.walk(list(part) if isinstance(part, Iterator) else part)


class _Seeker(_Walker):
    """Walker that looks for user code and hashes nothing."""

    def _add(self, kind: str, data: bytes | str | memoryview = b"") -> None:
        pass

    def _content(self, array: np.ndarray) -> str:
        return ""


_ATOMS: dict[type, Callable[[Any], bytes | str]] = {
    type(None): lambda value: b"",
    type(...): lambda value: b"",
    bool: str,
    int: str,
    float: lambda value: "nan" if value != value else value.hex(),
    complex: repr,
    str: lambda value: value,
    bytes: lambda value: value,
    bytearray: bytes,
    range: repr,
}


_EXACT: dict[type, Callable[[_Walker, Any], None]] = {
    np.ndarray: _Walker._array,
    np.memmap: _Walker._array,
    list: _Walker._sequence,
    tuple: _Walker._sequence,
    dict: _Walker._mapping,
    set: _Walker._set,
    frozenset: _Walker._set,
    ModuleType: _Walker._module,
    FunctionType: _Walker._function,
    BuiltinFunctionType: _Walker._builtin,
    MethodType: _Walker._method,
    CodeType: _Walker._code,
}
"""Methods by exact type: a subclass may hold more than its base, so it is walked as an object."""


def _bytes_of(array: np.ndarray) -> memoryview | bytes:
    flat = np.asarray(array).T if np.isfortran(array) else np.ascontiguousarray(array)
    return flat.reshape(-1).view(np.uint8).data if flat.size else b""


def _cell_contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty: the function refers to a name that is bound later
        return None


def _importable(function: FunctionType) -> bool:
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function and function.__module__ != "__main__"


def _code_digest(modules: Iterable[str]) -> str:
    """Return a digest of the modules' syntax trees; comments and layout do not count."""
    whole = hashlib.sha256()
    for name in modules:
        source = _source(sys.modules.get(name))
        whole.update(f"{name.rpartition('.')[2]}\n{ast.dump(ast.parse(source))}\n".encode())
    return whole.hexdigest()


def _source(module: ModuleType | None) -> str:
    try:
        path = inspect.getsourcefile(module) if module else None
        return Path(path).read_text() if path else ""
    except (OSError, TypeError):  # a built-in module, or one whose file is gone
        return ""
