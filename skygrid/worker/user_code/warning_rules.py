"""The driver's warning filters on a node, without importing what they are about.

A filter names a class of warnings. To pickle the class would import its module on every node, which
for some libraries takes seconds; and no warning of a class can be issued before its module is
loaded. So the class travels by name.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Pattern = re.Pattern[str] | str | None
"""Type of a filter's message and module; `warnings` itself takes all three."""


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
    """Return the filters of this process, the strongest first."""
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
    """Return the class of this name; a stand-in for it where its module is not loaded yet."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else _ByName(name, (Warning,), {})


class _ByName(type):
    """A class that has as its subclasses all that have a class of its name among their bases."""

    def __subclasscheck__(cls, other: type) -> bool:
        return any(
            f"{base.__module__}:{base.__qualname__}" == cls.__name__ for base in other.__mro__
        )
