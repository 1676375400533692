"""Pruning of single trees, which follows their growth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skygrid.worker.evaluation.sklearn_private import prune_tree

from . import Rule, Setting, SharedFit, is_amount


class PrunedTree(Rule):
    """Rule for `ccp_alpha` of a single tree: grown once, pruned for each value."""

    name = "pruning of one tree"
    classes = frozenset(
        f"sklearn.tree._classes.{kind}Tree{task}"
        for kind in ("Decision", "Extra")
        for task in ("Classifier", "Regressor")
    )

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        return frozenset({"ccp_alpha"})

    def answers(self, parameters: Mapping[str, Any]) -> bool:
        return is_amount(parameters["ccp_alpha"])

    def shared(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {"ccp_alpha": 0.0}

    def derive(self, fit: SharedFit, member: Any) -> bool:
        vars(member).update(fit.state)
        prune_tree(member)
        return True
