"""Settings are read, and offered wherever they belong."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from pathlib import Path

import pytest

import skygrid
from skygrid.api import Cluster
from skygrid.config.records import NO_SETTINGS, TABLES, RunConfig
from skygrid.nodes.registry import PLACES

SOURCE = Path(skygrid.__file__).parent
PYTHON_GUIDE = SOURCE.parent / "guides" / "python.md"


def _read_by(node: ast.AST) -> str | None:
    """Return the attribute or key that a node reads; None for the defaults in help texts."""
    match node:
        case ast.Attribute(value=ast.Name(id="RunConfig")):
            return None
        case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return None


def _read() -> set[str | None]:
    """Return the attributes and keys that modules outside the config read."""
    return {
        _read_by(node)
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE).parts[0] != "config"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    }


def test_each_setting_is_read() -> None:
    """A setting that can be declared has an effect."""
    declared = {one.name for record in (RunConfig, *TABLES.values()) for one in fields(record)}
    unread = declared - _read() - {*NO_SETTINGS}
    assert not unread, "no module outside skygrid/config reads these settings"


def _parameters(function: object) -> set[str]:
    return set(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_fit_takes_the_options_of_a_cluster() -> None:
    """`skygrid.fit` has each option of `skygrid.cluster`."""
    missing = _parameters(Cluster) - _parameters(skygrid.fit)
    assert not missing, "skygrid/api.py: add these parameters of Cluster to fit"


def test_the_python_guide_has_each_option_of_fit() -> None:
    """The table of the guide has a row for each parameter but the search and its data."""
    text = PYTHON_GUIDE.read_text(encoding="utf-8")
    own = {"search", "X", "y", "more_fit_params"}
    missing = [name for name in _parameters(skygrid.fit) - own if f"\n| `{name}` |" not in text]
    assert not missing, "guides/python.md: add rows for these parameters of skygrid.fit"


@pytest.mark.parametrize("place", PLACES)
def test_each_place_is_named_for_python(place: str) -> None:
    """Guide and docstring of the Python interface name each value of `on`."""
    for text in (PYTHON_GUIDE.read_text(encoding="utf-8"), Cluster.__doc__ or ""):
        assert f'"{place}"' in text, "add the place to guides/python.md and to Cluster in api.py"
