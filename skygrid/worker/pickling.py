"""Pickling for the way to a node: cloudpickle, but for modules that a node can import.

cloudpickle pickles by value what it was told to, and all of ``__main__``. A node would then have
classes twice: those that came by value, and those of the module when anything imports it. So the
user's modules are registered here (`import_by_name`), and their classes and functions travel by
name. A function without a name, as a lambda, travels by value and gets its module's globals.

Recent releases of cloudpickle write ``<dynamic-code>`` in the place of the file's name. Tracebacks
of failed fits are part of a search's answer, and scikit-learn's own name the file.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any, Protocol

import cloudpickle

from .user_modules import (
    Script,
    attribute,
    finish_script,
    module_named,
    namespace,
    start_script,
)

CACHED = type(functools.lru_cache(lambda: None))
"""The type of what `functools.lru_cache` makes of a function."""


class Program(Protocol):
    """A module that a node runs by its definitions; see `Script`."""

    def script(self) -> Script: ...

    @property
    def values(self) -> dict[str, Any]:
        """Globals that are there before the first statement runs."""

    @property
    def late_values(self) -> dict[str, Any]:
        """Globals that need the definitions."""

    def defines(self, name: str) -> bool:
        """Return whether the statements that a node runs bind a global name."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A module whose classes and functions travel by name."""

    module: ModuleType
    handle: str | _Embedded


class _Embedded:
    """A program, pickled as what runs it; each pickle has it once."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def __reduce__(self) -> tuple[Any, ...]:
        program = self.program
        # The state comes behind the call: what is in it may be of the program's own classes.
        return (
            start_script,
            (program.script(), program.values),
            program.late_values,
            None,
            None,
            finish_script,
        )


_known: dict[str, _Known] = {}
"""By the modules' names."""


def import_by_name(module: ModuleType, program: Program | None = None) -> None:
    """Have the classes and functions of a module travel by name.

    Parameters
    ----------
    module : ModuleType
        Nodes must be able to import it; see `user_modules.UserFiles`.
    program : Program, optional
        What a node runs instead of importing it.
    """
    handle = module.__name__ if program is None else _Embedded(program)
    _known[module.__name__] = _Known(module=module, handle=handle)


class NodePickler(cloudpickle.Pickler):
    """cloudpickle's pickler; what it writes needs this package to be read."""

    def reducer_override(self, obj: Any) -> Any:
        """Reduce what a node can look up to a name."""
        if isinstance(obj, type | FunctionType | CACHED):
            named = self._named(obj)
            if named is not None:
                return named
            if isinstance(obj, CACHED):
                return reduce_cached(obj)
        elif isinstance(obj, ModuleType):
            known = _known.get(obj.__name__)
            if known is not None and known.module is obj:
                return module_named, (self._handle(known),)
        return super().reducer_override(obj)

    def _named(self, obj: Any) -> Any:
        known = _known.get(getattr(obj, "__module__", None) or "")
        qualname = getattr(obj, "__qualname__", None)
        if known is None or not isinstance(qualname, str):
            return None
        found: Any = known.module
        for part in qualname.split("."):
            found = getattr(found, part, None)
        if found is not obj:
            return None
        handle = self._handle(known)
        if isinstance(handle, _Embedded) and not handle.program.defines(qualname.partition(".")[0]):
            return None
        return attribute, (handle, qualname)

    def _handle(self, known: _Known) -> str | _Embedded:
        """Return what names the module in a pickle."""
        return known.handle

    def _function_getnewargs(self, func: FunctionType) -> Any:
        code, its_globals, *rest = super()._function_getnewargs(func)
        known = _globals_known(func)
        if known is not None:
            its_globals = _Namespace(self._handle(known))
        return code, its_globals, *rest

    def _dynamic_function_reduce(self, func: FunctionType) -> Any:
        make, arguments, (state, slots), *rest = super()._dynamic_function_reduce(func)
        if _globals_known(func) is not None:
            slots["__globals__"] = {}
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


class _Namespace:
    """The globals of a module."""

    def __init__(self, handle: str | _Embedded) -> None:
        self._handle = handle

    def __reduce__(self) -> tuple[Any, ...]:
        return namespace, (self._handle,)


def _globals_known(func: FunctionType) -> _Known | None:
    known = _known.get(func.__globals__.get("__name__") or "")
    return known if known is not None and vars(known.module) is func.__globals__ else None


def reduce_cached(function: Any) -> tuple[Any, ...]:
    """Reduce a function of `functools.lru_cache` to a new one with an empty cache."""
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
NodePickler.dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({CodeType: _reduce_code})
