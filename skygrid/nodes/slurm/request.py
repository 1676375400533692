"""Command lines of ``srun``: a job for each node, or a step on each node of an allocation."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skygrid.config import RunConfig, limits
from skygrid.nodes.command.agent_start import AGENT
from skygrid.worker.limits import ORPHANED_EXIT


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The job in which this process runs."""

    job: str
    cpus: tuple[int, ...]
    """CPUs of the allocation on each of its nodes."""

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.cpus)


def allocation_of(environment: Mapping[str, str]) -> Allocation | None:
    """Return the allocation that ``sbatch`` or ``salloc`` has made; None outside of one."""
    job = environment.get("SLURM_JOB_ID")
    cpus = cpus_by_node(environment.get("SLURM_JOB_CPUS_PER_NODE", ""))
    return Allocation(job=job, cpus=cpus) if job and cpus else None


def cpus_by_node(text: str) -> tuple[int, ...]:
    """Read ``SLURM_JOB_CPUS_PER_NODE``, such as ``4(x2),8``."""
    counts: list[int] = []
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if found is None:
            return ()
        counts += [int(found[1])] * int(found[2] or 1)
    return tuple(counts)


COMMON = ("srun", "--ntasks=1", "--nodes=1", "--unbuffered", "--quiet", "--mpi=none")


IN_JOB = f"""trap : TERM; {AGENT}; [ $? -eq {ORPHANED_EXIT} ] && scancel "$SLURM_JOB_ID\""""
"""Program of a job. A job whose srun was killed stays after its last process, so an agent without a
driver cancels it. The shell survives SIGTERM, because the step ends with it.
"""


def job_words(config: RunConfig, name: str) -> list[str]:
    """Return the words that start a shell in a job of its own, without the program.

    Parameters
    ----------
    name : str
        Name of the job.
    """
    slurm, slots = config.slurm, config.concurrency or 1
    chosen = {
        "--partition": slurm.partition,
        "--account": slurm.account,
        "--time": slurm.time,
        "--mem-per-cpu": slurm.mem_per_slot,
        "--constraint": slurm.constraint,
    }
    return [
        *COMMON,
        f"--job-name={name}",
        f"--cpus-per-task={slots}",
        f"--signal={signal.SIGURG.name[3:]}@{limits.SLURM_NOTICE}",
        *(f"{option}={value}" for option, value in chosen.items() if value is not None),
        *slurm.extra,
    ]


def step_words(config: RunConfig, name: str, node: int) -> list[str]:
    """Return the words that start a shell in a step on a node, without the program.

    Parameters
    ----------
    node : int
        Position of the node in the allocation, from 0.
    """
    # --overlap: no other step of the job, such as that of an ended agent, keeps it waiting.
    return [
        *COMMON,
        f"--job-name={name}",
        f"--relative={node}",
        "--overlap",
        "--mem=0",
        *(("--exact", f"--cpus-per-task={config.concurrency}") if config.concurrency else ()),
        *config.slurm.extra,
    ]


def trial_words(words: Sequence[str]) -> list[str]:
    """Return the words that ask whether Slurm would accept a job, without submitting it."""
    return [words[0], "--test-only", *(one for one in words[1:] if one != "--quiet"), "true"]
