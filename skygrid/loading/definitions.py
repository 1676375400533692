"""A program as nodes run it: imports, functions and classes, without what makes the data.

A node needs the functions and classes of the search file under their own names. To run the whole
file there would read the data again, which takes time and memory, and fails where the data is not.
So a node runs the statements that define something. Any other global that these use has the value
that it has here; one that cannot be pickled, as a lock, is made by its own statement.
"""

from __future__ import annotations

import ast
import builtins
import dis
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

from skygrid.worker.pickling import CACHED, NodePickler, Nowhere
from skygrid.worker.user_modules import Script, future_flags

_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
_COMPOUND = (
    ast.If | ast.Try | ast.TryStar | ast.With | ast.For | ast.While | ast.Match | ast.AsyncWith
)
_READS = frozenset({"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"})


class Program:
    """The definitions of a module; see `worker.pickling.Program`.

    Everything is found out when it is first asked for: most searches use nothing of their program.

    Parameters
    ----------
    module : ModuleType
        As it is after its file has run.
    path : str
    text : str
        Of the file, as it was run.
    own_modules : frozenset of str
        Names of the user's modules.
    """

    def __init__(
        self, module: ModuleType, path: str, text: str, own_modules: frozenset[str] = frozenset()
    ) -> None:
        self._module, self._path, self._text = module, path, text
        self._own_modules = own_modules
        self._search = uuid.uuid4().hex
        self._chosen: _Chosen | None = None

    def script(self) -> Script:
        """Return what a node runs."""
        return Script(
            name=self._module.__name__,
            package=self._module.__package__,
            path=self._path,
            text=self._text,
            statements=tuple(sorted(self._choice.run)),
            optional=self._choice.optional,
            search=self._search,
        )

    @property
    def values(self) -> dict[str, Any]:
        """Globals that are there before the first statement runs."""
        return self._named(self._choice.early)

    @property
    def late_values(self) -> dict[str, Any]:
        """Globals that need the definitions."""
        return self._named(self._choice.late)

    def defines(self, name: str) -> bool:
        """Return whether the statements that a node runs bind a global name."""
        return name in self._choice.defined

    def _named(self, names: frozenset[str]) -> dict[str, Any]:
        return {name: vars(self._module)[name] for name in sorted(names)}

    @property
    def _choice(self) -> _Chosen:
        if self._chosen is None:
            self._chosen = _Choosing(self._module, self._statements(), self._own_modules).chosen()
        return self._chosen

    def _statements(self) -> list[_Statement]:
        tree = ast.parse(self._text, filename=self._path)
        flags = future_flags(tree)
        return [_Statement(node, self._path, flags) for node in tree.body]


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """What becomes of the statements and the globals of a program."""

    run: frozenset[int]
    """Numbers of the statements that a node runs."""

    optional: frozenset[int]
    """Those that import what none of the others reads."""

    defined: frozenset[str]
    """Globals that these bind."""

    early: frozenset[str]
    """Globals that are sent, and that hold nothing of the program's own."""

    late: frozenset[str]
    """Globals that are sent, and that hold something of the program's own."""


class _Statement:
    """One top-level statement: what it binds, what it reads, and when.

    Parameters
    ----------
    node : ast.stmt
    path : str
    flags : int
        Compiler flags of the file's ``from __future__`` imports.
    """

    def __init__(self, node: ast.stmt, path: str, flags: int) -> None:
        self.node = node
        module = ast.Module([node], [])
        code = compile(module, path, "exec", flags=flags, dont_inherit=True)
        self.reads_at_once: set[str] = set()
        """Globals that it reads when it runs."""

        self.reads: set[str] = set()
        """Those, and what the functions in it read when they are called."""

        self.binds = {
            step.argval for step in dis.get_instructions(code) if step.opname == "STORE_NAME"
        }
        self._look(code, at_once=True)

    def _look(self, code: CodeType, *, at_once: bool) -> None:
        for step in dis.get_instructions(code):
            if step.opname in _READS:
                self.reads.add(step.argval)
                if at_once:
                    self.reads_at_once.add(step.argval)
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                self._look(inner, at_once=at_once and not _is_called_later(inner))

    @property
    def is_guard(self) -> bool:
        """Whether it is for a file that is run by itself: ``if __name__ == "__main__"``."""
        return isinstance(self.node, ast.If) and any(
            isinstance(part, ast.Name) and part.id == "__name__"
            for part in ast.walk(self.node.test)
        )

    @property
    def imports_skygrid(self) -> bool:
        """Whether it imports skygrid, of which a node has the worker alone."""
        match self.node:
            case ast.Import(names=names):
                return all(alias.name.partition(".")[0] == "skygrid" for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                return module.partition(".")[0] == "skygrid"
        return False

    @property
    def defines(self) -> bool:
        """Whether a function, a class or an import stands in it, outside of functions."""
        return isinstance(self.node, _DEFINITIONS) or (
            isinstance(self.node, _COMPOUND)
            and not self.is_guard
            and any(isinstance(inner, _DEFINITIONS) for inner in _within(self.node))
        )

    @property
    def changes(self) -> set[str]:
        """Names whose values it changes from outside: ``name.x = ...``, ``name.call(...)``."""
        match self.node:
            case ast.Assign(targets=targets):
                places = targets
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                places = [target]
            case ast.Expr(value=ast.Call(func=ast.Attribute() as function)):
                places = [function]
            case _:
                places = []
        return {name for place in places for name in _root(place)}


class _Choosing:
    """Decides what a node runs of a program, and which values it is sent.

    Parameters
    ----------
    module : ModuleType
    statements : list of _Statement
    own_modules : frozenset of str
        Names of the user's modules.
    """

    def __init__(
        self, module: ModuleType, statements: list[_Statement], own_modules: frozenset[str]
    ) -> None:
        self._globals = vars(module)
        self._name = module.__name__
        self._statements = statements
        self._own_modules = own_modules
        self._travels: dict[str, bool | None] = {}

    def chosen(self) -> _Chosen:
        """Return the choice: definitions first, then what these need, until nothing is missing."""
        run = self._definitions()
        while True:
            defined = {name for number in run for name in self._statements[number].binds}
            at_once = self._read_at_once(run)
            needed = {name for number in run for name in self._statements[number].reads} - defined
            needed &= self._globals.keys() - {"__name__", "__file__", "__builtins__"}
            early = {name for name in needed if self._holds_own(name) is False}
            late = {name for name in needed - at_once if self._holds_own(name) is True}
            missing = self._makers(needed - early - late) - run
            if not missing:
                return _Chosen(
                    run=frozenset(run),
                    optional=frozenset(n for n in run if self._is_unused_import(n, run)),
                    defined=frozenset(defined),
                    early=frozenset(early),
                    late=frozenset(late),
                )
            run |= missing

    def _read_at_once(self, run: set[int]) -> set[str]:
        """Return the globals that are read while these statements run."""
        read = {name for number in run for name in self._statements[number].reads_at_once}
        while True:
            # A function that is read may be called, as decorators are.
            called = self._makers(read) & run
            more = {name for number in called for name in self._statements[number].reads} - read
            if not more:
                return read
            read |= more

    def _definitions(self) -> set[int]:
        run = {
            number
            for number, statement in enumerate(self._statements)
            if not statement.is_guard
            and not statement.imports_skygrid
            and (statement.defines or any(map(self._is_own, statement.binds)))
        }
        defined = {
            name
            for number in run
            for name in self._statements[number].binds
            if not isinstance(self._statements[number].node, ast.Import | ast.ImportFrom)
        }
        return run | {
            number
            for number, statement in enumerate(self._statements)
            if any(name in defined or self._is_of_own_modules(name) for name in statement.changes)
            and statement.reads <= self._known_names(run)
        }

    def _known_names(self, run: set[int]) -> set[str]:
        """Names that a node knows without any value: what is defined, and Python's own."""
        return {name for number in run for name in self._statements[number].binds} | {
            *dir(builtins)
        }

    def _is_own(self, name: str) -> bool:
        """Return whether a global is a class or function that is pickled by this very name."""
        value = self._globals.get(name)
        return (
            isinstance(value, type | FunctionType | CACHED)
            and getattr(value, "__module__", None) == self._name
            and getattr(value, "__qualname__", None) == name
        )

    def _is_of_own_modules(self, name: str) -> bool:
        value = self._globals.get(name)
        home = (
            value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        )
        return home in self._own_modules

    def _holds_own(self, name: str) -> bool | None:
        """Return whether a value refers to the program; None: it cannot be pickled."""
        if name not in self._travels:
            pickler = _Trial(self._name)
            try:
                pickler.dump(self._globals[name])
                self._travels[name] = pickler.met
            except Exception:  # noqa: BLE001 (what a user's object does when it is pickled)
                self._travels[name] = None
        return self._travels[name]

    def _is_unused_import(self, number: int, run: set[int]) -> bool:
        statement = self._statements[number]
        return isinstance(statement.node, ast.Import | ast.ImportFrom) and not any(
            statement.binds & self._statements[other].reads for other in run
        )

    def _makers(self, names: set[str]) -> set[int]:
        """Return the numbers of the statements that bind these names."""
        return {
            number
            for number, statement in enumerate(self._statements)
            if statement.binds & names and not statement.is_guard
        }


class _Trial(NodePickler):
    """Finds out whether a value can be pickled, and whether it refers to a program.

    Parameters
    ----------
    program : str
        Name of the program's module.
    """

    def __init__(self, program: str) -> None:
        super().__init__(Nowhere(), protocol=5, buffer_callback=lambda buffer: None)
        self._program = program
        self.met = False

    def _handle(self, known: Any) -> str:
        self.met |= known.module.__name__ == self._program
        return str(known.module.__name__)


def _is_called_later(code: CodeType) -> bool:
    """Return whether code runs only when a function is called; comprehensions run at once."""
    optimised = bool(code.co_flags & 0x1)  # inspect.CO_OPTIMIZED: a function, not a class body
    return optimised and (not code.co_name.startswith("<") or code.co_name == "<lambda>")


def _within(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what stands in a statement, but not what stands in functions and classes there."""
    for inner in ast.iter_child_nodes(node):
        yield inner
        if not isinstance(inner, _DEFINITIONS | ast.Lambda):
            yield from _within(inner)


def _root(place: ast.expr) -> Iterator[str]:
    """Yield the name at the left of ``name.attribute``, ``name[item]`` and chains of these."""
    inner = place
    while isinstance(inner, ast.Attribute | ast.Subscript | ast.Call):
        inner = inner.func if isinstance(inner, ast.Call) else inner.value
    if isinstance(inner, ast.Name) and inner is not place:
        yield inner.id
