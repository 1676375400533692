"""Reading and parsing of search files, and the places that messages name."""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skygrid.errors import SearchFileError
from skygrid.user_code.bindings import Bindings

SHORT = 300
"""Characters that are quoted of a message of another program."""


@dataclass(frozen=True, kw_only=True)
class SearchFile:
    """A search file that is parsed but not yet run."""

    path: Path
    """Absolute, symbolic links resolved."""

    shown: str
    """The path as the user wrote it."""

    text: str
    """Content of the file."""

    tree: ast.Module

    lines: Mapping[str, int]
    """Line of the last assignment, def, class or import of each module-level name."""

    assigned: frozenset[str]
    """Module-level names that the file binds other than by import."""

    read: frozenset[str]
    """Names that the file's code reads."""

    @property
    def folder(self) -> Path:
        """Folder of the file and of the modules beside it."""
        return self.path.parent

    def at(self, line: int | None) -> str:
        """Return a line of the file as the start of a message."""
        return self.shown if line is None else f"{self.shown}, line {line}"

    def place(self, name: str) -> Place:
        """Return the place for messages about the value of `name`."""
        return Place(file=self, name=name, label=name)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Subject of a message: a name of the file, or a part of its value."""

    file: SearchFile
    name: str
    label: str

    def part(self, suffix: str) -> Place:
        """Return the place of a part of the value, as ``[1]`` or ``.estimator``."""
        return Place(file=self.file, name=self.name, label=self.label + suffix)

    def mistake(self, problem: str, remedy: str) -> SearchFileError:
        """Return the error that names place, problem and remedy."""
        where = self.file.at(self.file.lines.get(self.name))
        return SearchFileError(f"{where}: {self.label} {problem}; {remedy}")


def read_search_file(path: Path) -> SearchFile:
    """Read and parse the file at `path`.

    Raises
    ------
    SearchFileError
        If the file is missing, is no Python file, is not UTF-8, or has a syntax error.
    """
    shown = str(path)
    text = _read_text(path, shown)
    try:
        tree = ast.parse(text, filename=str(path.resolve()))
    except SyntaxError as error:
        raise SearchFileError(syntax_message(shown, error)) from None
    except ValueError as error:  # null bytes, on some releases of Python
        raise SearchFileError(f"{shown} is not Python: {error}; mend the file") from None
    finder = Bindings()
    finder.visit(tree)
    return SearchFile(
        path=path.resolve(),
        shown=shown,
        text=text,
        tree=tree,
        lines=finder.lines,
        assigned=frozenset(finder.assigned),
        read=frozenset(
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        ),
    )


def syntax_message(shown: str, error: SyntaxError) -> str:
    """Return the message for a file that Python cannot parse."""
    text = f": {error.text.strip()}" if error.text and error.text.strip() else ""
    line = "" if error.lineno is None else f", line {error.lineno}"
    return f"{shown}{line}: syntax error: {error.msg}{shorten(text, 80)}; mend that line"


def describe(value: Any) -> str:
    """Return a short description of a value; call no ``repr`` of user code."""
    if value is None or type(value) in {bool, int, float, complex, str, bytes}:
        return shorten(repr(value), 60)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value).__name__
    return f"{_article(kind)} {kind}"


def shorten(text: str, length: int = SHORT) -> str:
    """Return `text` on one line of at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 3] + "..."


def did_you_mean(word: str, words: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the word that `word` most likely misspells; None if there is none."""
    known = {known.lower(): known for known in words}
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=cutoff)
    return known[close[0]] if close else None


def _article(kind: str) -> str:
    """Return the article of a name as it is spoken: an SVC, a SimpleImputer, an ndarray."""
    spelt = kind[:2].isupper() or kind == "ndarray"
    return "an" if kind[0].lower() in ("aefhilmnorsx" if spelt else "aeiou") else "a"


def _read_text(path: Path, shown: str) -> str:
    if path.is_dir():
        raise SearchFileError(f"{shown} is a folder; give the search file inside it")
    if not path.exists():
        raise SearchFileError(f"{shown} does not exist; {_instead(path)}")
    if path.suffix != ".py":
        raise SearchFileError(f"{shown} is no Python file; give a search file that ends in .py")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SearchFileError(f"{shown} cannot be read: {error.strerror}") from None
    try:
        return importlib.util.decode_source(data)  # obeys a coding line, as Python does
    except (UnicodeDecodeError, SyntaxError):
        raise SearchFileError(
            f"{shown}{_undecodable_line(data)}: not UTF-8; save the file as UTF-8"
        ) from None


def _undecodable_line(data: bytes) -> str:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return f", line {data.count(bytes([10]), 0, error.start) + 1}"
    return ""  # a coding line names another codec, or one that does not exist


def _instead(path: Path) -> str:
    try:
        beside = [other.name for other in path.parent.glob("*.py")]
    except OSError:  # the folder is missing too: no file resembles this one
        beside = []
    close = did_you_mean(path.name, beside)
    if close is not None:
        return f"did you mean {path.with_name(close)}?"
    return f"`skygrid init {path}` writes one to start from"
