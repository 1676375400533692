"""The text of all modules beside the search file that it may import, now or inside a function."""

from __future__ import annotations

import ast
import importlib.util
import tokenize
from collections.abc import Iterator
from pathlib import Path

from skygrid.errors import SearchFileError
from skygrid.loading.modules import in_user_tree
from skygrid.worker.neighbours import Source

MOST_BYTES = 16 * 1024 * 1024
"""Text of neighbours that may travel; more than this is no code that somebody wrote."""


def neighbour_sources(tree: ast.Module, folder: Path) -> dict[str, Source]:
    """Read the modules that a file imports, and those that these import, from its folder.

    Parameters
    ----------
    tree : ast.Module
        The search file.
    folder : Path
        Where it lies; modules elsewhere are left out.

    Returns
    -------
    sources : dict of str to Source

    Raises
    ------
    SearchFileError
        If they are more than could have been meant.
    """
    found: dict[str, Source] = {}
    waiting = list(_imported(tree, package=""))
    size = 0
    while waiting:
        name = waiting.pop()
        # Whoever imports a.b imports a first.
        for whole in _with_parents(name):
            if whole in found:
                continue
            path, is_package = _file_of(whole, folder)
            if path is None:
                break
            text = _read(path)
            size += len(text)
            if size > MOST_BYTES:
                raise SearchFileError(
                    f"the modules beside the search file that it imports have more than "
                    f"{MOST_BYTES >> 20} MiB: put data that they hold into files of another kind"
                )
            found[whole] = (str(path), is_package, text)
            package = whole if is_package else whole.rpartition(".")[0]
            waiting += _imported(_parsed(text), package)
    return found


def read_module(path: Path) -> ast.Module:
    """A Python file as a tree; an empty one if it cannot be read or parsed."""
    return _parsed(_read(path))


def own_source(path: Path) -> dict[str, Source]:
    """The search file's own text, whose lines stand in the tracebacks of failed fits."""
    return {path.stem: (str(path), False, _read(path))}


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            try:
                whole = importlib.util.resolve_name(base, package or None)
            except ImportError:
                continue  # it fails wherever it runs
            yield whole
            # What is imported from a package may be a module of it.
            yield from (f"{whole}.{alias.name}" for alias in node.names)


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _file_of(name: str, folder: Path) -> tuple[Path | None, bool]:
    place = folder.joinpath(*name.split("."))
    for path, is_package in ((place / "__init__.py", True), (place.with_suffix(".py"), False)):
        if path.is_file() and in_user_tree(path, folder):
            return path, is_package
    return None, False


def _read(path: Path) -> str:
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ""  # a module that cannot be read cannot be imported here either


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])
