"""The doctor's reading of clocks, quotas and refusals of AWS."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from skygrid.nodes.ec2.doctor.examine import clock_skew, clock_texts, quota_texts
from skygrid.nodes.ec2.doctor.rights import Attempt, Verdict, judged
from skygrid.nodes.ec2.quotas import ON_DEMAND_STANDARD

NOON = 1764072000.0
ANSWER = {"ResponseMetadata": {"HTTPHeaders": {"date": "Tue, 25 Nov 2025 12:00:00 GMT"}}}


def test_the_clock_is_compared_with_the_date_of_an_answer() -> None:
    """A clock ahead of AWS has a positive skew; without a date there is no skew."""
    assert clock_skew(ANSWER, NOON + 40.0) == 40.0
    assert clock_skew({}, NOON) is None


@pytest.mark.parametrize(
    ("skew", "problem", "note"),
    [
        (None, "", ""),
        (-3.0, "", ""),
        (60.0, "", "60 s ahead of AWS"),
        (-400.0, "400 s behind AWS", ""),
    ],
)
def test_a_large_clock_skew_is_a_problem(skew: float | None, problem: str, note: str) -> None:
    """A skew of seconds is ignored, of a minute noted, and of more than five minutes a problem."""
    found = clock_texts(skew)

    assert [bool(text) for text in found] == [bool(problem), bool(note)]
    assert problem in found[0]
    assert note in found[1]


def test_a_quota_may_be_used_up() -> None:
    """A run may use the whole rest of a quota, but no vCPU more."""
    assert quota_texts(ON_DEMAND_STANDARD, "eu-west-1", 16.0, 4, 12)[1] == ""
    assert (
        "leaves 11 vCPUs in eu-west-1"
        in quota_texts(ON_DEMAND_STANDARD, "eu-west-1", 16.0, 5, 12)[1]
    )


@pytest.mark.parametrize(
    ("code", "own", "verdict"),
    [
        ("DryRunOperation", True, Verdict.ALLOWED),
        ("NoSuchUpload", True, Verdict.ALLOWED),
        ("UnauthorizedOperation", True, Verdict.DENIED),
        ("UnauthorizedOperation", False, Verdict.UNTRIED),
        ("InvalidInstanceID.NotFound", False, Verdict.UNTRIED),
        ("InvalidParameterCombination", True, Verdict.FAILED),
    ],
)
def test_verdicts_on_refusals(code: str, own: bool, verdict: Verdict) -> None:
    """A refusal shows a missing right only if the call was on a resource of skygrid."""
    attempt = Attempt(action="ec2:TerminateInstances", call=lambda: None, own=own)
    error = ClientError({"Error": {"Code": code, "Message": "no"}}, "TerminateInstances")

    assert judged(attempt, error, "us-east-1").verdict is verdict
