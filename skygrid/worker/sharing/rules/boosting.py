"""More rounds of the same boosting: the first n of them are the shorter one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import Rule, Setting, SharedFit, is_count

AUTOMATIC_EARLY_STOPPING = 10_000
"""Samples above which HistGradientBoosting stops early when told "auto"."""


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
    """`n_estimators` of GradientBoosting; early stopping looks only at rounds that were."""

    name = "stages of gradient boosting"
    classes = frozenset(
        f"sklearn.ensemble._gb.GradientBoosting{task}" for task in ("Classifier", "Regressor")
    )

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        # Its random state is an attribute, which a scorer may read or go on with, and further
        # rounds have advanced it.
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
    """`max_iter` of HistGradientBoosting, where nothing stops it early."""

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
        state["_predictors"] = state["_predictors"][: member.max_iter]
        vars(member).update(state)
        return not state["do_early_stopping_"]


class AdaBoostRounds(_Rounds):
    """`n_estimators` of AdaBoost: weights and errors are cut as well."""

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
