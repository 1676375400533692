"""What a node runs of a program, and which of its globals it is sent."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skygrid.loading.definitions import Program
from skygrid.worker import pickling


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Program]:
    """Runs a text as the module ``own_program``, and returns its `Program`."""

    def made(text: str) -> Program:
        path = tmp_path / "own_program.py"
        path.write_text(text)
        spec: Any = importlib.util.spec_from_file_location("own_program", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "own_program", module)
        exec(compile(text, str(path), "exec"), vars(module))
        program = Program(module, str(path), text, frozenset({"tests.misbehaving"}))
        pickling.import_by_name(module, program)
        return program

    monkeypatch.setattr(pickling, "_known", {})
    return made


def lines(program: Program) -> set[str]:
    """First lines of the statements that a node runs."""
    script = program.script()
    import ast

    body = ast.parse(script.text).body
    return {ast.unparse(body[number]).split("\n")[0] for number in script.statements}


def test_definitions_run_and_what_makes_the_data_does_not(program: Any) -> None:
    """Imports, functions and classes are run; nothing else that no function uses."""
    found = program(
        "import math\n"
        "def f():\n    return math.pi\n"
        "class A:\n    pass\n"
        "data = [1, 2, 3]\n"
        "print(len(data))\n"
    )
    assert lines(found) == {"import math", "def f():", "class A:"}
    assert found.values == found.late_values == {}


def test_globals_that_functions_read_are_sent(program: Any) -> None:
    """A function finds the value that a global has here, also one that a call has changed."""
    found = program("table = {}\ntable['a'] = 1\nother = 2\ndef f():\n    return table\n")
    assert found.values == {"table": {"a": 1}}
    assert lines(found) == {"def f():"}


def test_a_local_variable_is_no_global(program: Any) -> None:
    """What a function reads of its own is not sent, though a global has the same name."""
    found = program("x = list(range(9))\ndef f():\n    x = 1\n    return x\n")
    assert found.values == {}


def test_values_of_the_programs_own_classes_come_after_them(program: Any) -> None:
    """An instance of an own class is sent once the class is there."""
    found = program("class A:\n    pass\nkept = A()\ndef f():\n    return kept\n")
    assert list(found.late_values) == ["kept"]


def test_what_cannot_be_pickled_is_made_anew(program: Any) -> None:
    """A lock is made by its own statement, with what that reads."""
    found = program(
        "import threading\nmake = threading.Lock\nlock = make()\ndef f():\n    return lock\n"
    )
    assert "lock = make()" in lines(found)
    assert list(found.values) == ["make"]


def test_a_table_that_decorators_fill_is_filled_again(program: Any) -> None:
    """What a definition reads when it is run cannot hold what is defined later."""
    found = program(
        "table = {}\n"
        "def note(f):\n    table[f.__name__] = f\n    return f\n"
        "@note\n"
        "def f():\n    return table\n"
    )
    assert "table = {}" in lines(found)
    assert "table" not in {**found.values, **found.late_values}


@pytest.mark.parametrize(
    "statement",
    [
        "Point = collections.namedtuple('Point', 'x y')",
        "Mode = enum.Enum('Mode', 'A B')",
        "area = functools.lru_cache(area)",
    ],
)
def test_classes_and_functions_that_calls_make_are_definitions(
    program: Any, statement: str
) -> None:
    """What is pickled by a global name is made under this name."""
    found = program(
        "import collections, enum, functools\ndef area():\n    return 1\n" + statement + "\n"
    )
    assert statement in lines(found)
    assert found.defines(statement.split(maxsplit=1)[0])


def test_a_class_that_is_changed_later_is_changed_on_nodes(program: Any) -> None:
    """Attributes that are set on an own class, and calls of its methods, are definitions."""
    found = program(
        "import abc\n"
        "class A(abc.ABC):\n    pass\n"
        "class B:\n    pass\n"
        "A.limit = 3\n"
        "A.register(B)\n"
        "abc.own = 1\n"
    )
    assert {"A.limit = 3", "A.register(B)"} <= lines(found)
    assert "abc.own = 1" not in lines(found)


def test_what_runs_only_as_a_program_stays_here(program: Any) -> None:
    """Nothing of ``if __name__ == "__main__"`` is run on a node, whatever it defines."""
    found = program("if __name__ == 'own_program':\n    def f():\n        return 1\n")
    assert lines(found) == set()
    assert not found.defines("f")


def test_definitions_in_other_statements_are_found(program: Any) -> None:
    """A function may be defined under a condition, a class where an import fails."""
    found = program(
        "try:\n    import not_there\nexcept ImportError:\n    not_there = None\n"
        "if not_there is None:\n    def f():\n        return 1\n"
    )
    assert lines(found) == {"try:", "if not_there is None:"}
    assert found.defines("f")


def test_a_node_may_lack_what_nothing_uses(program: Any) -> None:
    """Imports that no definition reads are optional; skygrid itself is not imported."""
    found = program("import skygrid\nimport math\nimport cmath\ndef f():\n    return cmath.pi\n")
    assert lines(found) == {"import math", "import cmath", "def f():"}
    assert found.script().optional == {1}
