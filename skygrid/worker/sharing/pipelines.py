"""Steps of pipelines, and a digest of the data after each step.

The digest of a level identifies its step and all steps before it by their keys (see `identity`). On
one split, levels with equal digests have equal fitted transformers and equal output.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from skygrid.worker.evaluation.joblib_backend import sends_copies

from .identity import (
    TRANSFORMERS,
    Uncertain,
    class_name,
    class_or_none,
    digest,
    estimator_key,
    output_key,
    parameter_keys,
    value_key,
)
from .rules import Setting, rule_for

PIPELINE = "sklearn.pipeline.Pipeline"
UNION = "sklearn.pipeline.FeatureUnion"
COLUMNS = "sklearn.compose._column_transformer.ColumnTransformer"

START = "X"
"""Context of the first step: the training data of a split."""


@dataclass(frozen=True)
class Step:
    """An estimator and its place in a pipeline."""

    path: str
    """Prefix of its parameters' names without the last ``__``; empty for the whole estimator."""

    estimator: Any


@dataclass(frozen=True)
class UnfoldedPipeline:
    """A pipeline whose nested pipelines are flattened."""

    steps: tuple[Step, ...]
    """Transformers in order; "passthrough" steps are left out."""

    last: Step | None
    """The final step; None if it is "passthrough"."""


@dataclass(frozen=True)
class Level:
    """A fitted step of a pipeline."""

    digest: str | None
    """None if the step is uncertain; such a level is the last one."""

    state: str | None
    """Digest of the part of its fit that is independent of its rule's free parameters."""

    branches: tuple[tuple[Level, ...], ...]
    """Levels of each transformer inside the step, if it has any."""


def unfold(estimator: Any) -> UnfoldedPipeline:
    """Return the steps of an estimator, with nested pipelines flattened.

    Parameters
    ----------
    estimator : estimator
        An estimator that is not a Pipeline, or a Pipeline that caches, is one step.

    Raises
    ------
    Uncertain
        If a pipeline has metadata requests or callbacks.
    """
    steps = list(_flat(estimator, ""))
    *before, last = steps
    return UnfoldedPipeline(
        tuple(step for step in before if step.estimator is not None),
        last if last.estimator is not None else None,
    )


def _flat(estimator: Any, path: str) -> Iterator[Step]:
    if class_or_none(type(estimator)) != PIPELINE or not _plain(estimator):
        yield Step(path, estimator)
        return
    for name, step in estimator.steps:
        if step is None or (isinstance(step, str) and step == "passthrough"):
            yield Step("", None)
        else:
            yield from _flat(step, f"{path}__{name}" if path else name)


def _plain(pipeline: Any) -> bool:
    output_key(pipeline)
    parameters = pipeline.get_params(deep=False)
    return parameters["memory"] is None and parameters.get("transform_input") is None


def levels(steps: Sequence[Any], context: str = START) -> tuple[Level, ...]:
    """Return the levels of steps up to and including the first uncertain one.

    Parameters
    ----------
    steps : sequence of estimator
    context : str
        Digest of the first step's input.

    Returns
    -------
    levels : tuple of Level
        At most one for each step.
    """
    found: list[Level] = []
    for step in steps:
        level = _level(step, context)
        found.append(level)
        if level.digest is None:
            break
        context = level.digest
    return tuple(found)


def _level(step: Any, context: str) -> Level:
    try:
        if class_name(type(step)) not in TRANSFORMERS:
            raise Uncertain
        # An uncertain transformer may write into the input of its siblings: a step has branches
        # only if all of them are certain.
        own = digest(context, estimator_key(step))
        branches = tuple(
            levels([part.estimator for part in whole(transformer)], inner)
            for inner, transformer in branches_of(step, context)
        )
        return Level(own, _state(step, context), branches)
    except Uncertain:
        return Level(None, None, ())


def whole(transformer: Any) -> tuple[Step, ...]:
    """Return all steps of a transformer, the last one included."""
    unfolded = unfold(transformer)
    return (*unfolded.steps, unfolded.last) if unfolded.last else unfolded.steps


def _state(step: Any, context: str) -> str | None:
    name = class_name(type(step))
    rule = rule_for(name)
    parameters = step.get_params(deep=False)
    if rule is None or not rule.within or not rule.answers(parameters):
        return None
    setting = Setting(n_samples=None, plain_scorer=False, known_metrics=False)
    free = rule.free(parameters, setting)
    fixed = {name: value for name, value in parameters.items() if name not in free}
    return digest("state", context, name, output_key(step), parameter_keys(name, fixed))


def branches_of(step: Any, context: str) -> Iterator[tuple[str, Any]]:
    """Yield the transformers inside a ColumnTransformer or FeatureUnion, unless it fits copies.

    Yields
    ------
    context : str
        Digest of the transformer's input.
    transformer : estimator
    """
    kind = class_or_none(type(step))
    if kind not in (COLUMNS, UNION) or sends_copies(step.n_jobs):
        return
    if kind == COLUMNS:
        for _, transformer, columns in step.transformers:
            if not isinstance(transformer, str):
                yield digest(context, "columns", value_key(columns)), transformer
    else:
        for _, transformer in step.transformer_list:
            if not isinstance(transformer, str):
                yield context, transformer


def every_digest(line: Sequence[Level]) -> Iterator[str]:
    """Yield the digests and states of levels and of their branches."""
    for level in line:
        yield from (name for name in (level.digest, level.state) if name is not None)
        for branch in level.branches:
            yield from every_digest(branch)


def last_kept(line: Sequence[Level], kept: Collection[str], *, states: bool) -> int:
    """Return the index of the last kept level, or -1.

    Parameters
    ----------
    line : sequence of Level
    kept : collection of str
        Digests that are worth keeping.
    states : bool
        Count levels of which only the state is kept.
    """
    return max(
        (
            index
            for index, level in enumerate(line)
            if level.digest in kept or (states and level.state in kept)
        ),
        default=-1,
    )
