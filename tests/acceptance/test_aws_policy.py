"""The policy in the guide grants exactly the calls of a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cloud.client import Cloud, cloud, cloud_server
from tests.cloud_runs import CloudBench
from tests.command import Command

__all__ = ["cloud", "cloud_server"]

pytestmark = pytest.mark.cloud

GUIDE = Path(__file__).parents[2] / "guides" / "aws.md"

NOT_CALLED = {"ec2:CreateTags"}
"""Granted but never called by itself: tags are set in the calls that create things."""

OWN_NAMES = {"service-quotas": "servicequotas", "s3": "s3"}


def granted() -> set[str]:
    """Return every action of the guide's policy."""
    (policy,) = re.findall(r"```json\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    found: set[str] = set()
    for statement in json.loads(policy)["Statement"]:
        actions = statement["Action"]
        found |= {actions} if isinstance(actions, str) else set(actions)
    return found


def called(cloud: Cloud) -> set[str]:
    """Return every action that was called, with IAM's names, except those of S3."""
    found = set()
    for name in cloud.calls:
        service, _, action = name.partition(":")
        found.add(f"{OWN_NAMES.get(service, service)}:{action}")
    return {one for one in found if not one.startswith("s3:")}


def test_the_policy_of_the_guide_covers_every_call(tmp_path: Path, cloud: Cloud) -> None:
    """The policy grants what a run, `nodes`, `down` and `doctor` call, and, S3 aside, no more."""
    bench = CloudBench(tmp_path, cloud)
    bench.aws["market"] = "spot-then-on-demand"
    bench.ended_well(bench.start("--nodes", "1"))
    for arguments in (("nodes",), ("down", "--orphans"), ("doctor", "--on", "aws")):
        code, out, err = Command(bench.folder, *arguments, env=bench.bed.environment()).end()
        assert code == 0, f"{arguments}: {out}\n{err}"
    used = called(cloud)
    assert used <= granted(), used - granted()
    # EC2 itself uses the key of a volume.
    unused = {one for one in granted() - used if not one.startswith(("s3:", "kms:"))}
    assert unused <= NOT_CALLED, unused
