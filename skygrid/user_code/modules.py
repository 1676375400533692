"""The user's modules, those in the search file's folder, and the modules that they need."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Collection
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType

MAIN = frozenset({"__main__", "__mp_main__"})
"""Names of the program in `sys.modules`; joblib adds the second."""

_LIBRARY_FOLDERS = {"site-packages", "dist-packages"}


def in_user_tree(path: Path, folder: Path) -> bool:
    """Return whether `path` lies under `folder` and belongs to no Python environment there."""
    # A link inside the folder counts as the user's, so links are resolved only outside it.
    if not path.is_relative_to(folder):
        path = path.resolve()
    if not path.is_relative_to(folder):
        return False
    inner = path.relative_to(folder)
    if _LIBRARY_FOLDERS.intersection(inner.parts):
        return False
    if any(path.is_relative_to(root) for root in _library_roots(folder)):
        return False
    # Other virtual environments are recognised by their pyvenv.cfg.
    return not any((folder / parent / "pyvenv.cfg").exists() for parent in list(inner.parents)[:-1])


def user_modules(folder: Path) -> tuple[str, ...]:
    """Return the names in `sys.modules` of all modules loaded from under `folder`."""
    start = str(folder).rstrip(os.sep) + os.sep
    found = []
    for name, module in list(sys.modules.items()):
        if name in MAIN or name.partition(".")[0] == "skygrid":
            continue  # the program is always pickled by value, skygrid must never be
        path = _location(module)
        # Most modules are libraries: comparing text first saves disk access.
        if path is not None and path.startswith(start) and in_user_tree(Path(path), folder):
            found.append(name)
    return tuple(sorted(found))


def imported_modules(own: Collection[str], before: Collection[str]) -> frozenset[str]:
    """Return the top-level names of the modules that the user's modules need.

    Modules that were loaded before the search file ran are found in the namespaces of the user's
    modules, because importing them again does not change `sys.modules`.

    Parameters
    ----------
    own : collection of str
        Names in `sys.modules` of the user's modules, which are left out.
    before : collection of str
        Names that `sys.modules` had before the search file ran.
    """
    names = {name for name in list(sys.modules) if name not in before}
    for name in own:
        names |= {_origin(value) for value in list(vars(sys.modules[name]).values())}
    left_out = {name.partition(".")[0] for name in own} | {"", "__main__", "skygrid"}
    return frozenset(name.partition(".")[0] for name in names) - left_out


def _origin(value: object) -> str:
    """Return the name of the module that a value is, that defines it or its class."""
    for one in (value, type(value)):
        if isinstance(one, ModuleType):
            return one.__name__
        # Read no attribute of other objects: lazy ones may import or raise.
        if isinstance(one, type | FunctionType | BuiltinFunctionType):
            return str(one.__module__ or "")
    return ""


def is_library(module: ModuleType | None) -> bool:
    """Return whether a module is built in, of the standard library, or installed."""
    if module is None:
        return False
    path = _location(module)
    if path is None:
        return True
    if _LIBRARY_FOLDERS.intersection(Path(path).parts):
        return True
    return any(Path(path).resolve().is_relative_to(root) for root in _standard_library())


def _location(module: object) -> str | None:
    """Return the file of a module, the folder of a namespace package, None for built-in ones."""
    # Lazy modules may invent attributes or raise: read their dict only.
    own = getattr(module, "__dict__", {})
    path = own.get("__file__")
    if isinstance(path, str):
        return path
    try:
        return next((entry for entry in own.get("__path__") or () if isinstance(entry, str)), None)
    except (TypeError, KeyError):  # a namespace package whose parent is gone
        return None


def _standard_library() -> list[Path]:
    paths = sysconfig.get_paths()
    return [Path(paths[key]).resolve() for key in ("stdlib", "platstdlib")]


def _library_roots(folder: Path) -> list[Path]:
    """Return the Python environments strictly inside `folder`.

    An environment that contains the folder does not count: modules under ``/usr/src`` may be the
    user's, although the system's Python has the prefix ``/usr``.
    """
    paths = sysconfig.get_paths()
    names = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    names += [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    roots = {Path(name).resolve() for name in names}
    return [root for root in roots if root.is_relative_to(folder) and root != folder]
