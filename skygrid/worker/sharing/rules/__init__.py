"""Rules: which candidates one fit answers exactly. One class in one file for each.

A rule is about one estimator, wherever it stands: alone, as the last step of a pipeline, or
(`within`) as any step of it. It says which parameters members of a group may differ in, with which
parameters the one fit is made, and how a member's fitted estimator follows from it. A class of this
package that has a ``name`` is found by itself, here and by the tests that compare every rule with
separate fits.
"""

from __future__ import annotations

import functools
import importlib
import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

TESTED = (1, 9)
"""The newest release of scikit-learn, major and minor, on which every rule was compared."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a rule may know about a search."""

    n_samples: int | None
    """Most samples that a fit sees."""

    plain_scorer: bool
    """Scores come from predictions alone: the scorer is one of scikit-learn's own."""

    known_metrics: bool
    """So are its metrics: no code of the user's is given anything."""


@dataclass(frozen=True, kw_only=True)
class SharedFit:
    """A fit that was made for several members."""

    estimator: Any
    """Fitted, with the rule's own parameters. Never changed."""

    arguments: tuple[Any, ...]
    """What its `fit` was given: X and, if there is one, y."""

    fit_params: Mapping[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)
    """What `derive` has computed for one member and may use for the next."""

    @functools.cached_property
    def state(self) -> Mapping[str, Any]:
        """Everything that the fit has set on the estimator, by name."""
        return MappingProxyType(fitted_state(self.estimator))


class Rule(ABC):
    """One reason why a fit answers more than one candidate."""

    name: str
    """In words, for people."""

    classes: frozenset[str]
    """Exact classes that it is about, as ``module.Class``."""

    within = False
    """Also for steps that are not the last one of a pipeline."""

    @abstractmethod
    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        """Parameters that members may differ in; empty where the rule does not apply.

        Parameters
        ----------
        parameters : mapping
            Of one candidate's estimator. The answer follows from those that are not free.
        setting : Setting
        """

    def answers(self, parameters: Mapping[str, Any]) -> bool:
        """Whether the free parameters of this member have values that the rule knows."""
        return True

    def weight(self, parameters: Mapping[str, Any]) -> float:
        """How long a separate fit of this member takes, in any unit.

        A member's fit time is the time of the shared fit, times its weight, divided by the largest
        weight in the group.
        """
        return 1.0

    def shared(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Free parameters of the one fit, given those of the member of the largest weight."""
        return {}

    @abstractmethod
    def derive(self, fit: SharedFit, member: Any) -> bool:
        """Make `member`, which is not fitted, what its own fit would have made of it.

        Returns
        -------
        done : bool
            False if the fit turned out not to answer this member, which is then fitted.
        """


def is_count(value: Any) -> bool:
    """Whether a value is a whole number above 0 that scikit-learn takes as one."""
    return type(value) in {int, np.int32, np.int64} and value > 0


def is_amount(value: Any) -> bool:
    """Whether a value is a finite number that is not negative."""
    return type(value) in {int, float, np.float64} and 0 <= value < math.inf


def fitted_state(estimator: Any) -> dict[str, Any]:
    """Everything that `fit` has set on an estimator, by name; parameters are left out."""
    parameters = estimator.get_params(deep=False)
    return {name: value for name, value in vars(estimator).items() if name not in parameters}


@functools.cache
def rules() -> Mapping[str, Rule]:
    """Every rule of this package by its name.

    Returns
    -------
    rules : mapping of str to Rule
    """
    found: dict[str, Rule] = {}
    for module in pkgutil.iter_modules(__path__):
        for item in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            rule = isinstance(item, type) and issubclass(item, Rule)
            if rule and hasattr(item, "name"):
                found[item.name] = item()
    return found


@functools.cache
def rule_for(class_name: str) -> Rule | None:
    """The rule about a class; None where there is none."""
    return next((rule for rule in rules().values() if class_name in rule.classes), None)
