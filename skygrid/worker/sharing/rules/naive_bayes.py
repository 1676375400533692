"""Gaussian naive Bayes: smoothing is added after the variances are computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import Rule, Setting, SharedFit, is_amount


class SmoothedVariances(Rule):
    """Rule for `var_smoothing` of GaussianNB.

    A fit adds `epsilon_`, which is ``var_smoothing`` times the largest variance of a feature, to
    every variance. The shared fit has a smoothing of 0 and thus the bare variances. `derive`
    computes the largest variance as `fit` does.
    """

    name = "smoothing of naive Bayes"
    classes = frozenset({"sklearn.naive_bayes.GaussianNB"})

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        return frozenset({"var_smoothing"})

    def answers(self, parameters: Mapping[str, Any]) -> bool:
        return is_amount(parameters["var_smoothing"])

    def shared(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {"var_smoothing": 0.0}

    def derive(self, fit: SharedFit, member: Any) -> bool:
        state = dict(fit.state)
        if "largest" not in fit.notes:
            fit.notes["largest"] = _largest_variance(fit)
        state["epsilon_"] = member.var_smoothing * fit.notes["largest"]
        state["var_"] = state["var_"].copy()
        # In place, as in `fit`: the variances keep their dtype, which may be smaller than that of
        # epsilon.
        state["var_"][:, :] += state["epsilon_"]
        vars(member).update(state)
        return True


def _largest_variance(fit: SharedFit) -> Any:
    import numpy as np
    from sklearn.utils import check_array

    return np.max(np.var(check_array(fit.arguments[0]), axis=0))
