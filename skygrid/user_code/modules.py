"""Which modules are the user's own: those from the search file's folder, libraries apart.

And which others they need.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Collection
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType

_LIBRARY_FOLDERS = {"site-packages", "dist-packages"}


def in_user_tree(path: Path, folder: Path) -> bool:
    """Whether `path` lies under `folder` and belongs to no Python environment there."""
    # A link that lies in the folder was put there; only another spelling of the path is resolved.
    if not path.is_relative_to(folder):
        path = path.resolve()
    if not path.is_relative_to(folder):
        return False
    inner = path.relative_to(folder)
    if _LIBRARY_FOLDERS.intersection(inner.parts):
        return False
    if any(path.is_relative_to(root) for root in _library_roots(folder)):
        return False
    # A virtual environment other than our own is recognised by the file that makes it one.
    return not any((folder / parent / "pyvenv.cfg").exists() for parent in list(inner.parents)[:-1])


def user_modules(folder: Path) -> tuple[str, ...]:
    """Return the names in `sys.modules` of all modules that were loaded from under `folder`."""
    start = str(folder).rstrip(os.sep) + os.sep
    found = []
    for name, module in list(sys.modules.items()):
        if name == "__main__" or name.partition(".")[0] == "skygrid":
            continue  # the one is pickled by value anyhow, the other must never be
        path = _location(module)
        # Most modules are libraries: a comparison of text spares them the look at the disk.
        if path is not None and path.startswith(start) and in_user_tree(Path(path), folder):
            found.append(name)
    return tuple(sorted(found))


def imported_modules(own: Collection[str], before: Collection[str]) -> frozenset[str]:
    """Return the top-level names of the modules that the user's modules need.

    What was loaded before is looked for in their namespaces: a second search file in one process,
    or one that uses what skygrid uses too, imports nothing anew.

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
    """The module that a value is, that defines it, or that defines its class."""
    for one in (value, type(value)):
        if isinstance(one, ModuleType):
            return one.__name__
        # Only what is sure to have it is asked: any attribute of a lazy object may import or raise.
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
    """The file of a module, the folder of a namespace package, None for what is built in."""
    # Some lazy modules answer any attribute, or raise: only what lies in their dict counts.
    own = getattr(module, "__dict__", {})
    path = own.get("__file__")
    if isinstance(path, str):
        return path
    try:
        return next((entry for entry in own.get("__path__") or () if isinstance(entry, str)), None)
    except (TypeError, KeyError):  # the path of a namespace package whose parent is gone
        return None


def _standard_library() -> list[Path]:
    paths = sysconfig.get_paths()
    return [Path(paths[key]).resolve() for key in ("stdlib", "platstdlib")]


def _library_roots(folder: Path) -> list[Path]:
    """Python environments strictly inside `folder`.

    An environment that contains the folder (``/usr`` of the system's Python and a file under
    ``/usr/src``) says nothing about who wrote the folder's modules.
    """
    paths = sysconfig.get_paths()
    names = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    names += [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    roots = {Path(name).resolve() for name in names}
    return [root for root in roots if root.is_relative_to(folder) and root != folder]
