"""Modules beside a search file that bear the name of a library which skygrid itself has loaded.

``import rich`` finds the file rich.py beside the program that is run. In this process the library
of that name is loaded already, and skygrid goes on using it. So an ``import`` statement in the
user's code is answered by itself.
"""

from __future__ import annotations

import builtins
import functools
import importlib.util
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from skygrid.user_code.modules import in_user_tree, is_library

NEEDED = frozenset(
    {"cloudpickle", "joblib", "narwhals", "numpy", "scipy", "sklearn", "threadpoolctl"}
)
"""Libraries without which scikit-learn, or a node, does not run: a module beside the search file
that bears such a name is not found, as with scikit-learn alone nothing would work."""


class OwnNames:
    """Answers imports of such modules; there is one, `own_names`, for the process."""

    def __init__(self) -> None:
        self.loaded: dict[str, ModuleType] = {}
        """Those that were imported, by their names."""

        self._paths: dict[str, Path] = {}
        self._folder = Path()
        self._import = builtins.__import__

    def look(self, folder: Path) -> None:
        """Find those in the folder of a search file, instead of an earlier one's."""
        self.forget()
        self._paths = {
            path.stem: path
            for path in folder.glob("*.py")
            if is_library(sys.modules.get(path.stem)) and not _stays(path.stem)
        }
        if self._paths:
            self._folder = folder
            builtins.__import__ = self._answer

    def forget(self) -> None:
        """Answer nothing any more."""
        self._paths, self.loaded = {}, {}
        builtins.__import__ = self._import

    def _answer(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 (the name that Python gives it)
        locals: Mapping[str, Any] | None = None,  # noqa: A002 (the same)
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level == 0 and name in self._paths and self._is_users(globals):
            return self.loaded.get(name) or self._load(name)
        return self._import(name, globals, locals, fromlist or (), level)

    def _is_users(self, its_globals: Mapping[str, Any] | None) -> bool:
        file = (its_globals or {}).get("__file__")
        return isinstance(file, str) and in_user_tree(Path(file), self._folder)

    def _load(self, name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, self._paths[name])
        assert spec is not None  # its name ends in .py
        assert spec.loader is not None
        module = self.loaded[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del self.loaded[name]
            raise
        return module


own_names = OwnNames()


def _stays(name: str) -> bool:
    """Return whether a library is needed so that scikit-learn runs at all."""
    if name in sys.stdlib_module_names:
        return name in _loaded_with_scikit_learn()
    return name in NEEDED


@functools.cache
def _loaded_with_scikit_learn() -> frozenset[str]:
    """Return what an interpreter has loaded once it has imported scikit-learn."""
    program = "import sklearn.model_selection, sys; print(*sys.modules)"
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return frozenset(done.stdout.decode().split())
