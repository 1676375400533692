"""A contender as a child process: started, watched, limited, and ended with its descendants."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from tests.benchmarks.memory import proportional_bytes
from tests.benchmarks.peers.records import Begun, Done, Run

ROOT = Path(__file__).parents[3]

PR_SET_CHILD_SUBREAPER = 36

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

LOOK_SECONDS = 0.02

LEAVE_SECONDS = 20.0
"""Time for a contender with a result to stop its cluster, in seconds."""

LINES = msgspec.json.Decoder(Begun | Done)


Stopped = tuple[Literal["cut", "memory"], str]
"""Limit that was exceeded, as a keyword and a text."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one run."""

    search_seconds: float
    start_seconds: float = 180.0
    """Time until the search begins: imports, data, cluster."""

    memory_bytes: int
    sampling: float = 0.02
    """Share of one core for sampling the memory; a larger share finds shorter peaks."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent has ended, so that all are found.

    See PR_SET_CHILD_SUBREAPER in prctl(2). Servers of Ray and Dask outlive the process that starts
    them.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_contender(who: str, what: str, size: str, limits: Limits) -> tuple[Run, list[float]]:
    """Run one contender on one workload.

    Returns
    -------
    run : Run
    scores : list of float
        Empty unless the run is done.
    """
    # A short path: sockets are in this folder, and their names have at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="race-", dir="/tmp"))
    mapped = Path(tempfile.mkdtemp(prefix="race-", dir="/dev/shm"))
    try:
        return _Child(who, what, size, folder, mapped).watched(limits)
    finally:
        _end_descendants()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(mapped, ignore_errors=True)


class _Child:
    """One contender's process while it is watched."""

    def __init__(self, who: str, what: str, size: str, folder: Path, mapped: Path) -> None:
        self._name = f"{who} on {what}"
        self._said, self._log = folder / "said", folder / "log"
        self._begun: Begun | None = None
        self._done: Done | None = None
        self._peak = 0
        self._began = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.benchmarks.peers.contender"),
                    *(who, what, size, repr(self._began), str(self._said)),
                ],
                cwd=ROOT,
                env=_environment(folder, mapped),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def watched(self, limits: Limits) -> tuple[Run, list[float]]:
        """Wait until the process ends or exceeds a limit."""
        stopped, pause = None, LOOK_SECONDS
        while stopped is None and not self._over(pause):
            look = time.monotonic()
            stopped = self._passed(limits)
            pause = max(LOOK_SECONDS, (time.monotonic() - look) / limits.sampling)
        self._listen()
        if self._done is None:
            return self._without_result(stopped), []
        # Ray, Dask and loky clean up better than a signal would.
        self._over(LEAVE_SECONDS)
        return self._finished(self._done), self._done.scores

    def _over(self, seconds: float) -> bool:
        """Return whether the process ended or reported its result within some seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            before = self._done
            self._listen()
            return self._done is not before
        return True

    def _listen(self) -> None:
        if not self._said.exists():
            return
        for line in self._said.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                said = LINES.decode(line)
                if isinstance(said, Begun):
                    self._begun = said
                else:
                    self._done = said

    def _passed(self, limits: Limits) -> Stopped | None:
        """Check memory and time of the process."""
        used = proportional_bytes(psutil.Process().children(recursive=True))
        self._peak = max(self._peak, used)
        if used > limits.memory_bytes:
            return "memory", f"more than {limits.memory_bytes >> 30} GB"
        now = time.monotonic()
        if self._begun is None and now - self._began > limits.start_seconds:
            return "cut", f"not begun after {limits.start_seconds:g} s"
        if self._begun is not None and now - self._begun.at > limits.search_seconds:
            return "cut", f"more than {limits.search_seconds:g} s"
        return None

    def _finished(self, done: Done) -> Run:
        assert self._begun is not None
        return Run(
            ended="done",
            startup_seconds=self._begun.startup_seconds,
            seconds=done.seconds,
            fit_seconds=done.fit_seconds,
            driver_bytes=done.driver_bytes,
            peak_bytes=self._peak,
        )

    def _without_result(self, stopped: Stopped | None) -> Run:
        ended, why = stopped or ("failed", self._last_words())
        begun = self._begun
        return Run(
            ended=ended,
            why=why,
            startup_seconds=begun.startup_seconds if begun else 0.0,
            seconds=time.monotonic() - begun.at if begun else 0.0,
            peak_bytes=self._peak,
        )

    def _last_words(self) -> str:
        tail = self._log.read_text(errors="replace")[-3000:]
        code = self._process.returncode
        sys.stderr.write(f"{self._name} ended with exit code {code}:\n{tail}\n")
        return (tail.strip().splitlines() or ["without a word"])[-1][:200]


def _environment(folder: Path, mapped: Path) -> dict[str, str]:
    """Return an environment: one thread per fit, temporary files in our folders, no telemetry."""
    return {
        **os.environ,
        **dict.fromkeys(THREADS, "1"),
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder),
        # joblib chooses /dev/shm itself, but not a folder that is removed afterwards.
        "JOBLIB_TEMP_FOLDER": str(mapped),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Despite its name, this keeps Ray on the loopback address on every system.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def _end_descendants() -> None:
    """Kill and reap all descendants of this process."""
    me = psutil.Process()
    while left := me.children(recursive=True):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
