"""Rounds of boosting: the first n rounds of a longer fit equal a fit of n rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skygrid.worker.evaluation.sklearn_private import BOOSTED_TREES

from . import Rule, Setting, SharedFit, is_count

AUTOMATIC_EARLY_STOPPING = 10_000
"""Number of samples above which HistGradientBoosting with ``early_stopping="auto"`` stops early."""


class _Rounds(Rule):
    parameter = "n_estimators"

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        return frozenset({self.parameter})

    def answers(self, parameters: Mapping[str, Any]) -> bool:
        return is_count(parameters[self.parameter])

    def weight(self, parameters: Mapping[str, Any]) -> float:
        return float(parameters[self.parameter])

    def shared(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {self.parameter: parameters[self.parameter]}


class GradientBoostingStages(_Rounds):
    """Rule for `n_estimators` of GradientBoosting; early stopping depends only on past rounds."""

    name = "stages of gradient boosting"
    classes = frozenset(
        f"sklearn.ensemble._gb.GradientBoosting{task}" for task in ("Classifier", "Regressor")
    )

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        # The fit's RandomState is an attribute that a custom scorer may use, and the further rounds
        # have advanced it.
        return super().free(parameters, setting) if setting.plain_scorer else frozenset()

    def derive(self, fit: SharedFit, member: Any) -> bool:
        state = dict(fit.state)
        n_stages = min(int(member.n_estimators), state["n_estimators_"])
        state["n_estimators_"] = n_stages
        for name in ("estimators_", "train_score_", "oob_improvement_", "oob_scores_"):
            if name in state:
                state[name] = state[name][:n_stages].copy()
        if "oob_score_" in state:
            state["oob_score_"] = state["oob_scores_"][-1]
        vars(member).update(state)
        return True


class HistGradientBoostingRounds(_Rounds):
    """Rule for `max_iter` of HistGradientBoosting without early stopping."""

    name = "rounds of histogram gradient boosting"
    classes = frozenset(
        f"sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoosting{task}"
        for task in ("Classifier", "Regressor")
    )
    parameter = "max_iter"

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        early = parameters["early_stopping"]
        few = setting.n_samples is not None and setting.n_samples <= AUTOMATIC_EARLY_STOPPING
        exact = early is False or (early == "auto" and few)
        return super().free(parameters, setting) if exact else frozenset()

    def derive(self, fit: SharedFit, member: Any) -> bool:
        state = dict(fit.state)
        state[BOOSTED_TREES] = state[BOOSTED_TREES][: member.max_iter]
        vars(member).update(state)
        return not state["do_early_stopping_"]


class AdaBoostRounds(_Rounds):
    """Rule for `n_estimators` of AdaBoost; weights and errors are cut too."""

    name = "estimators of AdaBoost"
    classes = frozenset(
        f"sklearn.ensemble._weight_boosting.AdaBoost{task}" for task in ("Classifier", "Regressor")
    )

    def derive(self, fit: SharedFit, member: Any) -> bool:
        state = dict(fit.state)
        state["estimators_"] = state["estimators_"][: member.n_estimators]
        for name in ("estimator_weights_", "estimator_errors_"):
            state[name] = state[name][: member.n_estimators].copy()
        vars(member).update(state)
        return True
