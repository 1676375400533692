"""The user's own modules on a node: one module object for each name.

A module that has a file is imported by its name, as in any other Python process. Where driver and
node are one machine the folders are the driver's own; elsewhere the files are sent (`UserFiles`)
and unpacked. The program itself (the search file, or the script that calls skygrid) is run by its
definitions (`start_script`): a node has no use for the data that the file reads, and may lack it.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import operator
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

KEPT_SECONDS = 30 * 24 * 3600
"""Files of a program that no process has opened for so many seconds are removed."""

ROOT_VARIABLE = "SKYGRID_ROOT"
"""Environment variable that names the folder in which a node keeps what is skygrid's."""


# ---- what pickles of the driver call -------------------------------------------------------------


def module_named(module: str | RunningScript) -> ModuleType:
    """Return a module of the user's by its name, or the program itself."""
    if isinstance(module, RunningScript):
        return module.module
    return importlib.import_module(module)


def attribute(module: str | RunningScript, qualname: str) -> Any:
    """Return the class or function of this qualified name."""
    found: Any = module_named(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def namespace(module: str | RunningScript) -> dict[str, Any]:
    """Return the globals of a module, for functions that have no name in it."""
    return vars(module_named(module))


# ---- the program ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Script:
    """A program as a node runs it: its definitions, not the statements that make data."""

    name: str
    """In `sys.modules`; ``__main__`` for a program that calls skygrid."""

    package: str | None
    path: str
    """On the driver."""

    text: str
    statements: tuple[int, ...]
    """Numbers of the top-level statements that a node runs."""

    optional: frozenset[int]
    """Those of them that import what none of the others reads. A node may lack it."""

    search: str
    """Tells the values of one search from those of another."""

    @property
    def token(self) -> str:
        """Tells one set of definitions from another."""
        content = f"{self.name}\0{self.path}\0{self.statements}\0{self.text}"
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


class RunningScript:
    """The program in this process.

    Parameters
    ----------
    module : ModuleType
    token : str
    """

    def __init__(self, module: ModuleType, token: str) -> None:
        self.module, self.token = module, token
        self.search = ""
        self.complete = False

    def begin(self, search: str, values: Mapping[str, Any]) -> None:
        """Set the globals that a search has sent, unless they are there."""
        if self.search != search:
            vars(self.module).update(values)
            self.search, self.complete = search, False


_running: dict[str, RunningScript] = {}


def start_script(script: Script, values: Mapping[str, Any]) -> RunningScript:
    """Run the definitions of a program, once in a process, and set its globals.

    Parameters
    ----------
    script : Script
    values : mapping of str to object
        Globals that are there before the first statement runs.

    Returns
    -------
    running : RunningScript
        For `finish_script`.
    """
    known = _running.get(script.name)
    if known is not None and known.token == script.token:
        known.begin(script.search, values)
        return known
    path = _unpacked.get(script.path, script.path)
    spec = importlib.util.spec_from_file_location(script.name, path)
    if spec is None:
        raise ImportError(f"{script.path} is no Python file", name=script.name, path=script.path)
    module = importlib.util.module_from_spec(spec)
    module.__package__ = script.package
    running = RunningScript(module, script.token)
    running.begin(script.search, values)
    _show_lines(script.path, script.text)
    before = sys.modules.get(script.name)
    sys.modules[script.name] = module  # before it runs: dataclasses and pickle look it up
    try:
        _run(script, vars(module))
    except BaseException:
        if before is None:
            del sys.modules[script.name]
        else:
            sys.modules[script.name] = before
        raise
    _running[script.name] = running
    return running


def _run(script: Script, its_globals: dict[str, Any]) -> None:
    tree = ast.parse(script.text, filename=script.path)
    flags = future_flags(tree)
    for number in script.statements:
        part = ast.Module([tree.body[number]], [])
        code = compile(part, script.path, "exec", flags=flags, dont_inherit=True)
        try:
            exec(code, its_globals)
        except ImportError as error:
            if number not in script.optional:
                raise
            sys.stderr.write(f"skygrid: {script.path} is used without an import: {error}\n")


def future_flags(tree: ast.Module) -> int:
    """Return the compiler flags of a file's ``from __future__`` imports."""
    features = [
        getattr(__future__, alias.name).compiler_flag
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    ]
    return functools.reduce(operator.or_, features, 0)


def finish_script(running: RunningScript, values: Mapping[str, Any]) -> None:
    """Set the globals that need the definitions to be there."""
    if not running.complete:
        vars(running.module).update(values)
        running.complete = True


# ---- modules beside it ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class UserFiles:
    """Where a process finds the user's modules."""

    folders: tuple[str, ...] = ()
    """Import folders of a driver on this machine, in its order."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    """Contents by path below one import folder; for nodes that have no such files."""

    origins: Mapping[str, str] = field(default_factory=dict)
    """Paths of these files on the driver: they stand in tracebacks, also of fits elsewhere."""

    states: Mapping[str, str] = field(default_factory=dict)
    """State of each module's file, by the module's name. A module whose file has changed since an
    earlier search, or that is another one of the same name, is imported anew."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Have the modules found from the moment in which a node unpickles this."""
        return make_importable, (self.folders, self.files, self.origins, self.states)


_own_path = list(sys.path)
"""`sys.path` as this process had it before the first search."""

_imported: dict[str, str] = {}
"""`UserFiles.states` of the search before."""

_unpacked: dict[str, str] = {}
"""Paths of files that were sent, by their paths on the driver."""


def make_importable(
    folders: Sequence[str],
    files: Mapping[str, bytes],
    origins: Mapping[str, str],
    states: Mapping[str, str],
) -> None:
    """Have a search's own modules found by their names; see `UserFiles`."""
    folder = str(_unpack(files)) if files else None
    _unpacked.clear()
    _unpacked.update({origin: f"{folder}/{name}" for name, origin in origins.items()})
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _SentFiles)]
    if folder is not None:
        folders = [folder]
        sys.meta_path.insert(
            0, _SentFiles(folder, {f"{folder}/{n}": o for n, o in origins.items()})
        )
    sys.path[:] = [*folders, *(entry for entry in _own_path if entry not in folders)]
    importlib.invalidate_caches()
    _drop_others(states)
    _imported.clear()
    _imported.update(states)


def _drop_others(states: Mapping[str, str]) -> None:
    """Have modules imported anew that are not, or not any more, those of this search."""
    changed = {name for name in {*states, *_imported} if states.get(name) != _imported.get(name)}
    if changed:
        # What has not changed may hold classes and functions of what has.
        tops = {name.partition(".")[0] for name in {*states, *_imported}}
        for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
            if name not in _running:
                del sys.modules[name]


class _SentFiles(importlib.abc.MetaPathFinder):
    """Imports modules that were sent; their code names the file on the driver.

    Parameters
    ----------
    folder : str
        Where they were unpacked.
    origins : mapping of str to str
        Paths on the driver, by the paths here.
    """

    def __init__(self, folder: str, origins: Mapping[str, str]) -> None:
        self._folder, self._origins = folder, origins

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's specification, None for any other module."""
        spec = importlib.machinery.PathFinder.find_spec(
            fullname, [self._folder] if path is None else path, target
        )
        if spec is None or spec.origin is None or spec.origin not in self._origins:
            return None
        if isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _SentLoader(fullname, spec.origin, self._origins[spec.origin])
        return spec


class _SentLoader(importlib.machinery.SourceFileLoader):
    """Loads a module from a file that was sent.

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
        """Compile the text; bytecode that is kept would name the file here."""
        data = self.get_data(self.get_filename(fullname))
        _show_lines(self._origin, importlib.util.decode_source(data))
        return compile(data, self._origin, "exec", dont_inherit=True)


def _show_lines(path: str, text: str) -> None:
    """Have tracebacks show the lines of a file that this machine may lack."""
    # Without a time of change nobody looks for the file.
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)


# ---- their files ---------------------------------------------------------------------------------


def _unpack(files: Mapping[str, bytes]) -> Path:
    """Write files below a folder of their own, unless they are there."""
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
        except OSError:  # another process was quicker
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
    """Return the folder for the files of programs, which belongs to this user alone."""
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
    """Remove what no process has used for `KEPT_SECONDS`."""
    with contextlib.suppress(OSError):  # another process tidies up as well
        for entry in os.scandir(root):
            if entry.stat().st_mtime < time.time() - KEPT_SECONDS:
                shutil.rmtree(entry.path, ignore_errors=True)
