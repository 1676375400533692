"""Rounds of several searches become one round and come apart again."""

from __future__ import annotations

from typing import Any

import numpy as np

from skygrid.plan.joint import join
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.worker.evaluation.contents import Group, Sharing


def _plan(n_candidates: int, n_splits: int, sharing: Sharing | None = None) -> RoundPlan:
    splits = [(np.arange(3), np.arange(3, 5))] * n_splits
    candidates = [{"C": number} for number in range(n_candidates)]
    return RoundPlan(round=4, candidates=candidates, splits=splits, sharing=sharing or Sharing())


def _outcome(**values: Any) -> Outcome:
    return Outcome(round=0, status="scored", node="n", slot=0, **values)


def test_equal_candidates_make_one_block_without_foreign_tasks() -> None:
    """Searches with equal candidates have the same numbers, and every task belongs to one."""
    joint = join([_plan(3, 2), _plan(3, 4)], ["same", "same"])
    assert (len(joint.plan.candidates), len(joint.plan.splits)) == (3, 6)
    assert joint.plan.parts == (0, 0, 1, 1, 1, 1)
    assert list(joint.foreign_tasks()) == []


def test_other_candidates_have_numbers_of_their_own() -> None:
    """Tasks of one search's candidates on another's splits are foreign; all others are not."""
    joint = join([_plan(2, 2), _plan(3, 1)], ["a", "b"])
    assert (len(joint.plan.candidates), len(joint.plan.splits)) == (5, 3)
    foreign = set(joint.foreign_tasks())
    assert foreign == {(0, 2), (1, 2), *((c, s) for c in (2, 3, 4) for s in (0, 1))}
    own = [
        (number, member.plan, candidate, split)
        for number, member in enumerate(joint.members)
        for candidate in range(5)
        for split in range(3)
        if member.has(candidate, split)
    ]
    assert len(own) == 2 * 2 + 3 * 1
    assert len(own) + len(foreign) == joint.plan.n_tasks


def test_outcomes_return_with_the_numbers_of_their_search() -> None:
    """An outcome of the joint round gets round, candidate, split and origin of its own search."""
    joint = join([_plan(2, 2), _plan(3, 1)], ["a", "b"])
    outcome = joint.members[1].own(_outcome(candidate=4, split=2, answered_by=3))
    assert (outcome.round, outcome.candidate, outcome.split, outcome.answered_by) == (4, 2, 0, 1)
    alone = joint.members[1].own(_outcome(candidate=2, split=2))
    assert alone.answered_by == -1


def test_shared_work_keeps_to_its_search() -> None:
    """Groups and prefixes move with their candidates; equal candidates share them."""
    shared = Sharing(
        groups=(Group(members=(1, 0), rule="forest"),),
        prefixes=(-1, 0),
        kept=frozenset({"x"}),
    )
    joint = join([_plan(2, 1), _plan(2, 1, shared), _plan(2, 1, shared)], ["a", "a", "a"])
    assert len(joint.plan.candidates) == 4
    assert joint.plan.sharing.groups == (Group(members=(3, 2), rule="forest"),)
    assert joint.plan.sharing.prefixes == (-1, -1, -1, 0)
    assert joint.plan.sharing.kept == {"x"}
    assert [member.first_candidate for member in joint.members] == [0, 2, 2]
