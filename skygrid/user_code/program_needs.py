"""Modules that a search made in a program or notebook needs on a node.

A program may import much that the search does not need. Pickling the search's objects finds the
modules that they are made of.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from skygrid.plan.spec import UserCode
from skygrid.user_code.imports import pickle_by_value, registered_by_program, travel_by_name
from skygrid.user_code.module_values import own_references
from skygrid.user_code.modules import imported_modules, user_modules
from skygrid.user_code.own_names import named_as_libraries
from skygrid.user_code.sources import import_statements, module_file, read_text
from skygrid.worker.user_code.pickling import (
    Nowhere,
    forget_module,
    import_by_name,
    put_into_program,
)
from skygrid.worker.user_code.references import ReferringPickler


def code_of_program(*, shares_modules: bool) -> UserCode:
    """Return the running program and the modules beside it, as they are now.

    Parameters
    ----------
    shares_modules : bool
        True if nodes can read the files of the program.
    """
    main = sys.modules.get("__main__")
    path = module_file(main)
    if path is not None and not path.is_file():
        path = None  # a notebook, an interpreter
    folder = Path.cwd() if path is None else path.parent
    modules = {name: sys.modules[name] for name in _modules_below(folder, len(sys.modules))}
    files = {name: module_file(module) for name, module in modules.items()}
    by_name = {name: file for name, file in files.items() if file is not None}
    if not shares_modules:
        by_name = travel_by_name(modules)
        pickle_by_value(module for name, module in modules.items() if name not in by_name)
    for name, module in modules.items():
        # A program that registers a module with cloudpickle wants its own objects on nodes.
        if name in by_name and not (shares_modules and registered_by_program(name)):
            import_by_name(module)
        else:
            forget_module(name)
    if main is not None:
        changed = 0 if path is None else path.stat().st_mtime_ns
        put_into_program(main, _import_statements(path, changed))
    return UserCode(
        program=path,
        folder=folder,
        modules=tuple(modules),
        by_name=by_name,
        unloaded=_unloaded_in(folder, len(sys.modules)),
    )


@functools.lru_cache(maxsize=1)
def _modules_below(folder: Path, _loaded: int) -> tuple[str, ...]:
    """Return the user's modules; cached until the number of loaded modules changes.

    The lookup takes as long as a search with very short fits.
    """
    return user_modules(folder)


@functools.lru_cache(maxsize=1)
def _unloaded_in(folder: Path, _loaded: int) -> dict[str, Path]:
    """Return the modules beside the program with names of libraries; cached likewise."""
    return named_as_libraries(folder)


@functools.lru_cache(maxsize=1)
def _import_statements(path: Path | None, _changed: int) -> tuple[str, ...]:
    return () if path is None else import_statements(read_text(path))


def needs_of(code: UserCode, *objects: Any) -> frozenset[str]:
    """Return the top-level names of the modules that nodes need installed for a search.

    Parameters
    ----------
    code : UserCode
    *objects : object
        Search, data and fit parameters.
    """
    own = [*code.modules, *(["__main__"] if code.program is not None else [])]
    left_out = {name.partition(".")[0] for name in own} | {"__main__", "skygrid"}
    return (modules_of(objects) | imported_modules(own, frozenset(sys.modules))) - left_out


def needs_of_program(code: UserCode) -> frozenset[str]:
    """Return the top-level names of the modules that the program and its modules import."""
    left_out = {name.partition(".")[0] for name in code.modules} | {"__main__", "skygrid"}
    own = [*code.modules, "__main__"]
    return imported_modules(own, frozenset(sys.modules)) - left_out


def modules_of(objects: Any) -> frozenset[str]:
    """Return the top-level names of all modules that unpickling these objects imports."""
    pickler = _Noting(Nowhere(), own_references(), protocol=5, buffer_callback=lambda buffer: None)
    pickler.dump(objects)
    return frozenset(name.partition(".")[0] for name in pickler.met if name)


class _Noting(ReferringPickler):
    """Pickler that notes the module of each class, function and module that it pickles."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.met: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, ModuleType):
            self.met.add(obj.__name__)
        elif isinstance(obj, type | FunctionType | BuiltinFunctionType):
            self.met.add(str(obj.__module__ or ""))
        self.met.add(type(obj).__module__)
        return super().reducer_override(obj)
