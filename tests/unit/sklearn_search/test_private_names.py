"""Private names of scikit-learn stand in two modules."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sklearn

import skygrid

SKYGRID = Path(skygrid.__file__).parent
HOMES = {"sklearn_search/sklearn_private.py", "worker/evaluation/sklearn_private.py"}

UNRELATED = {"_score"}  # the end of the names of metrics, which search_file takes off
PRIVATE = re.compile(r"_[A-Za-z]\w*")


def names_defined(tree: ast.AST) -> Iterator[str]:
    """Return the private names that a module defines: functions, classes, attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.Name(id=name, ctx=ast.Store()):
                yield name


@functools.cache
def private_names() -> frozenset[str]:
    """Return the private names that scikit-learn defines."""
    folder = Path(sklearn.__file__).parent
    paths = [path for path in folder.rglob("*.py") if "tests" not in path.parts]
    names = {name for path in paths for name in names_defined(ast.parse(path.read_bytes()))}
    return frozenset(name for name in names if PRIVATE.fullmatch(name)) - UNRELATED


def private_uses(source: str) -> list[str]:
    """Return the private names of scikit-learn that a module imports, reads, sets or spells."""
    tree = ast.parse(source)
    foreign = private_names() - set(names_defined(tree))
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("sklearn"):
                parts = [*module.split("."), *(alias.name for alias in names)]
                found += filter(PRIVATE.fullmatch, parts)
            case ast.Import(names=names):
                modules = [alias.name.split(".") for alias in names]
                found += [
                    part
                    for module in modules
                    if module[0] == "sklearn"
                    for part in module
                    if PRIVATE.fullmatch(part)
                ]
            case ast.Attribute(attr=name) | ast.Constant(value=str(name)) if name in foreign:
                found.append(name)
            case ast.Attribute(attr=name, ctx=ast.Store(), value=value):
                # A name that is set on something else than `self` may be scikit-learn's own.
                if name in private_names() and ast.unparse(value) not in {"self", "cls"}:
                    found.append(name)
    return found


@pytest.mark.parametrize(
    "source",
    [
        "from sklearn.model_selection._validation import check",
        "from sklearn.model_selection import _validation",
        "from sklearn.metrics import _scorer as scorer",
        "import sklearn.utils._tags",
        "search._get_scorers()",
        "self.scorer._score_func = metric",
        "getattr(tree, '_prune_tree')()",
    ],
)
def test_a_private_name_is_found_wherever_it_is_used(source: str) -> None:
    """Imports, attributes and names in strings count."""
    assert private_uses(source)


@pytest.mark.parametrize(
    "source",
    [
        "from sklearn.base import clone",
        "class Own:\n    def _fit(self): return self._fit()",
        "names = ['sklearn.svm._classes.SVC']",
    ],
)
def test_own_names_and_names_of_classes_are_none(source: str) -> None:
    """A module may use what it defines, and list classes by their full names."""
    assert not private_uses(source)


def test_private_names_of_scikit_learn_stand_in_one_module_of_driver_and_worker() -> None:
    """No other module of skygrid has to change when scikit-learn changes a private name."""
    uses = {
        path.relative_to(SKYGRID).as_posix(): private_uses(path.read_text())
        for path in SKYGRID.rglob("*.py")
    }
    assert {module for module, found in uses.items() if found} == HOMES, {
        module: found for module, found in uses.items() if found and module not in HOMES
    }
