"""The user's own modules on a node, one module object for each name.

A module with a file is imported by name, as in any Python process: from the driver's folders if
driver and node are one machine, else from files that were sent (`UserFiles`) and unpacked. The
program (the search file, or the script that calls skygrid) is not run again, because it might load
data that a node lacks. Its functions and classes travel by value and are put into a module of its
name (`program`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from skygrid.worker.limits import UNUSED_SECONDS

from .module_values import forget_values, values_after_import

ROOT_VARIABLE = "SKYGRID_ROOT"
"""Environment variable with the path of the folder for skygrid's files on a node."""


# ---- called by pickles of the driver -------------------------------------------------------------


def module_named(module: str | ModuleType) -> ModuleType:
    """Return a user module by name; a program is passed through."""
    return importlib.import_module(module) if isinstance(module, str) else module


def attribute(module: str | ModuleType, qualname: str) -> Any:
    """Return the class or function with this qualified name."""
    found: Any = module_named(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def namespace(module: str | ModuleType) -> dict[str, Any]:
    """Return the globals of a module, for functions that travel by value."""
    return vars(module_named(module))


# ---- the program ---------------------------------------------------------------------------------


_programs: dict[str, ModuleType] = {}


def program(name: str, package: str | None, path: str | None, imports: Sequence[str]) -> ModuleType:
    """Return the module that holds a program's functions and classes.

    Parameters
    ----------
    name : str
        Name in `sys.modules`; ``__main__`` for a program that calls skygrid.
    package : str or None
        Package for its relative imports.
    path : str or None
        Its file on the driver.
    imports : sequence of str
        Its import statements, which are executed because they may have side effects. Missing
        modules are reported only: fits may not need them.
    """
    known = _programs.get(name)
    place = None if path is None else _unpacked.get(path, path)
    if known is not None and getattr(known, "__file__", None) == place:
        return known
    module = _programs[name] = sys.modules[name] = ModuleType(name)
    module.__package__ = package
    if place is not None:
        module.__file__ = place
    for statement in imports:
        try:
            exec(statement, vars(module))
        except ImportError as error:
            sys.stderr.write(f"skygrid: {path} is used without {statement!r}: {error}\n")
    return module


def program_of(name: str | None) -> ModuleType | None:
    """Return the program of this name that was made here; None if none was."""
    return None if name is None else _programs.get(name)


def set_globals(module: ModuleType, values: Mapping[str, Any]) -> None:
    """Set globals of the program."""
    vars(module).update(values)


def placed(
    module: ModuleType, name: str | None, make: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    """Create a function or class of the program and store it in its module."""
    made = make(*arguments)
    if name is not None:
        setattr(module, name, made)
    return made


# ---- modules beside it ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class UserFiles:
    """Folders and files with the user's modules."""

    folders: tuple[str, ...] = ()
    """Import folders of a driver on this machine, in order."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    """Contents by path relative to one import folder, for nodes without these files."""

    origins: Mapping[str, str] = field(default_factory=dict)
    """Paths of these files on the driver, as tracebacks show them."""

    states: Mapping[str, str] = field(default_factory=dict)
    """State of each module's file, by module name. A module with another state than in the previous
    search is imported again."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle so that unpickling on a node makes the modules importable."""
        fields = (self.folders, self.files, self.origins, self.states)
        return make_importable, fields


_own_path = list(sys.path)
"""`sys.path` before the first search."""

_imported: dict[str, str] = {}
"""`UserFiles.states` of the previous search."""

_unpacked: dict[str, str] = {}
"""Unpacked paths of sent files, by their paths on the driver."""


def make_importable(
    folders: Sequence[str],
    files: Mapping[str, bytes],
    origins: Mapping[str, str],
    states: Mapping[str, str],
) -> None:
    """Make the modules of a search importable; see `UserFiles` for the arguments."""
    folder = str(_unpack(files)) if files else None
    _unpacked.clear()
    _unpacked.update({origin: f"{folder}/{name}" for name, origin in origins.items()})
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _UserModules)]
    here: dict[str, str] = {}
    if folder is not None:
        folders = [folder]
        for name, origin in origins.items():
            if name.endswith(".py"):
                _show_lines(origin, files[name])
        here = {f"{folder}/{name}": origin for name, origin in origins.items()}
    sys.meta_path.insert(0, _UserModules(folder, here, frozenset(states)))
    sys.path[:] = [*folders, *(entry for entry in _own_path if entry not in folders)]
    importlib.invalidate_caches()
    _drop_others(states)
    _imported.clear()
    _imported.update(states)
    forget_values()


def _drop_others(states: Mapping[str, str]) -> None:
    """Remove modules of other searches from `sys.modules`, if any module has changed."""
    changed = {name for name in {*states, *_imported} if states.get(name) != _imported.get(name)}
    if changed:
        # Unchanged modules may refer to objects of changed ones.
        tops = {name.partition(".")[0] for name in {*states, *_imported}}
        for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
            if sys.modules[name] is not _programs.get(name):
                del sys.modules[name]


class _UserModules(importlib.abc.MetaPathFinder):
    """Finder of the user's modules: in sent files, and with the driver's values.

    Parameters
    ----------
    folder : str or None
        Folder of the unpacked files.
    origins : mapping of str to str
        Paths on the driver, by unpacked path; used as file names of the code.
    modules : frozenset of str
        Names of all the user's modules.
    """

    def __init__(
        self, folder: str | None, origins: Mapping[str, str], modules: frozenset[str]
    ) -> None:
        self._folder, self._origins, self._modules = folder, origins, modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's specification, or None for other modules."""
        spec = self._sent(fullname, path, target)
        if fullname not in self._modules:
            return spec
        others = (finder for finder in sys.meta_path if finder is not self)
        for finder in others if spec is None else ():
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                break
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            # Patch the loader instead of wrapping it: it also provides resources and sources.
            loader.exec_module = functools.partial(_load, loader.exec_module)
        return spec

    def _sent(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> importlib.machinery.ModuleSpec | None:
        if self._folder is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(
            fullname, [self._folder] if path is None else path, target
        )
        if spec is None or spec.origin is None or spec.origin not in self._origins:
            return None
        if isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _SentLoader(fullname, spec.origin, self._origins[spec.origin])
        return spec


class _Importing(threading.local):
    """Modules that the outermost import of this thread has completed; None: no import runs."""

    done: list[ModuleType] | None = None


_importing = _Importing()


def _load(exec_module: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Execute a module; set its values when no module is half executed."""
    if _importing.done is not None:
        exec_module(module)
        _importing.done.append(module)
        return
    done = _importing.done = list[ModuleType]()
    try:
        exec_module(module)
        done.append(module)
    finally:
        _importing.done = None
        values_after_import(done)


class _SentLoader(importlib.machinery.SourceFileLoader):
    """Loader of a module from a sent file.

    Parameters
    ----------
    fullname, path : str
        As for any loader.
    origin : str
        Path on the driver.
    """

    def __init__(self, fullname: str, path: str, origin: str) -> None:
        super().__init__(fullname, path)
        self._origin = origin

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source: cached bytecode would contain the path on this node."""
        data = self.get_data(self.get_filename(fullname))
        return compile(data, self._origin, "exec", dont_inherit=True)


def _show_lines(path: str, content: bytes) -> None:
    """Make tracebacks show the lines of a file that this machine may lack."""
    try:
        text = importlib.util.decode_source(content)
    except (UnicodeDecodeError, SyntaxError):
        return  # it cannot be imported here either
    # Without a modification time, linecache does not look for the file.
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)


# ---- their files ---------------------------------------------------------------------------------


def _unpack(files: Mapping[str, bytes]) -> Path:
    """Write files to a folder named by their digest, unless it exists."""
    root = _modules_folder()
    folder = root / _digest(files)
    if not folder.is_dir():
        _tidy(root)
        made = Path(tempfile.mkdtemp(prefix="new-", dir=root))
        for name, data in files.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        try:
            made.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(made, ignore_errors=True)
    os.utime(folder)
    return folder


def _digest(files: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{len(files[name])}\0".encode())
        whole.update(files[name])
    return whole.hexdigest()[:32]


def _modules_folder() -> Path:
    """Return the private folder for the files of programs."""
    root = os.environ.get(ROOT_VARIABLE)
    place = Path(root) if root else Path(tempfile.gettempdir(), f"skygrid-{os.getuid()}")
    folder = place / "modules"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for owned in (folder, *(() if root else (place,))):
        state = owned.lstat()
        if owned.is_symlink() or state.st_uid != os.getuid() or state.st_mode & 0o022:
            raise PermissionError(f"{owned} belongs to another user, or others may write into it")
    return folder


def _tidy(root: Path) -> None:
    """Remove files that were not used for `UNUSED_SECONDS`."""
    with contextlib.suppress(OSError):  # another process may clean up too
        for entry in os.scandir(root):
            if entry.stat().st_mtime < time.time() - UNUSED_SECONDS:
                shutil.rmtree(entry.path, ignore_errors=True)
