"""A plan on AWS that cannot be carried out gives its reason before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.caller import subnet_without_a_route
from tests.cloud.client import REGION, Cloud
from tests.cloud_runs import CloudBench

pytestmark = pytest.mark.cloud


@pytest.fixture
def bench(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """A small search for two nodes."""
    return CloudBench(tmp_path, cloud)


def planned(bench: CloudBench, code: int, *options: str) -> str:
    """Return the plan's stderr; fail unless it ends with this code and starts nothing."""
    err = bench.ended_with(code, bench.start("--nodes", "2", "--dry-run", *options))
    assert not bench.cloud.calls["ec2:RunInstances"]
    assert not bench.cloud.calls["ec2:CreateSecurityGroup"]
    return " ".join(err.split())


def test_a_region_without_a_default_vpc_has_a_remedy(
    bench: CloudBench,
) -> None:
    """A region without a default VPC ends with 3 and names a command and a key."""
    bench.cloud.faults.remove_default_vpc()
    said = planned(bench, 3)
    assert f"{REGION} has no default VPC" in said
    assert f"aws ec2 create-default-vpc --region {REGION}" in said
    assert "subnet under [aws]" in said


def test_a_subnet_without_a_route_is_refused(bench: CloudBench) -> None:
    """A subnet without a route to the internet ends with 3, public or private."""
    subnet = bench.aws["subnet"] = subnet_without_a_route(bench.cloud)
    said = planned(bench, 3)
    assert f"{subnet} in {REGION} cannot reach the internet" in said
    assert "internet gateway" in said
    bench.aws |= {"public_ip": False, "allow_cidr": "172.31.0.0/16"}
    assert "NAT gateway" in planned(bench, 3)


def test_a_private_subnet_with_a_package_mirror_is_planned(bench: CloudBench) -> None:
    """With index_url, a private subnet without a route is planned, with a note."""
    bench.aws |= {
        "subnet": subnet_without_a_route(bench.cloud),
        "public_ip": False,
        "allow_cidr": "172.31.0.0/16",
    }
    bench.environment = 'index_url = "http://172.31.0.5/simple"'
    code, out, err = bench.start("--nodes", "2", "--dry-run").end()
    said = " ".join((out + err).split())
    assert code == 0, said
    assert "nodes cannot reach the internet: Python, uv and all packages must be" in said


def test_types_of_two_architectures_are_refused(bench: CloudBench) -> None:
    """Types of x86_64 and arm64 in one run end with 2, unless mixed_architectures allows them."""
    bench.aws["instance_types"] = ["c7i.large", "c7g.large"]
    said = planned(bench, 2)
    assert "c7g.large (arm64) and c7i.large (x86_64)" in said
    assert "mixed_architectures = true" in said
    bench.aws["mixed_architectures"] = True
    planned(bench, 0)


@pytest.mark.parametrize("ami", ["ami-0123456789abcdef0", "ubuntu"])
def test_an_unknown_image_is_a_mistake_in_the_config(bench: CloudBench, ami: str) -> None:
    """An unknown image ends with 2 and names the image and the key."""
    bench.aws["ami"] = ami
    said = planned(bench, 2)
    assert ami in said
    assert "ami under [aws]" in said


def test_an_unknown_type_is_a_mistake_in_the_config(bench: CloudBench) -> None:
    """An unknown type ends with 2, names the types, and gives the command that lists them."""
    bench.aws["instance_types"] = ["c7i.large", "c99i.large"]
    said = planned(bench, 2)
    assert f"names c99i.large, which {REGION} does not have" in said
    assert "describe-instance-types" in said


def test_a_silent_price_list_gives_an_unknown_price(bench: CloudBench) -> None:
    """If the price list does not answer, the plan names the key that sets the price."""
    bench.cloud.faults.delay_answer("pricing:GetProducts", seconds=60.0, times=None)
    code, out, err = bench.start("--nodes", "2", "--dry-run").end()
    said = " ".join((out + err).split())
    assert code == 0, said
    assert "unknown: set aws.price_per_hour" in said
    assert "the price list does not answer" in said
    assert bench.cloud.calls["pricing:GetProducts"] == 1, "asked again for each type"


def test_a_budget_needs_a_price(bench: CloudBench) -> None:
    """With --max-cost, an unknown price ends with 2 and names the key that sets it."""
    bench.cloud.faults.deny("pricing:GetProducts")
    assert "unknown: set aws.price_per_hour" in planned(bench, 2, "--max-cost", "1")
    bench.aws["price_per_hour"] = 0.834
    code, out, err = bench.start("--nodes", "2", "--dry-run", "--max-cost", "1").end()
    assert code == 0, f"{out}\n{err}"
