"""Pickling for nodes: cloudpickle, with each user module existing once on a node.

cloudpickle pickles ``__main__`` and registered modules by value. A class would then exist twice on
a node: by value, and in the module that other code imports. Therefore classes and functions of
importable modules travel by name (`import_by_name`). Those of the program travel by value and are
put into one module of its name (`put_into_program`), whose globals its functions use.

Recent releases of cloudpickle replace file names by ``<dynamic-code>``. The reducer of code objects
keeps them, because tracebacks are part of a search's results.
"""

from __future__ import annotations

import functools
import io
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle

from .function_keys import key_of, made_once
from .user_modules import attribute, module_named, namespace, placed, program, set_globals

CACHED = type(functools.lru_cache(lambda: None))
"""Type of functions wrapped by `functools.lru_cache`."""

_LOCKS = {type(threading.Lock()): threading.Lock, type(threading.RLock()): threading.RLock}

_OF_A_MODULE = frozenset(vars(ModuleType(""))) | {"__builtins__", "__file__", "__path__"}

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
MOST_PLAIN = 10_000
"""Longest str or bytes global of the program, in characters or bytes, that is always sent."""


def _reduce_cached_property(prop: Any) -> tuple[Any, ...]:
    return functools.cached_property, (prop.func,), {"attrname": prop.attrname}


REDUCERS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    functools.cached_property: _reduce_cached_property,  # holds a lock before Python 3.12
    # cache of functools.singledispatch
    weakref.WeakKeyDictionary: lambda _: (weakref.WeakKeyDictionary, ()),
}
"""Reducers for objects of the standard library that user functions and classes may hold. Their
results unpickle with the standard library alone."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A module whose classes and functions exist once on a node."""

    module: ModuleType
    handle: str | _Program
    """Represents the module in a pickle."""


class _Program:
    """The program, pickled as its module, once in each pickle."""

    def __init__(self, module: ModuleType, imports: tuple[str, ...]) -> None:
        self._module, self._imports = module, imports

    def __reduce__(self) -> tuple[Any, ...]:
        module = self._module
        path = getattr(module, "__file__", None)
        arguments = (module.__name__, module.__package__, path, self._imports)
        # Code that looks up globals by a computed name finds at least these.
        plain = {
            name: value
            for name, value in vars(module).items()
            if type(value) in _PLAIN
            and not name.startswith("__")
            and (not isinstance(value, str | bytes) or len(value) <= MOST_PLAIN)
        }
        return program, arguments, plain, None, None, set_globals


_known: dict[str, _Known] = {}
"""By module name."""


def import_by_name(module: ModuleType) -> None:
    """Make the classes and functions of a module travel by name.

    Parameters
    ----------
    module : ModuleType
        A module that nodes can import; see `user_modules.UserFiles`.
    """
    _known[module.__name__] = _Known(module=module, handle=module.__name__)


def forget_module(name: str) -> None:
    """Undo `import_by_name`."""
    _known.pop(name, None)


def modules_by_name() -> dict[str, ModuleType]:
    """Return the modules that nodes import."""
    return {name: known.module for name, known in _known.items() if known.handle == name}


def is_known(name: str) -> bool:
    """Return whether a module is the program, or imported by name on nodes."""
    return name in _known


def is_handle(obj: Any) -> bool:
    """Return whether an object in a pickle represents the program."""
    return isinstance(obj, _Program)


def is_named(obj: Any) -> bool:
    """Return whether a class or function is found by its own name in its module."""
    found: Any = sys.modules.get(obj.__module__)
    for part in getattr(obj, "__qualname__", "<none>").split("."):
        found = getattr(found, part, None)
    return found is obj


def put_into_program(module: ModuleType, imports: tuple[str, ...]) -> None:
    """Make the classes and functions of the program live in one module on a node.

    Parameters
    ----------
    module : ModuleType
    imports : tuple of str
        Import statements of its file.
    """
    _known[module.__name__] = _Known(module=module, handle=_Program(module, imports))


class NodePickler(cloudpickle.Pickler):
    """cloudpickle's pickler with user modules; unpickling needs this package."""

    def reducer_override(self, obj: Any) -> Any:
        """Reduce user modules, and their classes and functions."""
        if isinstance(obj, type | FunctionType | CACHED):
            known = _known.get(getattr(obj, "__module__", None) or "")
            if known is not None and isinstance(self._handle(known), str):
                named = _named(known, obj)
                if named is not None:
                    return named
            reduced = _reduce_cached(obj) if isinstance(obj, CACHED) else None
            reduced = reduced or super().reducer_override(obj)
            if known is not None and isinstance(reduced, tuple):
                return self._placed(known, obj, reduced)
            return reduced
        if isinstance(obj, ModuleType):
            known = _known.get(obj.__name__)
            if known is not None and known.module is obj:
                return module_named, (self._handle(known),)
        return super().reducer_override(obj)

    def _placed(self, known: _Known, obj: Any, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
        handle = self._handle(known)
        make, arguments, *rest = reduced
        if isinstance(obj, FunctionType | CACHED):
            make, arguments = made_once, (key_of(obj), make, arguments)
        if isinstance(handle, str):
            return make, arguments, *rest
        if isinstance(obj, type) and isinstance(rest[0], tuple):
            attributes, slots = rest[0]
            # cloudpickle gives a nested class its name alone.
            named = {"__qualname__": obj.__qualname__}
            rest[0] = {**_with_locks_anew(attributes), **named}, slots
        name = getattr(obj, "__qualname__", None)
        is_global = isinstance(name, str) and vars(known.module).get(name) is obj
        return placed, (handle, name if is_global else None, make, arguments), *rest

    def _handle(self, known: _Known) -> str | _Program:
        """Return the object that represents a module in a pickle."""
        return known.handle

    def _function_getnewargs(self, func: FunctionType) -> Any:
        code, its_globals, *rest = super()._function_getnewargs(func)
        known = _known_by_globals(func)
        if known is not None:
            its_globals = _Namespace(self._handle(known))
        return code, its_globals, *rest

    def _dynamic_function_reduce(self, func: FunctionType) -> Any:
        make, arguments, (state, slots), *rest = super()._dynamic_function_reduce(func)
        known = _known_by_globals(func)
        if known is not None:
            by_name = isinstance(self._handle(known), str)
            sent = {} if by_name else _with_locks_anew(slots["__globals__"])
            # The node's module has its own attributes of this kind, such as the path of its file.
            slots["__globals__"] = {n: value for n, value in sent.items() if n not in _OF_A_MODULE}
        return make, arguments, (state, slots), *rest


class Nowhere(io.RawIOBase):
    """Stream that discards all bytes."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


class StayingPickler(NodePickler):
    """Pickler for later sessions of the driver, which load the program themselves."""

    def _handle(self, known: _Known) -> str:
        return known.module.__name__


class _Anew:
    """Object that is pickled as a call of a function."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __reduce__(self) -> tuple[Any, ...]:
        return self._make, ()


class _Namespace:
    """Globals of a module."""

    def __init__(self, handle: str | _Program) -> None:
        self._handle = handle

    def __reduce__(self) -> tuple[Any, ...]:
        return namespace, (self._handle,)


def is_made_anew(value: Any) -> bool:
    """Return True if a global of the program is not sent because each process has its own."""
    return type(value) in _LOCKS


def _with_locks_anew(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the locks of a module or class by new ones."""
    return {
        name: _Anew(_LOCKS[type(value)]) if is_made_anew(value) else value
        for name, value in values.items()
    }


def _named(known: _Known, obj: Any) -> tuple[Any, ...] | None:
    """Reduce a class or function to its name; None if its module does not have it."""
    name = getattr(obj, "__qualname__", None)
    found: Any = known.module
    for part in name.split(".") if isinstance(name, str) else ():
        found = getattr(found, part, None)
    return (attribute, (known.module.__name__, name)) if found is obj else None


def _known_by_globals(func: FunctionType) -> _Known | None:
    known = _known.get(func.__globals__.get("__name__") or "")
    return known if known is not None and vars(known.module) is func.__globals__ else None


def _reduce_cached(function: Any) -> tuple[Any, ...] | None:
    """Reduce a function of `functools.lru_cache` to one with an empty cache."""
    if function.__module__ not in {*_known, "__main__"}:
        return None
    parameters = function.cache_parameters()
    return _cached, (function.__wrapped__, parameters["maxsize"], parameters["typed"])


def _cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(function)


def _code(make: Callable[..., CodeType], arguments: tuple[Any, ...], filename: str) -> CodeType:
    return make(*arguments).replace(co_filename=filename)


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    make, arguments, *_ = _reduce(code)
    return _code, (make, arguments, code.co_filename)


_reduce = cloudpickle.Pickler.dispatch_table[CodeType]
NodePickler.dispatch_table = cloudpickle.Pickler.dispatch_table.new_child(
    {
        CodeType: _reduce_code,
        **REDUCERS,
    }
)
