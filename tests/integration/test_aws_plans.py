"""A plan on AWS that cannot be carried out says why, before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.caller import subnet_without_a_route
from tests.cloud.client import REGION, Cloud
from tests.cloud_runs import CloudBench

pytestmark = pytest.mark.cloud


@pytest.fixture
def bench(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """A small search that is to run on two nodes."""
    return CloudBench(tmp_path, cloud)


def planned(bench: CloudBench, code: int, *options: str) -> str:
    """What the plan of a run says on stderr, which ends with this code and starts nothing."""
    err = bench.ended_with(code, bench.start("--nodes", "2", "--dry-run", *options))
    assert not bench.cloud.calls["ec2:RunInstances"]
    assert not bench.cloud.calls["ec2:CreateSecurityGroup"]
    return " ".join(err.split())


def test_a_region_without_a_default_vpc_names_the_command_that_makes_one(
    bench: CloudBench,
) -> None:
    """Exit 3, with the command of the AWS CLI, or a subnet, as the way out."""
    bench.cloud.faults.remove_default_vpc()
    said = planned(bench, 3)
    assert f"{REGION} has no default VPC" in said
    assert f"aws ec2 create-default-vpc --region {REGION}" in said
    assert "subnet under [aws]" in said


def test_a_subnet_that_leads_nowhere_names_the_route_that_it_lacks(bench: CloudBench) -> None:
    """Exit 3 for a subnet whose nodes could not install anything; public or private."""
    subnet = bench.aws["subnet"] = subnet_without_a_route(bench.cloud)
    said = planned(bench, 3)
    assert f"{subnet} in {REGION} cannot reach the internet" in said
    assert "internet gateway" in said
    bench.aws |= {"public_ip": False, "allow_cidr": "172.31.0.0/16"}
    assert "NAT gateway" in planned(bench, 3)


@pytest.mark.parametrize("ami", ["ami-0123456789abcdef0", "ubuntu"])
def test_an_unknown_image_is_a_mistake_in_the_config(bench: CloudBench, ami: str) -> None:
    """Exit 2, naming the image, the region and the key."""
    bench.aws["ami"] = ami
    said = planned(bench, 2)
    assert ami in said
    assert "ami under [aws]" in said


def test_an_unknown_type_is_a_mistake_in_the_config(bench: CloudBench) -> None:
    """Exit 2, naming those of the types that the region does not have, and how to list its own."""
    bench.aws["instance_types"] = ["c7i.large", "c99i.large"]
    said = planned(bench, 2)
    assert f"names c99i.large, which {REGION} does not have" in said
    assert "describe-instance-types" in said


def test_a_price_list_that_is_silent_costs_a_moment_and_no_run(bench: CloudBench) -> None:
    """Without an answer the plan says that the price is unknown and which key sets it."""
    bench.cloud.faults.delay_answer("pricing:GetProducts", seconds=60.0, times=None)
    code, out, err = bench.start("--nodes", "2", "--dry-run").end()
    said = " ".join((out + err).split())
    assert code == 0, said
    assert "unknown: set aws.price_per_hour" in said
    assert "the price list does not answer" in said
    assert bench.cloud.calls["pricing:GetProducts"] == 1, "asked again for each type"


def test_a_budget_needs_a_price(bench: CloudBench) -> None:
    """With --max-cost, an unknown price is exit 2, and the message names the key for it."""
    bench.cloud.faults.deny("pricing:GetProducts")
    assert "unknown: set aws.price_per_hour" in planned(bench, 2, "--max-cost", "1")
    bench.aws["price_per_hour"] = 0.834
    code, out, err = bench.start("--nodes", "2", "--dry-run", "--max-cost", "1").end()
    assert code == 0, f"{out}\n{err}"
