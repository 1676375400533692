"""Candidates with equal parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import Rule, Setting, SharedFit


class Duplicates(Rule):
    """Rule for candidates with equal parameters, of any class on the allow-list."""

    name = "the same candidate"
    classes: frozenset[str] = frozenset()

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        return frozenset()

    def derive(self, fit: SharedFit, member: Any) -> bool:
        vars(member).update(fit.state)
        return True
