"""Advice: hints for the next search, most useful first."""

from __future__ import annotations

from .comparable import comparable
from .families import family_of, split_families
from .hints.costs import cost_hints
from .hints.edges import edge_hints
from .hints.failures import failure_hints
from .hints.finer import finer_hints
from .hints.no_effect import constant_hint, no_effect_hints
from .hints.overfitting import overfitting_hints
from .hints.scope import make_scope
from .records import Advice, CandidateTable
from .verdict import judge

MOST_HINTS = 5
"""Maximum number of hints; a reader acts on the first few only."""


def advise(table: CandidateTable) -> tuple[Advice, ...]:
    """Return hints for the next search, at most five.

    A hint is given only if its numbers are clear. Hints about values concern the family of the best
    candidate; failures are looked for in all families.
    """
    table = comparable(table)
    families = split_families(table)
    failures = failure_hints(table, families)
    verdict = judge(table)
    if verdict.best is None:
        return tuple(failures[:MOST_HINTS])
    scope = make_scope(table, family_of(families, verdict.best), verdict.best)
    if scope is None:
        return tuple(failures[:MOST_HINTS])
    constant = constant_hint(scope)
    if constant:
        return tuple([*constant, *failures][:MOST_HINTS])
    hints = [
        *failures,
        *edge_hints(scope),
        *overfitting_hints(scope, verdict),
        *no_effect_hints(scope),
        *cost_hints(scope),
        *finer_hints(scope),
    ]
    return tuple(hints[:MOST_HINTS])
