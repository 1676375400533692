"""Parameters that the kernel of a support vector machine ignores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import Rule, Setting, SharedFit

UNUSED = {
    "linear": frozenset({"gamma", "degree", "coef0"}),
    "precomputed": frozenset({"gamma", "degree", "coef0"}),
    "rbf": frozenset({"degree", "coef0"}),
    "sigmoid": frozenset({"degree"}),
}
"""Parameters that each kernel ignores, from the formulas in `sklearn.svm.SVC`."""


class UnusedKernelParameters(Rule):
    """Rule for `gamma`, `degree` and `coef0` under a kernel that ignores them."""

    name = "parameters that the kernel ignores"
    classes = frozenset(
        f"sklearn.svm._classes.{kind}" for kind in ("SVC", "SVR", "NuSVC", "NuSVR", "OneClassSVM")
    )

    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        kernel = parameters["kernel"]
        if type(kernel) is not str or not setting.plain_scorer:
            return frozenset()  # custom scorers may read the fitted `_gamma`
        return UNUSED.get(kernel, frozenset())

    def derive(self, fit: SharedFit, member: Any) -> bool:
        vars(member).update(fit.state)
        # With "scale", `fit` computes a variance, which may warn about overflow.
        return bool(member.gamma != "scale" or fit.estimator.gamma == "scale")
