"""Plays a schedule on a real run, resumes the run until it is complete, and checks what it left."""

from __future__ import annotations

import pickle
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skygrid.reports.run_record import RunRecord
from skygrid.util.process import handled_signals
from tests.acceptance.sameness import differences
from tests.chaos.faults import Play, Undo, inflict
from tests.chaos.schedules import N_FITS, Fault, Schedule
from tests.chaos.searches import Start, Task, by_scikit_learn, read_ledger
from tests.chaos.sessions import Session
from tests.chaos.stage import Stage, facts_of, set_up
from tests.command import Pause, result

MOST_SESSIONS = 7
SESSION_SECONDS = 240.0
"""Time after which a command counts as hung: many times what it takes on a busy machine."""

DOCUMENTED = {0, 3, 6, *(128 + number for number in handled_signals())}
"""Exit codes of a run that faults may cause; the search itself never fails."""

LOST_RECORD = "has lost its run.json"

BAD_WORDS = ("a bug in skygrid", "Traceback (most recent call last)", "Exception ignored")


@dataclass(frozen=True, kw_only=True)
class Account:
    """Figures of one schedule."""

    faults: dict[str, int]
    """Number of inflicted faults of each kind."""

    sessions: int
    fits: int
    """Fits that were started, without refits."""

    repeated_in_flight: int
    """Starts of a fit that had started before and was not recorded."""

    seconds: float
    """Duration of the whole schedule."""


@dataclass(frozen=True)
class Sample:
    """The tasks that were recorded before a session."""

    at: float
    """Seconds since the epoch."""

    recorded: frozenset[Task]


@dataclass
class _Evidence:
    """Facts noted while a schedule plays."""

    began: float = field(default_factory=time.monotonic)
    steps: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    inflicted: Counter[str] = field(default_factory=Counter)
    sessions: list[Session] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def note(self, step: str) -> None:
        self.steps.append(f"{time.monotonic() - self.began:6.2f} s  {step}")


def play(schedule: Schedule, folder: Path) -> Account:
    """Play a schedule in an empty folder; fail with its seed, steps and all problems found."""
    evidence = _Evidence()
    with set_up(folder, schedule) as stage:
        try:
            _Runner(schedule, stage, evidence).run()
        except AssertionError as error:
            evidence.problems.append(str(error))
        finally:
            for session in evidence.sessions:
                session.close()
        if evidence.problems:
            raise AssertionError(_report(schedule, stage, evidence))
        return _account(evidence, read_ledger(folder), by_scikit_learn(schedule.shares_steps)[1])


class _Runner:
    """Plays the faults of a schedule over the sessions of its run."""

    def __init__(self, schedule: Schedule, stage: Stage, evidence: _Evidence) -> None:
        self._schedule = schedule
        self._stage = stage
        self._evidence = evidence
        self._pending = list(schedule.faults)
        self._undone_at: list[tuple[float, Undo]] = []
        self._undone_last: list[Undo] = []
        self._pause = Pause()
        self._lossless = True

    def run(self) -> None:
        """Start and resume the run until it is complete, then check everything."""
        salvage, twice, streams = False, False, True
        for _ in range(MOST_SESSIONS):
            self._sample()
            play = self._start(salvage=salvage, twice=twice, streams=streams)
            codes = self._watch(play)
            self._check_ends(play)
            if self._evidence.problems:
                return
            if 0 in codes:
                break
            salvage = play.damaged and 6 in codes
            twice, streams = play.twice, play.streams
            self._recover(codes)
        else:
            raise AssertionError(f"not complete after {MOST_SESSIONS} sessions")
        self._check_results()

    # ---- sessions --------------------------------------------------------------------------------

    def _start(self, *, salvage: bool, twice: bool, streams: bool) -> Play:
        sessions = [self._stage.start(salvage=salvage, streams=streams) for _ in range(1 + twice)]
        self._evidence.note(f"start {' '.join(sessions[0].arguments)}{', twice' * twice}")
        self._evidence.sessions += sessions
        play = Play(self._stage, sessions[0], others=sessions[1:])
        play.damaged = not self._lossless
        return play

    def _watch(self, play: Play) -> list[int]:
        """Inflict the faults whose moment comes, until every command has ended."""
        until = time.monotonic() + SESSION_SECONDS
        try:
            while running := [one for one in (play.session, *play.others) if one.code is None]:
                if play.session.code is not None:
                    play.session, play.others = running[0], [play.session, *play.others]
                    play.others.remove(running[0])
                self._inflict(play)
                self._undo_due()
                assert time.monotonic() < until, f"{running[0].arguments} hangs"
                self._pause()
        finally:
            for undo in [undo for _, undo in self._undone_at] + self._undone_last:
                undo()
            self._undone_at.clear()
            self._undone_last.clear()
        codes = [one.code for one in (play.session, *play.others) if one.code is not None]
        self._evidence.note(f"ended with {codes}: {self._last_line(play.session)}")
        return codes

    def _last_line(self, session: Session) -> str:
        lines = session.said().strip().splitlines()
        return next((line for line in reversed(lines) if "error:" in line), *lines[-1:] or [""])

    def _inflict(self, play: Play) -> None:
        if not self._pending:
            return
        recorded = _recorded(self._stage.run)
        for fault in list(self._pending):
            if self._due(fault, recorded) and (undo := inflict(fault, play)) is not None:
                self._pending.remove(fault)
                self._note(fault, play, recorded, undo)

    def _due(self, fault: Fault, recorded: frozenset[Task] | None) -> bool:
        if fault.after == 0:
            return (self._stage.run / "run.json").exists()
        return recorded is not None and len(recorded) >= fault.after

    def _note(self, fault: Fault, play: Play, recorded: frozenset[Task] | None, undo: Undo) -> None:
        self._evidence.note(f"{fault} (at {'?' if recorded is None else len(recorded)})")
        self._evidence.inflicted[f"{fault.kind} {fault.target}"] += 1
        self._evidence.sessions += [
            one for one in play.others if one not in self._evidence.sessions
        ]
        if play.damaged and self._lossless:
            self._lossless = False
            self._evidence.samples.clear()
        if fault.seconds is None:
            self._undone_last.append(undo)
        else:
            self._undone_at.append((time.monotonic() + fault.seconds, undo))

    def _undo_due(self) -> None:
        due = [one for one in self._undone_at if one[0] <= time.monotonic()]
        for one in due:
            self._undone_at.remove(one)
            one[1]()

    def _recover(self, codes: Iterable[int]) -> None:
        """Do what a user would do before the next session."""
        path = self._stage.run / "run.json"
        if self._stage.record is not None and 2 in codes:
            if not path.exists():
                self._evidence.note("run.json is restored from a copy")
                path.write_bytes(self._stage.record)
        elif self._stage.record is None and not path.exists() and self._stage.run.exists():
            # The driver was killed between its first two steps.
            shutil.rmtree(self._stage.run)

    def _sample(self) -> None:
        recorded = _recorded(self._stage.run)
        if recorded is None or not self._lossless:
            return
        before = self._evidence.samples[-1].recorded if self._evidence.samples else frozenset()
        if not before <= recorded:
            self._evidence.problems.append(f"recorded fits are missing: {before - recorded}")
        self._evidence.samples.append(Sample(time.time(), recorded))

    # ---- checks ----------------------------------------------------------------------------------

    def _check_ends(self, play: Play) -> None:
        allowed = DOCUMENTED | ({-9} if play.killed else set())
        for session in (play.session, *play.others):
            said = session.said() + session.said("stdout")
            fitting = allowed | ({2} if LOST_RECORD in said else set())
            if session.code not in fitting:
                self._evidence.problems.append(f"exit code {session.code} is not a documented one")
            self._evidence.problems += [
                f"{' '.join(session.arguments)} printed: {word}"
                for word in BAD_WORDS
                if word in said
            ]

    def _check_results(self) -> None:
        theirs, tasks = by_scikit_learn(self._schedule.shares_steps)
        ours: Any = pickle.loads((self._stage.run / "search.pkl").read_bytes())
        for name in ("cv_results_", "best_params_", "best_index_", "best_score_"):
            self._evidence.problems += differences(getattr(ours, name), getattr(theirs, name), name)
        self._check_reuse()
        if (state := RunRecord.read(self._stage.run).state) != "complete":
            self._evidence.problems.append(f"run.json says {state}")
        recorded = _recorded(self._stage.run)
        if self._lossless and recorded != set(tasks.values()):
            self._evidence.problems.append(f"the journal has {len(recorded or ())} fits")
        self._evidence.problems += repeated(
            self._evidence.samples, read_ledger(self._stage.folder), tasks
        )
        self._stage.wait_ended()
        self._evidence.problems += [f"left: {path}" for path in self._stage.left_files()]

    def _check_reuse(self) -> None:
        reused = result(self._stage.folder, "r")["reused"]
        samples = self._evidence.samples
        if self._lossless and samples and reused < (known := len(samples[-1].recorded)):
            self._evidence.problems.append(f"{reused} of {known} recorded fits were used")


def _recorded(run: Path) -> frozenset[Task] | None:
    """Return the recorded tasks; None if the journal cannot be read now."""
    path = run / "journal.sqlite"
    if not path.exists():
        return frozenset() if not run.exists() else None
    log = path.with_name("journal.sqlite-wal")
    with suppress(sqlite3.Error, FileNotFoundError):
        # Without a log the file is all: read so, SQLite makes no files beside it.
        options = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        with closing(sqlite3.connect(f"file:{path}?{options}", uri=True, timeout=0.1)) as journal:
            return frozenset(journal.execute("SELECT candidate, split FROM outcomes"))
    return None


def repeated(
    samples: Sequence[Sample], starts: Sequence[Start], tasks: Mapping[str, Task]
) -> list[str]:
    """Describe the fits that started although they were recorded."""
    found = []
    for start in starts:
        task = tasks.get(start.key)  # None: the refit
        known = [one.at for one in samples if task in one.recorded and one.at < start.at]
        if known:
            found.append(f"fit {task} ran again {start.at - known[0]:.2f} s after it was recorded")
    return found


def _account(evidence: _Evidence, starts: list[Start], tasks: dict[str, Task]) -> Account:
    fits = [start for start in starts if start.key in tasks]
    return Account(
        faults=dict(evidence.inflicted),
        sessions=len(evidence.sessions),
        fits=len(fits),
        repeated_in_flight=len(fits) - N_FITS,
        seconds=time.monotonic() - evidence.began,
    )


def _report(schedule: Schedule, stage: Stage, evidence: _Evidence) -> str:
    parts = [str(schedule), "", *evidence.problems, "", *evidence.steps, facts_of(stage.run)]
    for number, session in enumerate(evidence.sessions, 1):
        said = session.said()[-3000:]
        parts += ["", f"-- session {number}, {' '.join(session.arguments)}: {session.code}", said]
    return "\n".join(parts)
