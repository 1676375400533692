"""Numbers of trees: the first n trees of a larger forest or bag equal one of n trees."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from skygrid.worker.evaluation.sklearn_private import BAG_SEEDS

from . import Rule, Setting, SharedFit, is_count

N_ESTIMATORS = frozenset({"n_estimators"})


class _FirstTrees(Rule):
    """Estimators are seeded one after another from one random state, independent of later ones."""

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        return N_ESTIMATORS

    def answers(self, parameters: Mapping[str, Any]) -> bool:
        return is_count(parameters["n_estimators"])

    def weight(self, parameters: Mapping[str, Any]) -> float:
        return float(parameters["n_estimators"])

    def shared(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {"n_estimators": parameters["n_estimators"]}


class ForestTrees(_FirstTrees):
    """Rule for `n_estimators` of forests."""

    name = "trees of a forest"
    classes = frozenset(
        f"sklearn.ensemble._forest.{kind}{task}"
        for kind in ("RandomForest", "ExtraTrees")
        for task in ("Classifier", "Regressor")
    )

    def derive(self, fit: SharedFit, member: Any) -> bool:
        state = dict(fit.state)
        state["estimators_"] = state["estimators_"][: member.n_estimators]
        out_of_bag = [name for name in state if name.startswith("oob_")]
        for name in out_of_bag:
            del state[name]
        vars(member).update(state)
        return not out_of_bag or _score_out_of_bag(fit, member)


def _score_out_of_bag(fit: SharedFit, member: Any) -> bool:
    """Have the member compute its out-of-bag attributes, by a warm start that adds no trees.

    Returns
    -------
    exact : bool
        False if the fit warned, as a separate fit would: with few trees, some samples are in every
        bag.
    """
    member.warm_start = True
    try:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            member.fit(*fit.arguments, **fit.fit_params)
    finally:
        member.warm_start = False
    return all(_is_of_warm_start(str(warning.message)) for warning in raised)


def _is_of_warm_start(text: str) -> bool:
    """Return True if a warning concerns warm starts alone, which a separate fit does not use."""
    return "does not fit new trees" in text or "not recommended for warm_start" in text


class BaggedEstimators(_FirstTrees):
    """Rule for `n_estimators` of bags."""

    name = "estimators of a bag"
    classes = frozenset(
        f"sklearn.ensemble._bagging.Bagging{task}" for task in ("Classifier", "Regressor")
    )

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        # `fit` computes out-of-bag scores from all its estimators.
        return N_ESTIMATORS if parameters["oob_score"] is False else frozenset()

    def derive(self, fit: SharedFit, member: Any) -> bool:
        state = dict(fit.state)
        for name in ("estimators_", "estimators_features_"):
            state[name] = state[name][: member.n_estimators]
        state[BAG_SEEDS] = state[BAG_SEEDS][: member.n_estimators].copy()
        vars(member).update(state)
        return True
