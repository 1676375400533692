"""Candidates that are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import Setting, SharedFit


class Duplicates:
    """Candidates with equal parameters, of any class that is known."""

    name = "the same candidate"
    classes: frozenset[str] = frozenset()
    within = False

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        return frozenset()

    def answers(self, parameters: Mapping[str, Any]) -> bool:
        return True

    def weight(self, parameters: Mapping[str, Any]) -> float:
        return 1.0

    def shared(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def derive(self, fit: SharedFit, member: Any) -> bool:
        vars(member).update(fit.state)
        return True
