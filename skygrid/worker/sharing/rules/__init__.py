"""Rules that decide which candidates one fit answers exactly, one file per kind.

A rule is about one estimator: alone, as the last step of a pipeline or, if `within`, as any step.
It states the parameters in which members of a group may differ, the parameters of the shared fit,
and how to derive a member's fitted estimator from it. Every class with a ``name`` in this package
is found by `rules` and by the tests that compare rules with separate fits.
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


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Facts about a search that a rule may use."""

    n_samples: int | None
    """Largest number of samples in a fit."""

    plain_scorer: bool
    """True if scores depend on predictions alone: the scorer is one of scikit-learn's own."""

    known_metrics: bool
    """True if the metrics too are scikit-learn's own: no user code receives predictions."""


@dataclass(frozen=True, kw_only=True)
class SharedFit:
    """A fit that answers several members."""

    estimator: Any
    """The fitted estimator with the rule's shared parameters. Never modified."""

    arguments: tuple[Any, ...]
    """Arguments of its `fit`: X and, if given, y."""

    fit_params: Mapping[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)
    """Results of `derive` for one member that it reuses for the next."""

    @functools.cached_property
    def state(self) -> Mapping[str, Any]:
        """Attributes that the fit has set, by name."""
        return MappingProxyType(fitted_state(self.estimator))


class Rule(ABC):
    """A reason for which one fit answers several candidates."""

    name: str
    """Description for reports."""

    classes: frozenset[str]
    """Exact classes of estimators, as ``module.Class``."""

    within = False
    """True if the rule also holds for pipeline steps other than the last."""

    @abstractmethod
    def free(self, parameters: Mapping[str, Any], setting: Setting) -> frozenset[str]:
        """Return the parameters that members may differ in; empty if the rule does not apply.

        Parameters
        ----------
        parameters : mapping
            Parameters of one candidate's estimator. The answer must not depend on the free ones.
        setting : Setting
        """

    def answers(self, parameters: Mapping[str, Any]) -> bool:
        """Return True if the rule knows the values of this member's free parameters."""
        return True

    def weight(self, parameters: Mapping[str, Any]) -> float:
        """Return the relative duration of a separate fit of this member.

        A member's fit time is reported as the time of the shared fit, times its weight, divided by
        the largest weight in the group.
        """
        return 1.0

    def shared(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the free parameters of the shared fit, given those of the member of largest
        weight."""
        return {}

    @abstractmethod
    def derive(self, fit: SharedFit, member: Any) -> bool:
        """Make the unfitted `member` equal to the result of its own fit.

        Returns
        -------
        done : bool
            False if the fit does not answer this member, which is then fitted separately.
        """


def is_count(value: Any) -> bool:
    """Return True if a value is a positive integer of a type that scikit-learn accepts."""
    return type(value) in {int, np.int32, np.int64} and value > 0


def is_amount(value: Any) -> bool:
    """Return True if a value is a finite number that is not negative."""
    return type(value) in {int, float, np.float64} and 0 <= value < math.inf


def fitted_state(estimator: Any) -> dict[str, Any]:
    """Return the attributes that `fit` has set on an estimator, by name, without parameters."""
    parameters = estimator.get_params(deep=False)
    return {name: value for name, value in vars(estimator).items() if name not in parameters}


@functools.cache
def rules() -> Mapping[str, Rule]:
    """Return every rule of this package by its name."""
    found: dict[str, Rule] = {}
    for module in pkgutil.iter_modules(__path__):
        for item in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            rule = isinstance(item, type) and issubclass(item, Rule)
            if rule and hasattr(item, "name"):
                found[item.name] = item()
    return found


@functools.cache
def rule_for(class_name: str) -> Rule | None:
    """Return the rule about a class, or None."""
    return next((rule for rule in rules().values() if class_name in rule.classes), None)
