"""What a search needs on a node that was not read from a search file but made in a program.

A program, or a notebook, has imported whatever it likes. What the search needs of that is known
from its objects: pickling them meets every module that they are made of.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from skygrid.loading.imports import register_user_modules
from skygrid.loading.sources import neighbour_sources, own_source, read_module
from skygrid.worker.neighbours import Source
from skygrid.worker.pickling import NodePickler


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What travels to nodes with a search, or is installed there for it."""

    imported: frozenset[str]
    """Top-level names of the modules that its objects are made of."""

    sources: Mapping[str, Source]
    """Text of the modules beside the program, by their names."""


def needs_of(*objects: Any) -> Needs:
    """Find out what nodes elsewhere need for these objects.

    Modules that lie beside the running program are registered with cloudpickle to be pickled by
    value, as a node has no such files.

    Parameters
    ----------
    *objects : object
        Search, data and fit parameters.

    Returns
    -------
    needs : Needs
    """
    program = _program()
    folder = Path.cwd() if program is None else program.parent
    own = {name.partition(".")[0] for name in register_user_modules(folder)}
    met = modules_of(objects) - own - {"__main__", "skygrid"}
    if program is None:
        return Needs(imported=met, sources={})
    sources = neighbour_sources(read_module(program), folder) | own_source(program)
    return Needs(imported=met, sources=sources)


def _program() -> Path | None:
    """The file of the running program; a notebook and an interpreter have none."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return None if file is None or not Path(file).is_file() else Path(file).resolve()


def modules_of(objects: Any) -> frozenset[str]:
    """Top-level names of all modules that would be asked for when these objects are unpickled."""
    pickler = _Noting(_Nowhere(), protocol=5, buffer_callback=lambda buffer: None)
    pickler.dump(objects)
    return frozenset(name.partition(".")[0] for name in pickler.met if name)


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


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
