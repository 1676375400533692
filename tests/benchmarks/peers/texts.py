"""Texts that every Python has: docstrings of its standard library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGES = (
    "asyncio",
    "concurrent",
    "ctypes",
    "email",
    "http",
    "importlib",
    "logging",
    "multiprocessing",
    "tkinter",
    "unittest",
    "urllib",
    "xml",
    "_pydecimal.py",
    "argparse.py",
    "inspect.py",
    "ipaddress.py",
    "pathlib.py",
    "statistics.py",
    "tarfile.py",
    "threading.py",
    "turtle.py",
    "typing.py",
    "zipfile.py",
)
"""Modules with many docstrings; each module is one class."""

SHORTEST = 40
"""Length in characters below which a docstring is left out: it says little about its module."""


def library_texts(packages: tuple[str, ...] = PACKAGES) -> tuple[list[str], list[str]]:
    """Return the docstrings of some modules, and the module of each.

    Parameters
    ----------
    packages : tuple of str
        Names of folders or files of the standard library.

    Returns
    -------
    texts, labels : list of str
        Of equal length, in the order of modules and lines.
    """
    library = Path(ast.__file__).parent
    texts, labels = [], []
    for package in packages:
        place = library / package
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        for file in files:
            for text in _documentation(file):
                texts.append(text)
                labels.append(place.stem)
    return texts, labels


def _documentation(file: Path) -> Iterator[str]:
    if not file.exists():
        return  # some releases turn a module into a package
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) >= SHORTEST:
                yield text
