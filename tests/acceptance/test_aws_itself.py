"""The guide's search on AWS itself; it costs some cents and needs an account and consent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import answer_of, result, skygrid

pytestmark = [
    pytest.mark.aws,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        not os.environ.get("SKYGRID_TEST_AWS"),
        reason="it spends money on AWS, a dollar at the most: set SKYGRID_TEST_AWS=1, with "
        "credentials and a region as for the AWS CLI",
    ),
]

GUIDE = Path(__file__).parents[2] / "guides" / "digits" / "search.py"

RUN_SECONDS = 2400.0
"""Time after which a run is stopped and its nodes are ended, in seconds."""

CONFIG = """\
[aws]
market = "spot"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder with the search; end the run's nodes after the test."""
    (tmp_path / "search.py").write_text(GUIDE.read_text())
    (tmp_path / "skygrid.toml").write_text(CONFIG)
    yield tmp_path
    if (tmp_path / "skygrid-runs" / "there" / "cloud.json").exists():
        skygrid(tmp_path, "down", "there", "--yes", seconds=RUN_SECONDS)


def test_the_digits_search_on_aws_equals_the_local_one(folder: Path) -> None:
    """Three spot nodes give this machine's answer for less than a dollar, and none is left."""
    skygrid(folder, "doctor", "--on", "aws")
    skygrid(folder, "run", "search.py", "--on", "local", "--name", "here", seconds=RUN_SECONDS)
    asked = ("--nodes", "3", "--concurrency", "4", "--max-cost", "1", "--yes")
    out, _ = skygrid(folder, "run", "search.py", "--name", "there", *asked, seconds=RUN_SECONDS)

    remote = result(folder, "there")
    assert answer_of(remote) == answer_of(result(folder, "here"))
    assert {node["name"][: len("aws-1")] for node in remote["nodes"]} == {"aws-1", "aws-2", "aws-3"}
    assert "0 nodes left, verified" in out
    assert left_of(folder / "skygrid-runs" / "there") == []


def left_of(run_folder: Path) -> list[str]:
    """Return the ids of everything that AWS still has of a run, without using skygrid."""
    import boto3

    record = json.loads((run_folder / "cloud.json").read_text())
    ec2 = boto3.client("ec2", region_name=record["region"])
    tagged = [{"Name": "tag:skygrid:run", "Values": [record["run_id"]]}]
    instances = [
        one
        for reservation in ec2.describe_instances(Filters=tagged)["Reservations"]
        for one in reservation["Instances"]
    ]
    assert len(instances) >= 3, "the run was not on AWS"
    return [
        *(one["InstanceId"] for one in instances if one["State"]["Name"] != "terminated"),
        *(one["VolumeId"] for one in ec2.describe_volumes(Filters=tagged)["Volumes"]),
        *(one["GroupId"] for one in ec2.describe_security_groups(Filters=tagged)["SecurityGroups"]),
    ]
