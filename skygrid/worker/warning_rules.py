"""The driver's warning filters on their way to a slot.

A filter names a class of warnings, and the driver has libraries that no node needs: each class is
pickled by itself, so that one that a node lacks costs nothing but its own filter.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

import cloudpickle

Rule = tuple[Any, ...]
"""As in `warnings.filters`: action, message, category, module, line."""


def pack_rules(filters: Iterable[Rule]) -> list[Rule]:
    """Filters with their categories as bytes."""
    return [(*rule[:2], cloudpickle.dumps(rule[2]), *rule[3:]) for rule in filters]


def unpack_rules(rules: Iterable[Rule]) -> list[Rule]:
    """The filters of `pack_rules`, without those whose category cannot be imported here.

    Nothing here can raise a warning of such a category.
    """
    found = []
    for rule in rules:
        try:
            found.append((*rule[:2], pickle.loads(rule[2]), *rule[3:]))
        except (ImportError, AttributeError):
            continue
    return found
