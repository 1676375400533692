"""The state of a node from the output of squeue."""

from __future__ import annotations

import pytest

from skygrid.nodes.slurm.queue import Job, read_jobs, state_text


def test_only_jobs_of_the_run_are_read() -> None:
    """Jobs of other names, and lines that are none, are left out."""
    output = (
        "12|skygrid-ab-slurm-1|PENDING|Priority|main\n"
        "13|skygrid-cd-slurm-1|RUNNING|None|main\n"
        "slurm_load_jobs error: odd line\n"
        "14|interactive|RUNNING|None|main\n"
    )
    (job,) = read_jobs(output, "skygrid-ab-")
    assert job == Job(
        id="12", name="skygrid-ab-slurm-1", state="PENDING", reason="Priority", partition="main"
    )


@pytest.mark.parametrize(
    ("state", "reason", "queue", "text"),
    [
        ("PENDING", "Priority", ["3", "7", "9"], "queued 2 of 3, Priority"),
        ("PENDING", "Resources", [], "queued, Resources"),
        ("PENDING", "None", ["7"], "queued 1 of 1"),
        ("CONFIGURING", "None", [], "booting"),
        ("RUNNING", "None", [], "starting"),
    ],
)
def test_the_state_of_a_job_is_shown(state: str, reason: str, queue: list[str], text: str) -> None:
    """A queued node shows its position and Slurm's reason."""
    assert state_text(Job(id="7", name="n", state=state, reason=reason), queue) == text


@pytest.mark.parametrize(
    "reason",
    [
        *("PartitionTimeLimit", "PartitionNodeLimit", "PartitionConfig", "BadConstraints"),
        *("InvalidAccount", "InvalidQOS", "QOSNotAllowed", "AccountNotAllowed"),
        *("QOSMaxCpuPerJobLimit", "AssocMaxWallDurationPerJobLimit", "QOSMaxNodePerJobLimit"),
    ],
)
def test_a_request_that_slurm_never_grants_is_recognised(reason: str) -> None:
    """Reasons that no waiting removes are told from the others."""
    assert Job(id="7", name="n", state="PENDING", reason=reason).never_starts


@pytest.mark.parametrize(
    "reason",
    [
        *("Priority", "Resources", "None", "Dependency", "ReqNodeNotAvail, UnavailableNodes:n1"),
        *("QOSGrpCpuLimit", "AssocGrpCPUMinutesLimit", "QOSMaxCpuPerUserLimit", "PartitionDown"),
        *("QOSMaxJobsPerUserLimit", "AssocMaxJobsLimit", "JobHeldUser", "BeginTime"),
    ],
)
def test_a_request_that_may_be_granted_later_waits(reason: str) -> None:
    """A job that waits for others, for limits of a user or for an administrator stays queued."""
    assert not Job(id="7", name="n", state="PENDING", reason=reason).never_starts
