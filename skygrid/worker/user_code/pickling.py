"""Pickling for the way to a node: cloudpickle, but each of the user's modules exists once there.

cloudpickle pickles by value what it was told to, and all of ``__main__``. A node would then have
classes twice: those that came by value, and those of the module when anything imports it. So
classes and functions of modules that a node can import travel by name (`import_by_name`). Those of
the program itself travel by value, and are put into one module of its name (`put_into_program`);
its functions have that module's globals.

Recent releases of cloudpickle write ``<dynamic-code>`` in the place of the file's name. Tracebacks
of failed fits are part of a search's answer, and scikit-learn's own name the file.
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

from .user_modules import attribute, module_named, namespace, placed, program, set_globals

CACHED = type(functools.lru_cache(lambda: None))
"""The type of what `functools.lru_cache` makes of a function."""

_LOCKS = {type(threading.Lock()): threading.Lock, type(threading.RLock()): threading.RLock}

_OF_A_MODULE = frozenset(vars(ModuleType(""))) | {"__builtins__", "__file__", "__path__"}

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
MOST_PLAIN = 10_000
"""Characters or bytes of a global of the program that is sent whether anything reads it or not."""


def _reduce_cached_property(prop: Any) -> tuple[Any, ...]:
    return functools.cached_property, (prop.func,), {"attrname": prop.attrname}


REDUCERS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    functools.cached_property: _reduce_cached_property,  # has a lock before Python 3.12
    # singledispatch keeps what it has found out in one.
    weakref.WeakKeyDictionary: lambda _: (weakref.WeakKeyDictionary, ()),
}
"""For objects of the standard library that functions and classes of the user's hold. What they
return needs nothing but the standard library to be read."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A module whose classes and functions exist once on a node."""

    module: ModuleType
    handle: str | _Program
    """Stands for the module in a pickle."""


class _Program:
    """The program, pickled as its module; each pickle has it once."""

    def __init__(self, module: ModuleType, imports: tuple[str, ...]) -> None:
        self._module, self._imports = module, imports

    def __reduce__(self) -> tuple[Any, ...]:
        module = self._module
        path = getattr(module, "__file__", None)
        arguments = (module.__name__, module.__package__, path, self._imports)
        # Code that looks a name up as a text finds at least these.
        plain = {
            name: value
            for name, value in vars(module).items()
            if type(value) in _PLAIN
            and not name.startswith("__")
            and (not isinstance(value, str | bytes) or len(value) <= MOST_PLAIN)
        }
        return program, arguments, plain, None, None, set_globals


_known: dict[str, _Known] = {}
"""By the modules' names."""


def import_by_name(module: ModuleType) -> None:
    """Have the classes and functions of a module travel by name.

    Parameters
    ----------
    module : ModuleType
        Nodes must be able to import it; see `user_modules.UserFiles`.
    """
    _known[module.__name__] = _Known(module=module, handle=module.__name__)


def known_module(name: str) -> ModuleType | None:
    """Return the user's module of this name; None where there is none."""
    known = _known.get(name)
    return sys.modules.get(name) if known is None else known.module


def put_into_program(module: ModuleType, imports: tuple[str, ...]) -> None:
    """Have the classes and functions of the program be in one module on a node.

    Parameters
    ----------
    module : ModuleType
    imports : tuple of str
        The import statements of its file.
    """
    _known[module.__name__] = _Known(module=module, handle=_Program(module, imports))


class NodePickler(cloudpickle.Pickler):
    """cloudpickle's pickler; what it writes needs this package to be read."""

    def reducer_override(self, obj: Any) -> Any:
        """Reduce what is of the user's modules."""
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
        if isinstance(handle, str):
            return reduced
        make, arguments, *rest = reduced
        if isinstance(obj, type) and isinstance(rest[0], tuple):
            attributes, slots = rest[0]
            rest[0] = _with_locks_anew(attributes), slots
        name = getattr(obj, "__qualname__", None)
        is_global = isinstance(name, str) and vars(known.module).get(name) is obj
        return placed, (handle, name if is_global else None, make, arguments), *rest

    def _handle(self, known: _Known) -> str | _Program:
        """Return what stands for a module in a pickle."""
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
            # What a module says of itself is its own, as the path of its file.
            slots["__globals__"] = {n: value for n, value in sent.items() if n not in _OF_A_MODULE}
        return make, arguments, (state, slots), *rest


class Nowhere(io.RawIOBase):
    """A stream that drops all that is written to it."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


class StayingPickler(NodePickler):
    """For the driver's own later sessions, which have loaded the program themselves."""

    def _handle(self, known: _Known) -> str:
        return known.module.__name__


class _Anew:
    """Pickled as what a function returns."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __reduce__(self) -> tuple[Any, ...]:
        return self._make, ()


class _Namespace:
    """The globals of a module."""

    def __init__(self, handle: str | _Program) -> None:
        self._handle = handle

    def __reduce__(self) -> tuple[Any, ...]:
        return namespace, (self._handle,)


def is_made_anew(value: Any) -> bool:
    """Return whether a global of the program is not sent, as each process has one of its own."""
    return type(value) in _LOCKS


def _with_locks_anew(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace locks of a module or a class: each process has its own."""
    return {
        name: _Anew(_LOCKS[type(value)]) if is_made_anew(value) else value
        for name, value in values.items()
    }


def _named(known: _Known, obj: Any) -> tuple[Any, ...] | None:
    """Reduce a class or function to its name; None where it has none in its module."""
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
