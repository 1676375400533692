"""Nodes that are jobs of Slurm, or steps of the job in which this process runs."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Collection, Sequence

from skygrid.config import RunConfig, limits
from skygrid.errors import NodeError
from skygrid.nodes.command.agent_start import AGENT, ANY_PYTHON, AgentStart
from skygrid.nodes.interface import Transport, Watcher
from skygrid.nodes.slurm.job_channel import JobChannel
from skygrid.nodes.slurm.programs import ask, last_lines, run
from skygrid.nodes.slurm.queue import OWN, PENDING, STEPS, Job, read_jobs
from skygrid.nodes.slurm.request import IN_JOB, Allocation, job_words, step_words, trial_words
from skygrid.nodes.slurm.shared_data import SharedData

LOGGER = logging.getLogger(__name__)


class SlurmProvider:
    """The nodes of a run on Slurm.

    Parameters
    ----------
    config : RunConfig
    run_id : str
        Part of the names of the jobs.
    allocation : Allocation or None
        The job in which this process runs; None: each node is a job of its own.

    Raises
    ------
    NodeError
        If Slurm would refuse the jobs.
    """

    shares_modules = False

    def __init__(self, config: RunConfig, run_id: str, allocation: Allocation | None) -> None:
        self._config = config
        self._allocation = allocation
        self._prefix = f"skygrid-{run_id}-"
        self._count = config.nodes or (allocation.nodes if allocation else 1)
        self._next = self._count
        self._channels: dict[str, JobChannel] = {}
        self._data = SharedData(config.slurm.shared_folder, run_id)
        self._closing = threading.Event()
        self._looker: threading.Thread | None = None
        if left := self._left():
            LOGGER.info("an earlier session left jobs: %s", left)
            run(["scancel", *left])
        if allocation is None:
            _require_acceptance(job_words(config, f"{self._prefix}test"))

    def names(self) -> Sequence[str]:
        """Return slurm-1, slurm-2 and so on."""
        return [f"slurm-{number}" for number in range(1, self._count + 1)]

    def set_modules(self, imported: Collection[str]) -> None:
        """Do nothing: the nodes have their environment."""

    def transport(self, name: str, watcher: Watcher) -> Transport:
        """Return a channel through a new job, or a new step."""
        slurm, job_name = self._config.slurm, f"{self._prefix}{name}"
        channel = self._channels[name] = JobChannel(
            job_name,
            self._words(job_name, name),
            self._start(name),
            watcher,
            start_seconds=slurm.start_timeout,
            stop_seconds=slurm.stop_timeout,
            url_of=self._data.url_of,
        )
        if self._looker is None:
            self._looker = threading.Thread(target=self._look, name="slurm-queue", daemon=True)
            self._looker.start()
        return channel

    def successor(self, name: str) -> str | None:
        """Return the name of a new job; in an allocation the same node."""
        channel = self._channels.get(name)
        if channel is not None and not channel.answered:
            return None  # another job of the same kind would fail too
        if self._allocation is not None:
            return name
        self._next += 1
        return f"slurm-{self._next}"

    def close(self) -> None:
        """Cancel the jobs that are left, and verify that they are gone.

        Raises
        ------
        NodeError
            If a job stays in the queue.
        """
        self._closing.set()
        self._data.remove()
        if not self._channels:
            return
        until = time.monotonic() + limits.SLURM_END
        while left := self._left():
            if time.monotonic() > until:
                raise NodeError(
                    f"jobs are left on Slurm: {' '.join(left)}. Cancel them: scancel "
                    f"{' '.join(left)}"
                )
            run(["scancel", *left])
            time.sleep(0.2)

    def _left(self) -> list[str]:
        return [job.id for job in self._jobs() if not job.over]

    # -- requests

    def _words(self, job_name: str, name: str) -> list[str]:
        if self._allocation is None:
            return [*job_words(self._config, job_name), "sh", "-c", IN_JOB]
        return [*step_words(self._config, job_name, self._position(name)), AGENT]

    def _position(self, name: str) -> int:
        return int(name.rpartition("-")[2]) - 1

    def _start(self, name: str) -> AgentStart:
        slurm, slots = self._config.slurm, self._config.concurrency
        if slots is None and self._allocation is not None:
            slots = self._allocation.cpus[self._position(name)]
        return AgentStart(
            arguments=(
                *("--departures", "--orphan-after", f"{slurm.orphan_after:g}"),
                # Not all CPUs of the machine, which other jobs may use.
                *("--slots", str(slots or 1), "--vcpus", str(slots or 1)),
            ),
            hash_seed=self._config.hash_seed,
            pythons=(slurm.python,) if slurm.python else (sys.executable, *ANY_PYTHON),
        )

    # -- the queue

    def _look(self) -> None:
        """Tell waiting channels the state of their jobs, until the run ends."""
        pause = limits.SLURM_LOOK_FIRST
        while not self._closing.wait(pause):
            waiting = {one.job_name: one for one in list(self._channels.values()) if one.waiting}
            pause = min(2 * pause, limits.SLURM_LOOK) if waiting else limits.SLURM_LOOK_FIRST
            if waiting:
                try:
                    self._look_at(waiting)
                except NodeError as error:
                    LOGGER.info("the queue is unknown: %s", error)

    def _look_at(self, waiting: dict[str, JobChannel]) -> None:
        jobs = self._jobs()
        queues: dict[str, list[str]] = {}
        for job in jobs:
            if job.name not in waiting:
                continue
            if job.state == "PENDING" and job.partition not in queues:
                queues[job.partition] = ask(*PENDING, f"--partition={job.partition}").split()
            waiting[job.name].see(job, queues.get(job.partition, ()))

    def _jobs(self) -> list[Job]:
        if self._allocation is None:
            return read_jobs(ask(*OWN, f"--user={os.getuid()}"), self._prefix)
        return read_jobs(ask(*STEPS, f"--jobs={self._allocation.job}"), self._prefix)


def _require_acceptance(words: Sequence[str]) -> None:
    """Raise if Slurm would refuse a job at once."""
    code, output, errors = run(trial_words(words))
    if code:
        raise NodeError(
            f"Slurm refuses the jobs of this run: {last_lines(errors or output)}. Change [slurm] "
            "in the config; `sinfo` lists partitions and their limits"
        )
