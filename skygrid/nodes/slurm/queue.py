"""The jobs of a run in Slurm's queue, as ``squeue`` shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

OWN = ("squeue", "--noheader", "--format=%i|%j|%T|%r|%P")
"""Lists jobs of a user, with ``--user``: id, name, state, reason, partition."""

STEPS = ("squeue", "--noheader", "--steps", "--format=%i|%j|RUNNING|None|%P")
"""The same for the steps of a job, with ``--jobs``."""

PENDING = ("squeue", "--noheader", "--states=PENDING", "--sort=-p,i", "--format=%i")
"""Lists the ids of pending jobs, with ``--partition``: those that start first come first."""

OVER = frozenset({"COMPLETING", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL"})
"""States of jobs that use nothing any more."""

NEVER = re.compile(
    r"BadConstraints|Partition(Config|TimeLimit|NodeLimit)|InvalidAccount|InvalidQOS"
    r"|(Account|QOS)NotAllowed|(Assoc|QOS)\w*Max\w*PerJob\w*|(Assoc|QOS)MinCpuNotSatisfied"
    r"|(Assoc|QOS)\w*Max\w*Per(Job|Node)Limit"
)
"""Reasons of pending jobs that no waiting removes:
https://slurm.schedmd.com/resource_limits.html, https://slurm.schedmd.com/job_reason_codes.html
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job, or a step of one, as `squeue` shows it."""

    id: str
    name: str
    state: str
    reason: str = ""
    partition: str = ""

    @property
    def pending(self) -> bool:
        """True if the job waits for its start."""
        return self.state in ("PENDING", "CONFIGURING")

    @property
    def over(self) -> bool:
        """True if the job uses nothing any more."""
        return self.state in OVER

    @property
    def never_starts(self) -> bool:
        """True if Slurm accepted a request that it can never grant."""
        return self.state == "PENDING" and NEVER.fullmatch(self.reason) is not None


def read_jobs(output: str, prefix: str) -> list[Job]:
    """Return those jobs of a list whose names begin with a prefix."""
    rows = (line.strip().split("|") for line in output.splitlines())
    jobs = (
        Job(id=row[0], name=row[1], state=row[2], reason=row[3], partition=row[4])
        for row in rows
        if len(row) == 5
    )
    return [job for job in jobs if job.name.startswith(prefix)]


def state_text(job: Job, queue: Sequence[str]) -> str:
    """Return the state of a node whose job this is.

    Parameters
    ----------
    queue : sequence of str
        Ids of the pending jobs of its partition, as `PENDING` lists them.
    """
    if job.state == "CONFIGURING":
        return "booting"
    if not job.pending:
        return "starting"
    place = f" {queue.index(job.id) + 1} of {len(queue)}" if job.id in queue else ""
    reason = "" if job.reason in ("None", "") else f", {job.reason}"
    return f"queued{place}{reason}"
