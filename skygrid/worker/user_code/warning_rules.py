"""The driver's warning filters on a node, without imports of their categories.

A filter refers to a class of warnings. Pickling that class would import its module on every node,
which takes seconds for some libraries. No warning of a class can be raised before its module is
loaded, so the class travels by name.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Pattern = re.Pattern[str] | str | None
"""Type of a filter's message and module: `warnings` accepts all three."""


@dataclass(frozen=True)
class WarningRule:
    """One entry of `warnings.filters`."""

    action: str
    message: Pattern
    category: str
    """``module:qualified name`` of the class."""

    module: Pattern
    lineno: int


def rules_now() -> list[WarningRule]:
    """Return the filters of this process, the first to match first."""
    return [
        WarningRule(action, message, _name(category), module, lineno)
        for action, message, category, module, lineno in warnings.filters
    ]


def _name(category: Any) -> str:
    return f"{category.__module__}:{category.__qualname__}"


def filters_of(rules: Sequence[WarningRule]) -> list[tuple[Any, ...]]:
    """Return the rules as entries of `warnings.filters`."""
    return [
        (rule.action, rule.message, _category(rule.category), rule.module, rule.lineno)
        for rule in rules
    ]


def _category(name: str) -> type:
    """Return the class of this name, or a stand-in if its module is not loaded."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else _ByName(name, (Warning,), {})


class _ByName(type):
    """Class whose subclasses are all classes with its name among their bases."""

    def __subclasscheck__(cls, other: type) -> bool:
        return any(
            f"{base.__module__}:{base.__qualname__}" == cls.__name__ for base in other.__mro__
        )
