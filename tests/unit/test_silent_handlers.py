"""Handlers that swallow exceptions have their reason beside them."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import skygrid

PACKAGE = Path(skygrid.__file__).parent


def silent_places(tree: ast.AST) -> Iterator[tuple[int, int]]:
    """Yield the first and last line of each place where an exception ends without a trace.

    A handler leaves a trace if it calls a function, raises, yields, or uses the exception.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and not _leaves_a_trace(node):
            yield node.lineno, node.body[-1].end_lineno or node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            yield node.lineno, node.end_lineno or node.lineno


def _leaves_a_trace(handler: ast.ExceptHandler) -> bool:
    return any(
        isinstance(node, ast.Call | ast.Raise | ast.Yield)
        or (isinstance(node, ast.Name) and node.id == handler.name)
        for statement in handler.body
        for node in ast.walk(statement)
    )


def without_reason(source: str) -> list[int]:
    """Return the lines of silent places without a comment in them or on a line of its own above.

    ``noqa`` alone is no reason.
    """
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    reasons = {
        token.start[0]: token.line.lstrip().startswith("#")
        for token in tokens
        if token.type == tokenize.COMMENT
        and re.sub(r"#|noqa(: ?[\w, ]+)?", "", token.string).strip()
    }
    return sorted(
        first
        for first, last in silent_places(ast.parse(source))
        if not reasons.get(first - 1) and not reasons.keys() & set(range(first, last + 1))
    )


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("try:\n    f()\nexcept E:\n    pass", [3]),
        ("try:\n    f()  # not about E\nexcept E:\n    x = None", [3]),
        ("try:\n    f()\nexcept E:  # noqa: BLE001\n    x = 0", [3]),
        ("with suppress(E):\n    f()  # not about E", [1]),
        ("try:\n    f()\nexcept E:  # noqa: BLE001 (a reason)\n    x = 0", []),
        ("try:\n    f()\nexcept E:\n    pass  # a reason", []),
        ("# a reason\nwith contextlib.suppress(E):\n    f()", []),
        ("try:\n    f()\nexcept E as error:\n    x = error", []),
        ("try:\n    f()\nexcept E:\n    log()", []),
    ],
)
def test_a_silent_place_is_recognised(source: str, lines: list[int]) -> None:
    """The check finds handlers that do nothing, and accepts comments in them or above."""
    assert without_reason(source) == lines


def test_each_silent_handler_has_its_reason() -> None:
    """An exception is handled where it can be answered, logged, or has a reason to vanish."""
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in without_reason(path.read_text())
    ]
    assert not found, "log the exception, or say in a comment why it needs no trace"
