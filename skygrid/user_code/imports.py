"""Running a search file in an import namespace of its own.

One process may load several search files, each called search.py and each beside a helpers.py. While
one is loaded, the modules of earlier ones are out of `sys.modules`. Afterwards those whose names
are still free are put back.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

import cloudpickle

from skygrid.plan.spec import UserCode
from skygrid.user_code.failures import failure
from skygrid.user_code.modules import is_library, user_modules
from skygrid.user_code.own_names import named_as_libraries, own_names
from skygrid.user_code.source import SearchFile
from skygrid.user_code.sources import import_statements, importable_by_name
from skygrid.worker.user_code.pickling import import_by_name, put_into_program

_brought: dict[str, ModuleType] = {}
"""Modules that search files loaded into this process."""

_registered: set[str] = set()
"""Modules that `pickle_by_value` has registered; the program has registered all others."""

_folders: list[str] = []
"""Entries of `sys.path` that belong to search files, newest first."""


@contextmanager
def own_imports(file: SearchFile) -> Iterator[None]:
    """Import from the file's folder first, and from no other search file's folder.

    If the block ends well, the folder stays on `sys.path`. If it raises, the folder and the modules
    loaded from it are removed, so that a corrected file starts afresh.
    """
    put_away, guests = _put_away(), _put_away_foreign(file.folder)
    own_names.look(file.folder)
    known = set(sys.modules)
    sys.path.insert(0, str(file.folder))
    importlib.invalidate_caches()  # modules may have been written a moment ago
    try:
        yield
    except BaseException:
        with suppress(ValueError):  # the user's code may have changed the path
            sys.path.remove(str(file.folder))
        _drop([name for name in user_modules(file.folder) if name not in known])
        own_names.forget()
        sys.path[:0] = _folders
        _bring_back(put_away)
        raise
    else:
        new = {name: sys.modules[name] for name in user_modules(file.folder) if name not in known}
        _brought.clear()
        _brought.update(new)
        older = [folder for folder in _folders if folder != str(file.folder)]
        sys.path[1:1] = older
        _brought.update(_bring_back(put_away))
        _folders[:] = [str(file.folder), *older]
    finally:
        # The modules of the host program take precedence.
        sys.modules.update(guests)


def run_file(file: SearchFile) -> ModuleType:
    """Execute the file as a module that `sys.modules` knows, once.

    Raises
    ------
    SearchFileError
        If the file raises.
    """
    name = _module_name(file)
    spec = importlib.util.spec_from_file_location(name, file.path)
    if spec is None:
        raise ImportError(f"{file.path} has no loader")  # read_search_file checked for .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickle look their module up
    try:
        # Run the parsed text, even if the file was edited meanwhile.
        code = compile(file.tree, str(file.path), "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever the user's code raises)
        raise failure(file, error) from None
    return module


def register_user_modules(folder: Path, program: ModuleType, text: str) -> UserCode:
    """Register the user's modules: pickled by name for nodes, by value for a saved search.

    Parameters
    ----------
    folder : Path
        Folder of the user's modules.
    program : ModuleType
        Module of the search file.
    text : str
        Text of the search file.
    """
    modules = {name: sys.modules[name] for name in user_modules(folder)} | own_names.loaded
    pickle_by_value(modules.values())
    beside = {name: module for name, module in modules.items() if module is not program}
    by_name = travel_by_name(beside)
    put_into_program(program, import_statements(text))
    return UserCode(
        program=Path(str(program.__file__)),
        folder=folder,
        modules=tuple(sorted(modules)),
        by_name=by_name,
        unloaded=named_as_libraries(folder),
    )


def pickle_by_value(modules: Iterable[ModuleType]) -> None:
    """Make every pickler except the one for nodes pickle these modules by value."""
    modules = list(modules)
    _registered.update(
        {one.__name__ for one in modules} - cloudpickle.list_registry_pickle_by_value()
    )
    with own_names.exchanged():  # picklers look for the modules in sys.modules
        for pickler, module in itertools.product(_picklers(), modules):
            pickler.register_pickle_by_value(module)


def registered_by_program(name: str) -> bool:
    """Return whether the program has made cloudpickle pickle a module, or its package, by value."""
    names = cloudpickle.list_registry_pickle_by_value() - _registered
    parts = name.split(".")
    return any(".".join(parts[:count]) in names for count in range(1, len(parts) + 1))


def travel_by_name(modules: Mapping[str, ModuleType]) -> dict[str, Path]:
    """Make nodes import the modules that they can find by name; return the files of these."""
    found = importable_by_name(modules)
    for name in found:
        import_by_name(modules[name])
    return found


def _picklers() -> Iterator[ModuleType]:
    """Yield cloudpickle, and the copy with its own registry that joblib before 1.6 contains.

    Estimators that start processes themselves pickle with joblib's copy.
    """
    yield cloudpickle
    if importlib.util.find_spec("joblib.externals.cloudpickle") is not None:
        yield importlib.import_module("joblib.externals.cloudpickle")


def _module_name(file: SearchFile) -> str:
    """Return the file's stem, with a number if another module has that name."""
    stem = file.path.stem.replace(".", "_")  # a dot would make it a submodule
    name, count = stem, 1
    while name in sys.modules or _is_anothers(name, file) or _means_another(name, file):
        count += 1
        name = f"{stem}_{count}"
    return name


def _is_anothers(name: str, file: SearchFile) -> bool:
    """Return whether another search file has the name; the same file keeps its old name."""
    return name in _brought and getattr(_brought[name], "__file__", None) != str(file.path)


def _means_another(name: str, file: SearchFile) -> bool:
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return True
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != file.folder]
    for spec in (importlib.util.find_spec(name), PathFinder.find_spec(name, elsewhere)):
        if _has_file(spec) and Path(str(spec.origin)).resolve() != file.path:
            return True
    return False


def _has_file(spec: ModuleSpec | None) -> TypeGuard[ModuleSpec]:
    """Return whether a module has a file; any folder on the path is a namespace package."""
    return spec is not None and spec.origin is not None


def _put_away() -> dict[str, ModuleType]:
    """Remove the modules and folders of earlier search files; return the modules."""
    for folder in _folders:
        if folder in sys.path:
            sys.path.remove(folder)
    # Leave a module alone that the host program has replaced.
    ours = {name: module for name, module in _brought.items() if sys.modules.get(name) is module}
    _drop(list(ours))
    return ours


def _put_away_foreign(folder: Path) -> dict[str, ModuleType]:
    """Remove modules of the host program that hide modules beside the file; return them."""
    beside = {path.stem: path for path in folder.glob("*.py")}
    beside |= {path.parent.name: path for path in folder.glob("*/__init__.py")}
    hiding = {name for name in beside if _hides(sys.modules.get(name), beside[name])}
    taken = {name: module for name, module in sys.modules.items() if name.split(".")[0] in hiding}
    _drop(list(taken))
    return taken


def _hides(module: ModuleType | None, neighbour: Path) -> bool:
    if module is None or module.__name__ == "__main__" or is_library(module):
        return False
    return Path(str(getattr(module, "__file__", ""))).resolve() != neighbour.resolve()


def _drop(names: list[str]) -> None:
    for name in names:
        sys.modules.pop(name, None)


def _bring_back(put_away: dict[str, ModuleType]) -> dict[str, ModuleType]:
    """Put back and return the earlier modules whose names are free."""
    # A package and its submodules come back together or not at all.
    free = {
        name: module for name, module in put_away.items() if name.split(".")[0] not in sys.modules
    }
    sys.modules.update(free)
    return free
