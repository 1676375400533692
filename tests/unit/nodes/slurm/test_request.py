"""Command lines of srun follow from the config and the allocation."""

from __future__ import annotations

import pytest

from skygrid.config import RunConfig, SlurmConfig
from skygrid.nodes.slurm.request import (
    Allocation,
    allocation_of,
    cpus_by_node,
    job_words,
    step_words,
    trial_words,
)


def test_a_job_asks_for_what_the_config_says() -> None:
    """Each key of [slurm] is one option of srun; extra options come last and win."""
    slurm = SlurmConfig(
        partition="gpu",
        account="lab",
        time="2:00:00",
        mem_per_slot="4G",
        constraint="avx512",
        extra=("--qos=night", "--nice"),
    )
    words = job_words(RunConfig(on="slurm", concurrency=8, slurm=slurm), "skygrid-x-slurm-1")
    assert words[0] == "srun"
    assert words[-2:] == ["--qos=night", "--nice"]
    assert {
        *("--ntasks=1", "--nodes=1", "--cpus-per-task=8", "--job-name=skygrid-x-slurm-1"),
        *("--partition=gpu", "--account=lab", "--time=2:00:00", "--mem-per-cpu=4G"),
        *("--constraint=avx512", "--signal=URG@60"),
    } <= set(words)


def test_what_the_config_leaves_out_is_left_to_the_cluster() -> None:
    """Without keys of [slurm] a job has no option of partition, account, time or memory."""
    words = job_words(RunConfig(on="slurm", concurrency=2), "n")
    left = ("--partition", "--account", "--time", "--mem", "--constraint")
    assert not [word for word in words if word.startswith(left)]


def test_a_step_uses_its_node_of_the_allocation() -> None:
    """A step names its node by position and takes all CPUs, unless concurrency says fewer."""
    words = step_words(RunConfig(on="slurm"), "n", 2)
    assert {"--relative=2", "--overlap", "--mem=0"} <= set(words)
    assert not [word for word in words if word.startswith("--cpus-per-task")]
    fewer = step_words(RunConfig(on="slurm", concurrency=2), "n", 0)
    assert {"--exact", "--cpus-per-task=2"} <= set(fewer)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("4", (4,)),
        ("2(x3)", (2, 2, 2)),
        ("16,8(x2),1", (16, 8, 8, 1)),
        ("", ()),
        ("a few", ()),
    ],
)
def test_cpus_of_an_allocation_are_read(text: str, cpus: tuple[int, ...]) -> None:
    """SLURM_JOB_CPUS_PER_NODE gives the CPUs of each node; anything else gives none."""
    assert cpus_by_node(text) == cpus


def test_an_allocation_is_found_in_the_environment() -> None:
    """sbatch and salloc set two variables; without both there is no allocation."""
    found = allocation_of({"SLURM_JOB_ID": "7", "SLURM_JOB_CPUS_PER_NODE": "4(x2)"})
    assert found == Allocation(job="7", cpus=(4, 4))
    assert found.nodes == 2
    assert allocation_of({"SLURM_JOB_ID": "7"}) is None
    assert allocation_of({}) is None


def test_a_test_submits_nothing() -> None:
    """The test of a request runs srun with --test-only, and lets it speak."""
    words = trial_words(["srun", "--quiet", "--ntasks=1"])
    assert words == ["srun", "--test-only", "--ntasks=1", "true"]
