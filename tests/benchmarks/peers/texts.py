"""Texts that every Python brings along: the documentation strings of its standard library."""

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
"""Modules of many documentation strings; each is a class to be told from the others."""

SHORTEST = 40
"""Characters: shorter texts say little of where they are from."""


def library_texts(packages: tuple[str, ...] = PACKAGES) -> tuple[list[str], list[str]]:
    """The documentation strings of some modules, and the module that each is from.

    Parameters
    ----------
    packages : tuple of str
        Names of folders or files of the standard library.

    Returns
    -------
    texts, labels : list of str
        Of equal length, in the order of the modules and of their lines.
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
