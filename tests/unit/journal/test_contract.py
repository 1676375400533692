"""The contract of every journal."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from skygrid.errors import FingerprintError, JournalError
from skygrid.journal.in_memory import MemoryJournal
from skygrid.journal.interface import Journal
from skygrid.journal.sqlite import SqliteJournal
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.worker.wire.messages.results import Scores, TypedNumber, WarningNote

FINGERPRINT = {"estimator": "ab" * 32, "X": "cd" * 32, "scikit-learn": "1.8.0"}


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    opened: Journal
    if request.param == "memory":
        opened = MemoryJournal()
    else:
        opened = SqliteJournal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def scored(candidate: int = 0, split: int = 0, round: int = 0, score: Scores = 0.5) -> Outcome:
    return Outcome(
        round=round,
        candidate=candidate,
        split=split,
        status="scored",
        node="node-1",
        slot=3,
        test_scores=score,
        n_test_samples=50,
        fit_seconds=0.25,
        score_seconds=0.125,
        busy_seconds=0.0625,
        finished_at=1.7e9,
        answered_by=candidate - 1,
    )


def plan(round: int, kernel: object, start: int = 0) -> RoundPlan:
    split = (np.arange(start, start + 2), np.arange(start + 2, start + 3))
    return RoundPlan(round=round, candidates=[{"kernel": kernel}], splits=[split])


def bits(number: object) -> bytes:
    assert type(number) is float
    return struct.pack("<d", number)


class TestOutcomes:
    def test_empty(self, journal: Journal) -> None:
        """A new journal is empty."""
        assert journal.count() == 0
        assert journal.outcomes(0) == []

    def test_order(self, journal: Journal) -> None:
        """Outcomes are sorted by candidate, then split, independent of the order of arrival."""
        tasks = [(2, 0), (0, 1), (10, 0), (0, 0), (2, 1)]
        journal.append([scored(*task) for task in tasks[:2]])
        journal.append([scored(*task) for task in tasks[2:]])
        assert [(o.candidate, o.split) for o in journal.outcomes(0)] == sorted(tasks)

    def test_rounds_are_apart(self, journal: Journal) -> None:
        """Each round has its own outcomes; the count covers all rounds."""
        journal.append([scored(round=0), scored(round=1), scored(1, round=1)])
        assert [o.candidate for o in journal.outcomes(1)] == [0, 1]
        assert journal.count() == 3

    def test_first_wins(self, journal: Journal) -> None:
        """A second outcome of a task is ignored, in the same batch and in a later one."""
        journal.append([scored(score=0.1), scored(score=0.2)])
        journal.append([scored(score=0.3), scored(1, score=0.4)])
        assert [o.test_scores for o in journal.outcomes(0)] == [0.1, 0.4]

    def test_append_nothing(self, journal: Journal) -> None:
        """Appending no outcomes is allowed."""
        journal.append([])
        assert journal.count() == 0

    @pytest.mark.parametrize(
        "score",
        [
            pytest.param(-0.0, id="minus zero"),
            pytest.param(0.0, id="zero"),
            pytest.param(1.0, id="one"),
            pytest.param(-3.0, id="whole number"),
            pytest.param(math.inf, id="inf"),
            pytest.param(-math.inf, id="minus inf"),
            pytest.param(5e-324, id="smallest"),
            pytest.param(1.7976931348623157e308, id="largest"),
            pytest.param(2.0**53 + 2.0, id="large whole number"),
            pytest.param(math.nan, id="NaN"),
            pytest.param(struct.unpack("<d", b"\x01\x02\0\0\0\0\xf8\xff")[0], id="NaN payload"),
        ],
    )
    def test_every_bit_of_a_score(self, journal: Journal, score: float) -> None:
        """A float comes back with the same bits, alone, as a train score and in a mapping."""
        one = Outcome(
            round=0, candidate=0, split=0, status="scored", node="n", slot=0,
            test_scores=0.5, train_scores=score, fit_seconds=1.0, score_seconds=1.0,
            busy_seconds=2.0, finished_at=1.0,
        )  # fmt: skip
        journal.append([one, scored(1, score=score), scored(2, score={"auc": score})])
        train, test, multi = journal.outcomes(0)
        assert isinstance(multi.test_scores, dict)
        for found in (train.train_scores, test.test_scores, multi.test_scores["auc"]):
            assert bits(found) == bits(score)

    @pytest.mark.parametrize(
        "score",
        [
            TypedNumber("int", "3"),
            TypedNumber("<f4", "0000c07f"),
            {"b": 0.5, "a": TypedNumber("bool", "True"), "": -1.0},
            {},
        ],
        ids=repr,
    )
    def test_every_type_of_score(self, journal: Journal, score: Scores) -> None:
        """Scores that are no floats, and several scores, are read back unchanged and in order."""
        journal.append([scored(score=score)])
        (found,) = journal.outcomes(0)
        assert found.test_scores == score
        assert not isinstance(score, dict) or list(found.test_scores) == list(score)  # type: ignore[arg-type]

    def test_whole_records(self, journal: Journal) -> None:
        """Failed and killed outcomes, and those with all details, are equal in every field."""
        outcomes = [
            scored(),
            Outcome(round=0, candidate=1, split=0, status="failed", node="Łódź 🌩", slot=0,
                    fit_error="Traceback…\n\0ValueError: ✗", fit_seconds=0.5, attempt=3),
            Outcome(round=0, candidate=2, split=0, status="killed", node="", slot=7,
                    fit_error="", attempt=2),
            Outcome(round=0, candidate=3, split=0, status="scored", node="n", slot=0,
                    test_scores=0.5, train_scores={"a": 1.0}, n_test_samples=2**53,
                    warnings=(WarningNote("builtins:UserWarning", "careful", "f.py", 3),)),
            msgspec.structs.replace(scored(4), prefix_kept=True),
        ]  # fmt: skip
        journal.append(outcomes)
        assert journal.outcomes(0) == outcomes


class TestFingerprint:
    def test_equal(self, journal: Journal) -> None:
        """The same search may claim the journal again, with its parts in any order."""
        journal.claim(FINGERPRINT)
        journal.claim(dict(reversed(FINGERPRINT.items())))

    def test_every_difference_is_named(self, journal: Journal) -> None:
        """The message names each part that differs, both versions, and a remedy."""
        journal.claim(FINGERPRINT)
        with pytest.raises(FingerprintError) as caught:
            journal.claim({**FINGERPRINT, "X": "ef" * 32, "scikit-learn": "1.9.1"})
        message = str(caught.value)
        assert "X; scikit-learn (1.8.0 then, 1.9.1 now)" in message
        assert "estimator" not in message
        assert "efef" not in message
        assert "start a new run" in message

    def test_missing_and_new_parts_differ(self, journal: Journal) -> None:
        """A part that one side lacks is a difference."""
        journal.claim({"X": "cd" * 32})
        with pytest.raises(FingerprintError, match=r"X \(missing now\); y \(not recorded then\)"):
            journal.claim({"y": "cd" * 32})

    def test_a_refused_claim_changes_nothing(self, journal: Journal) -> None:
        """After a refused claim the journal still belongs to the first search."""
        journal.claim(FINGERPRINT)
        with pytest.raises(FingerprintError):
            journal.claim({"X": "other"})
        journal.claim(FINGERPRINT)


class TestRoundsAndNodes:
    def test_the_first_plan_of_a_round_is_kept(self, journal: Journal) -> None:
        """A round that is drawn again gets the candidates and splits of the first draw."""
        assert journal.settle(plan(0, "rbf")).candidates == [{"kernel": "rbf"}]
        assert journal.settle(plan(1, "poly")).candidates == [{"kernel": "poly"}]
        again = journal.settle(plan(0, "linear", start=5))
        assert (again.round, again.candidates) == (0, [{"kernel": "rbf"}])
        ((train, test),) = again.splits
        assert (train.tolist(), test.tolist()) == ([0, 1], [2])

    def test_nodes(self, journal: Journal) -> None:
        """Only the newest facts of each node are kept."""
        journal.record_node("a", b'{"vcpus": 2}')
        journal.record_node("b", b"{}")
        journal.record_node("a", b'{"vcpus": 4}')
        assert journal.nodes() == {"a": b'{"vcpus": 4}', "b": b"{}"}


CALLS: dict[str, Callable[[Journal], object]] = {
    "claim": lambda j: j.claim(FINGERPRINT),
    "settle": lambda j: j.settle(plan(0, "rbf")),
    "record_node": lambda j: j.record_node("n", b""),
    "nodes": lambda j: j.nodes(),
    "append": lambda j: j.append([scored()]),
    "outcomes": lambda j: j.outcomes(0),
    "count": lambda j: j.count(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_closed(journal: Journal, call: Callable[[Journal], object]) -> None:
    """A closed journal raises an error, and may be closed twice."""
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        call(journal)
