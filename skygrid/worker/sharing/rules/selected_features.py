"""Selection of features by scores that do not depend on the number selected."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from . import Rule, Setting, SharedFit, is_amount, is_count


class _Selection(Rule):
    within = True
    parameter = ""

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        return frozenset({self.parameter})


class BestFeatures(_Selection):
    """Rule for `k` of SelectKBest."""

    name = "scores of features, for every k"
    classes = frozenset({"sklearn.feature_selection._univariate_selection.SelectKBest"})
    parameter = "k"

    def answers(self, parameters: Mapping[str, Any]) -> bool:
        k = parameters["k"]
        return k == "all" if type(k) is str else is_count(k)

    def derive(self, fit: SharedFit, member: Any) -> bool:
        state = dict(fit.state)
        vars(member).update(state)
        # A fit warns if k is larger than the number of features.
        return not isinstance(member.k, numbers.Integral) or member.k <= len(state["scores_"])


class BestPercentile(_Selection):
    """Rule for `percentile` of SelectPercentile."""

    name = "scores of features, for every percentile"
    classes = frozenset({"sklearn.feature_selection._univariate_selection.SelectPercentile"})
    parameter = "percentile"

    def answers(self, parameters: Mapping[str, Any]) -> bool:
        return is_amount(parameters["percentile"])

    def derive(self, fit: SharedFit, member: Any) -> bool:
        vars(member).update(fit.state)
        return True
