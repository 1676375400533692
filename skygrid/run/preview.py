"""Preview of a search before it runs: its rounds, its price and one trial fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.errors import SearchFailedError, SkygridError
from skygrid.journal.in_memory import MemoryJournal
from skygrid.listener import Listener
from skygrid.nodes.records import Quote
from skygrid.nodes.registry import place_of
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.plan.spec import SearchSpec
from skygrid.reports.plain_values import plain_parameters
from skygrid.reports.shared_work import SharedWork, planned_sharing
from skygrid.reports.views import CheckResult, RoundSize
from skygrid.run.interrupts import Interrupts
from skygrid.run.rounds import JournaledRounds
from skygrid.run.setup import policies_of
from skygrid.search_file.classic_mistakes import classic_mistakes
from skygrid.sklearn_search.dry_run import Outline, outline
from skygrid.sklearn_search.sharing import sharing_of
from skygrid.util.process import Interruption
from skygrid.worker.evaluation.exception_records import text_or_none
from skygrid.worker.wire.scores import from_wire


def check_loaded(
    spec: SearchSpec,
    config: RunConfig,
    listener: Listener,
    engine: PullEngine | None,
    quote: Quote | None = None,
) -> CheckResult:
    """Count the fits of a search, and run the first one.

    Parameters
    ----------
    spec : SearchSpec
    config : RunConfig
    listener : Listener
    engine : PullEngine or None
        Runs the trial fit; None: no trial.
    quote : Quote, optional
        Nodes to be rented.
    """
    with search_errors():
        plan = outline(spec.search, spec.X, spec.y, spec.fit_params)
    place = place_of(config)
    slots = place.slots(config)
    if quote is not None:
        slots = quote.nodes * (config.concurrency or quote.vcpus)
    found = CheckResult(
        search=type(spec.search).__name__,
        rounds=tuple(RoundSize(candidates=c, splits=s) for c, s in plan.rounds),
        on=config.on,
        nodes=place.nodes(config),
        slots=slots,
        open_ended=not plan.complete,
        shared=None if config.no_sharing else _planned(plan),
        quote=quote,
        notes=_mistakes(spec, plan),
    )
    if engine is None or not plan.first.n_tasks:
        return found
    listener.phase("searching" if quote is None else "trying one fit here")
    engine.set_modules(spec.imported)
    return _with_sample(found, spec, plan, config, engine, listener)


def _with_sample(
    found: CheckResult,
    spec: SearchSpec,
    plan: Outline,
    config: RunConfig,
    engine: PullEngine,
    listener: Listener,
) -> CheckResult:
    first = plan.first
    rounds = JournaledRounds(
        engine,
        MemoryJournal(),
        policies_of(config),
        listener,
        code=spec.code,
        sharing=False,
    )
    rounds.begin(plan.data, plan.work)
    one = RoundPlan(
        round=0, candidates=first.candidates[:1], splits=first.splits[:1], scores=first.scores
    )
    with Interrupts(engine.interrupt, engine.kill), search_errors():
        _, (outcome,) = rounds.evaluate(one)
    here = sum(node.slots for node in engine.greetings.values())
    return msgspec.structs.replace(
        found,
        slots=here if found.quote is None else found.slots,
        seconds_per_fit=outcome.fit_seconds + outcome.score_seconds,
        sample_params=plain_parameters(first.candidates[0]),
        sample_score=_plain_scores(outcome),
        sample_error=outcome.fit_error,
        notes=(
            *found.notes,
            *(f"{kind}: {text}" for kind, text, _ in rounds.warnings.counted()),
        ),
    )


def _mistakes(spec: SearchSpec, plan: Outline) -> tuple[str, ...]:
    first = plan.first
    if not first.candidates:
        return ()
    return tuple(
        classic_mistakes(
            spec.search, spec.X, spec.y, spec.fit_params, first.candidates[0], first.splits
        )
    )


def _planned(plan: Outline) -> SharedWork:
    first = plan.first
    sharing = sharing_of(plan.work, plan.data.X, first)
    return planned_sharing(sharing, len(first.candidates), len(first.splits))


def _plain_scores(outcome: Outcome) -> Any:
    if outcome.test_scores is None:
        return None
    scores = from_wire(outcome.test_scores)
    if isinstance(scores, dict):
        return {name: _finite(score) for name, score in scores.items()}
    return _finite(scores)


def _finite(score: Any) -> float | None:
    number = float(score)
    return number if abs(number) != float("inf") and number == number else None


@contextmanager
def search_errors() -> Iterator[None]:
    """Turn every exception from ``fit`` into `SearchFailedError`.

    User code may also raise `SystemExit`, which would end this process without a message, or
    `KeyboardInterrupt`. One that a fit raised has a note; one without comes from the keyboard.
    """
    try:
        yield
    except (SkygridError, Interruption):
        raise
    except BaseException as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        if isinstance(error, KeyboardInterrupt) and not notes:
            raise
        raise SearchFailedError(_said(error) + (f"\n{notes}" if notes else "")) from error


def _said(error: BaseException) -> str:
    text = text_or_none(str, error)
    if text is None:
        text = "its text cannot be made"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
