"""Candidates that one fit answers exactly, and candidates that share a pipeline prefix.

Pure: estimators are cloned and inspected, never fitted. A candidate that leaves any doubt has no
group and no prefix.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sklearn
from sklearn.base import clone

from skygrid.worker.evaluation.contents import Group, Sharing
from skygrid.worker.evaluation.sklearn_private import is_tested_release
from skygrid.worker.sharing.identity import (
    KEEPS_SAMPLES,
    PREDICTORS,
    Uncertain,
    check_certain,
    class_name,
    class_or_none,
    is_patched,
    is_plain_scorer,
    output_key,
    parameter_keys,
    uses_known_metrics,
    value_key,
)
from skygrid.worker.sharing.pipelines import (
    Level,
    UnfoldedPipeline,
    every_digest,
    last_kept,
    levels,
    unfold,
)
from skygrid.worker.sharing.rules import Rule, Setting, rule_for, rules


def find_sharing(
    estimator: Any,
    candidates: Sequence[Mapping[str, Any]],
    *,
    scorer: Any,
    n_samples: int | None,
) -> Sharing:
    """Find work that fits can share; doubtful cases are left out.

    Parameters
    ----------
    estimator : estimator
        The search's estimator.
    candidates : sequence of mapping
        Parameter settings.
    scorer : callable
        The scorer that scikit-learn made from ``scoring``.
    n_samples : int or None
        Number of samples in X, None if unknown.
    """
    nothing = Sharing(prefixes=(-1,) * len(candidates))
    if not is_tested_release() or sklearn.get_config()["enable_metadata_routing"]:
        return nothing
    setting = Setting(
        n_samples=n_samples,
        plain_scorer=is_plain_scorer(scorer),
        known_metrics=uses_known_metrics(scorer),
    )
    sketches = _Sketches(estimator, setting)
    sketched = [sketches.of(candidate) for candidate in candidates]
    if not any(sketch is not None for sketch in sketched):
        return nothing
    groups = _groups(sketched)
    kept = _kept(_units(groups, sketched))
    return Sharing(groups=groups, prefixes=_prefixes(sketched, kept), kept=kept)


@dataclass(frozen=True)
class _Sketch:
    """Sharing facts of one candidate."""

    line: tuple[Level, ...]
    group: Hashable | None
    """Candidates with the same key are answered by one fit; None: a fit of its own."""

    rule: Rule | None
    weight: float


def _groups(sketches: Sequence[_Sketch | None]) -> tuple[Group, ...]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, sketch in enumerate(sketches):
        if sketch is not None and sketch.group is not None:
            members[sketch.group].append(index)
    return tuple(_group(indices, sketches) for indices in members.values() if len(indices) > 1)


def _group(indices: Sequence[int], sketches: Sequence[_Sketch | None]) -> Group:
    known = {index: sketch for index in indices if (sketch := sketches[index]) is not None}
    rule = known[indices[0]].rule
    assert rule is not None  # the rule made the group
    return Group(
        members=tuple(sorted(known, key=lambda index: -known[index].weight)), rule=rule.name
    )


def _units(
    groups: Sequence[Group], sketches: Sequence[_Sketch | None]
) -> Iterator[tuple[Level, ...]]:
    """Yield the pipeline line of every fit that will be made."""
    answered = {member for group in groups for member in group.members[1:]}
    for index, sketch in enumerate(sketches):
        if sketch is not None and index not in answered:
            yield sketch.line


def _kept(units: Iterator[tuple[Level, ...]]) -> frozenset[str]:
    lines = Counter(units)
    fits: Counter[str] = Counter()
    for line, number in lines.items():
        for name in set(every_digest(line)):
            fits[name] += number
    kept: set[str] = set()
    for line in lines:
        kept.update(_worth_keeping(line, fits, 1))
    return frozenset(kept)


def _worth_keeping(line: Sequence[Level], fits: Counter[str], around: int) -> Iterator[str]:
    """Yield the levels that more fits share than the next level or the enclosing one."""
    for index, level in enumerate(line):
        own = fits[level.digest] if level.digest is not None else 0
        after = line[index + 1].digest if index + 1 < len(line) else None
        if level.digest is not None and own > max(around, fits[after] if after else 0):
            yield level.digest
        if level.state is not None and fits[level.state] > max(around, own):
            yield level.state
        for branch in level.branches:
            yield from _worth_keeping(branch, fits, max(around, own))


def _prefixes(sketches: Sequence[_Sketch | None], kept: frozenset[str]) -> tuple[int, ...]:
    numbers: dict[Hashable, int] = {}
    found: dict[tuple[Level, ...], int] = {}

    def number(line: tuple[Level, ...]) -> int:
        if line not in found:
            last = last_kept(line, kept, states=True)
            known = sorted(kept.intersection(every_digest(line)))
            # Without a kept level, steps within a level may still be kept.
            key = known[0] if known else None
            if last >= 0:
                level = line[last]
                key = level.digest if level.digest in kept else level.state
            found[line] = -1 if key is None else numbers.setdefault(key, len(numbers))
        return found[line]

    return tuple(number(sketch.line) if sketch is not None else -1 for sketch in sketches)


class _Sketches:
    """Makes sketches of candidates; the setting of each step is inspected once."""

    def __init__(self, estimator: Any, setting: Setting) -> None:
        self._estimator = estimator
        self._setting = setting
        self._shapes: dict[Hashable, _Shape | None] = {}

    def of(self, candidate: Mapping[str, Any]) -> _Sketch | None:
        """Return the sketch of a candidate; None if nothing is certain."""
        replaced = {name: value for name, value in candidate.items() if _replaces(value)}
        key = tuple((name, _replacement_key(value)) for name, value in sorted(replaced.items()))
        if key not in self._shapes:
            self._shapes[key] = self._shape(replaced)
        shape = self._shapes[key]
        if shape is None:
            return None
        set_within = {name: value for name, value in candidate.items() if name not in replaced}
        return shape.sketch(set_within)

    def _shape(self, replaced: Mapping[str, Any]) -> _Shape | None:
        try:
            whole = clone(self._estimator).set_params(**clone(dict(replaced), safe=False))
            if any(map(_has_foreign_methods, _kinds(whole))):
                return None
            return _Shape(unfold(whole), self._setting)
        except Exception:  # noqa: BLE001 (the separate fit will raise it)
            return None


def _kinds(estimator: Any) -> set[type]:
    """Return the classes of an estimator and of all parameter values."""
    return {type(estimator), *map(type, estimator.get_params().values())}


def _has_foreign_methods(kind: type) -> bool:
    return kind.__module__.startswith("sklearn.") and is_patched(kind)


def _replaces(value: Any) -> bool:
    """Return whether a value may replace a whole step."""
    if isinstance(value, list | tuple):
        return any(map(_replaces, value))
    return value is None or isinstance(value, str) or hasattr(value, "get_params")


def _replacement_key(value: Any) -> Hashable:
    # Estimators of a grid are the same objects in all of its candidates.
    return value if value is None or type(value) is str else id(value)


class _Shape:
    """Candidates with the same steps, which differ in plain values only."""

    def __init__(self, unfolded: UnfoldedPipeline, setting: Setting) -> None:
        self._unfolded = unfolded
        self._setting = setting
        self._paths = tuple(step.path for step in unfolded.steps)
        self._levels: dict[Hashable, tuple[Level, ...]] = {}
        self._places: dict[str, tuple[int | None, str]] = {}
        self._last = None if unfolded.last is None else _Last(unfolded.last.estimator, setting)

    def sketch(self, values: Mapping[str, Any]) -> _Sketch | None:
        """Return the sketch of the candidate with these values."""
        try:
            of_steps, of_last = self._sorted(values)
            line = self._line_levels(of_steps)
            certain = len(line) == len(self._paths) and (not line or line[-1].digest is not None)
            if self._last is None or not certain:
                return _Sketch(line, None, None, 1.0)
            return self._last.sketch(line, self._paths, of_last)
        except Exception:  # noqa: BLE001 (the separate fit will raise it)
            return None

    def _sorted(
        self, values: Mapping[str, Any]
    ) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
        """Sort the values by the step that they are set on."""
        of_steps: dict[int, dict[str, Any]] = {}
        of_last: dict[str, Any] = {}
        for name, value in values.items():
            if name not in self._places:
                self._places[name] = self._place(name)
            index, within = self._places[name]
            if index is None:
                of_last[within] = value
            else:
                of_steps.setdefault(index, {})[within] = value
        return of_steps, of_last

    def _place(self, name: str) -> tuple[int | None, str]:
        """Return the index of a parameter's step, None for the last, and its name there."""
        for index, path in enumerate(self._paths):
            if name.startswith(f"{path}__"):
                return index, name[len(path) + 2 :]
        last = self._unfolded.last
        if last is not None and last.path == "":
            return None, name
        if last is None or not name.startswith(f"{last.path}__"):
            raise Uncertain  # it is set on a pipeline
        return None, name[len(last.path) + 2 :]

    def _line_levels(self, of_steps: Mapping[int, Mapping[str, Any]]) -> tuple[Level, ...]:
        try:
            key = tuple(
                (index, name, value_key(value))
                for index, values in sorted(of_steps.items())
                for name, value in values.items()
            )
        except Uncertain:
            return self._compute(of_steps)
        if key not in self._levels:
            self._levels[key] = self._compute(of_steps)
        return self._levels[key]

    def _compute(self, of_steps: Mapping[int, Mapping[str, Any]]) -> tuple[Level, ...]:
        return levels(
            [
                _with(step.estimator, of_steps.get(index, {}))
                for index, step in enumerate(self._unfolded.steps)
            ]
        )


def _with(estimator: Any, values: Mapping[str, Any]) -> Any:
    if not values:
        return estimator
    return clone(estimator).set_params(**clone(dict(values), safe=False))


class _Last:
    """The last estimator of a shape; one fit may answer several settings of its parameters."""

    def __init__(self, estimator: Any, setting: Setting) -> None:
        self._estimator = estimator
        self._setting = setting
        self._parameters = estimator.get_params(deep=False)
        try:
            self._name = class_name(type(estimator))
            self._output = output_key(estimator)
        except Uncertain:  # without a name nothing is shared
            self._name = ""
        self._staying: dict[frozenset[str], frozenset[tuple[str, Hashable]]] = {}
        self._rule = rule_for(self._name)
        kinds = {class_or_none(kind) for kind in _kinds(estimator)}
        if not setting.known_metrics and kinds & KEEPS_SAMPLES:
            self._name, self._rule = "", None

    def sketch(
        self, line: tuple[Level, ...], paths: tuple[str, ...], values: Mapping[str, Any]
    ) -> _Sketch:
        """Return the sketch of the candidate with these values, after this line."""
        try:
            if self._name not in PREDICTORS and self._rule is None:
                raise Uncertain
            parameters = self._set(values)
            check_certain(self._name, parameters)
            rule, free = self._applying(parameters)
            fixed = {name: value for name, value in parameters.items() if name not in free}
            before = line[-1].digest if line else ""
            own = (self._name, self._output, self._parameter_keys(fixed, values))
            group = (before, paths, rule.name, own)
            return _Sketch(line, group, rule, rule.weight(parameters) if free else 1.0)
        except Uncertain:
            return _Sketch(line, None, None, 1.0)

    def _set(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if any("__" in name or name not in self._parameters for name in values):
            found: Mapping[str, Any] = _with(self._estimator, values).get_params(deep=False)
            return found
        return {**self._parameters, **values}

    def _applying(self, parameters: Mapping[str, Any]) -> tuple[Rule, frozenset[str]]:
        rule = self._rule
        if rule is not None and rule.answers(parameters):
            free = rule.free(parameters, self._setting)
            if free:
                return rule, free
        return rules()["the same candidate"], frozenset()

    def _parameter_keys(
        self, fixed: Mapping[str, Any], values: Mapping[str, Any]
    ) -> frozenset[tuple[str, Hashable]]:
        """Return the keys of the parameters that members share, from a cache where unchanged."""
        changed = frozenset(name.partition("__")[0] for name in values)
        staying = frozenset(fixed) - changed
        if staying not in self._staying:
            self._staying[staying] = parameter_keys(
                self._name, {name: fixed[name] for name in staying}
            )
        own = {name: fixed[name] for name in changed if name in fixed}
        return self._staying[staying] | parameter_keys(self._name, own)
