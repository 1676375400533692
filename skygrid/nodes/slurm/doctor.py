"""Examination of a Slurm cluster: would it accept the jobs, and when would it start one."""

from __future__ import annotations

from skygrid.config import RunConfig
from skygrid.errors import NodeError
from skygrid.nodes.records import Finding
from skygrid.util.terminal import printable

from .programs import ask, last_lines, run
from .request import Allocation, job_words, trial_words


def examine_cluster(config: RunConfig, allocation: Allocation | None) -> Finding:
    """Look at the cluster; submit nothing."""
    try:
        version = ask("srun", "--version").strip()
    except NodeError as error:
        return Finding(name="slurm", problems=(str(error),))
    if allocation is not None:
        cpus = ", ".join(map(str, allocation.cpus))
        facts = (version, f"job {allocation.job}: {allocation.nodes} nodes with {cpus} CPUs")
        return Finding(name="slurm", facts=tuple(map(printable, facts)))
    code, output, errors = run(trial_words(job_words(config, "skygrid-test")))
    said = last_lines(errors or output, 1)
    if code:
        return Finding(name="slurm", facts=(version,), problems=(f"Slurm refuses a job: {said}",))
    return Finding(name="slurm", facts=(version, said.removeprefix("srun: ")))
