"""Pipelines as the steps that a fit goes through, and a digest for each point between them.

The digest of a level names what has happened to X up to there: the steps before and the step
itself, each by its `identity`. Levels of two candidates with equal digests hold equal fitted
transformers and equal output, on the same split.
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
"""Stands for the training data of a split."""


@dataclass(frozen=True)
class Step:
    """An estimator at its place."""

    path: str
    """What its parameters are called by, without the last ``__``; empty for the whole estimator."""

    estimator: Any


@dataclass(frozen=True)
class UnfoldedPipeline:
    """A pipeline with the pipelines in it unfolded."""

    steps: tuple[Step, ...]
    """All that transform, in order; those that pass X through are left out."""

    last: Step | None
    """What comes after them; None if that passes X through."""


@dataclass(frozen=True)
class Level:
    """A step of a pipeline after its fit."""

    digest: str | None
    """None if the step is not certain; then it is the last level."""

    state: str | None
    """Digest of what its fit finds out for all values of its rule's free parameters."""

    branches: tuple[tuple[Level, ...], ...]
    """Levels within it, of each transformer that it applies to its input or to columns of it."""


def unfold(estimator: Any) -> UnfoldedPipeline:
    """The steps that a fit of an estimator goes through.

    Parameters
    ----------
    estimator : estimator
        Anything; what is not a Pipeline, or one that caches, is one step.

    Raises
    ------
    Uncertain
        If metadata requests or callbacks are set on a pipeline.
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
    """The levels of these steps that are certain, from the first step on.

    Parameters
    ----------
    steps : sequence of estimator
    context : str
        Digest of what the first step is given.

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
        # A transformer that is not certain might write into what its neighbours are given too, so
        # there are no branches unless all of them are.
        own = digest(context, estimator_key(step))
        branches = tuple(
            levels([part.estimator for part in whole(transformer)], inner)
            for inner, transformer in branches_of(step, context)
        )
        return Level(own, _state(step, context), branches)
    except Uncertain:
        return Level(None, None, ())


def whole(transformer: Any) -> tuple[Step, ...]:
    """All steps of a transformer, the last one included."""
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
    """The transformers within a ColumnTransformer or FeatureUnion, if it fits these very objects.

    Yields
    ------
    context : str
        Digest of what the transformer is given.
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
    """All digests of levels, of states and of what is within them."""
    for level in line:
        yield from (name for name in (level.digest, level.state) if name is not None)
        for branch in level.branches:
            yield from every_digest(branch)


def last_kept(line: Sequence[Level], kept: Collection[str], *, states: bool) -> int:
    """Index of the last level that others have too; -1 where there is none.

    Parameters
    ----------
    line : sequence of Level
    kept : collection of str
        Digests that are worth keeping.
    states : bool
        Whether a level counts of which only the state is kept.
    """
    return max(
        (
            index
            for index, level in enumerate(line)
            if level.digest in kept or (states and level.state in kept)
        ),
        default=-1,
    )
