"""Module-level names of a module, with the lines that bind them."""

from __future__ import annotations

import ast


class Bindings(ast.NodeVisitor):
    """Collects module-level bindings; does not visit the bodies of functions and classes."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        """Line of each name's last assignment, def, class or import."""
        self.assigned: set[str] = set()
        """Names whose last binding is no import."""

    def _bind(self, name: str, line: int) -> None:
        self.lines[name] = line
        self.assigned.add(name)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._bind(node.name, node.lineno)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _definition  # noqa: N815 (ast's)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self.lines[name] = node.lineno
            self.assigned.discard(name)

    visit_Import = visit_ImportFrom = _import  # noqa: N815 (ast's)

    def _own_scope(self, node: ast.AST) -> None:
        """Skip lambdas and comprehensions, which bind names in their own scope."""

    visit_Lambda = visit_ListComp = visit_SetComp = visit_DictComp = _own_scope  # noqa: N815
    visit_GeneratorExp = _own_scope  # noqa: N815 (ast's)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self._bind(node.id, node.lineno)
