"""What a search needs on a node that was not read from a search file but made in a program.

A program, or a notebook, has imported whatever it likes. What the search needs of that is known
from its objects: pickling them meets every module that they are made of.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from skygrid.plan.spec import UserCode
from skygrid.user_code.imports import pickle_by_value, travel_by_name
from skygrid.user_code.modules import imported_modules, user_modules
from skygrid.user_code.own_names import named_as_libraries
from skygrid.user_code.sources import import_statements, module_file, read_text
from skygrid.worker.user_code.pickling import NodePickler, Nowhere, put_into_program


def code_of_program(*, at_hand: bool) -> UserCode:
    """Return what the running program and the modules beside it are, as they are now.

    Parameters
    ----------
    at_hand : bool
        Whether nodes have the files of the program.
    """
    main = sys.modules.get("__main__")
    path = module_file(main)
    if path is not None and not path.is_file():
        path = None  # a notebook, an interpreter
    folder = Path.cwd() if path is None else path.parent
    modules = {name: sys.modules[name] for name in _modules_below(folder, len(sys.modules))}
    files = {name: module_file(module) for name, module in modules.items()}
    by_name = {name: file for name, file in files.items() if file is not None}
    if not at_hand:
        by_name = travel_by_name(modules)
        pickle_by_value(module for name, module in modules.items() if name not in by_name)
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
    """Return the user's modules; looked for again when the number of loaded modules has changed.

    A search of fits that take no time is over in the time that it takes to look at all modules.
    """
    return user_modules(folder)


@functools.lru_cache(maxsize=1)
def _unloaded_in(folder: Path, _loaded: int) -> dict[str, Path]:
    """Return the modules beside the program that bear names of libraries, as `_modules_below`."""
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


def modules_of(objects: Any) -> frozenset[str]:
    """Top-level names of all modules that would be asked for when these objects are unpickled."""
    pickler = _Noting(Nowhere(), protocol=5, buffer_callback=lambda buffer: None)
    pickler.dump(objects)
    return frozenset(name.partition(".")[0] for name in pickler.met if name)


class _Noting(NodePickler):
    """Notes where each class, function and module comes from that it pickles."""

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
