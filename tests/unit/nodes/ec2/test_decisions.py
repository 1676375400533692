"""Decisions about nodes on EC2 that need no call: errors, requests, prices, records."""

from __future__ import annotations

import heapq
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from hypothesis import given
from hypothesis import strategies as st

from skygrid.config import AwsConfig, limits
from skygrid.errors import ConfigError, NodeError, UsageError
from skygrid.nodes.ec2.api_errors import Decision, Failure, judge
from skygrid.nodes.ec2.cloud_record import FILE_NAME, CloudRecord, FleetStore, read_cloud_record
from skygrid.nodes.ec2.fleet import check_same_architecture, earlier_ends, resources_of, spent
from skygrid.nodes.ec2.launch.launcher import (
    Scarcity,
    Trial,
    quota_class,
    refusal,
    repeated_until,
)
from skygrid.nodes.ec2.launch.requests import (
    check_user_data,
    client_token,
    from_answer,
    from_text,
    run_request,
    to_text,
)
from skygrid.nodes.ec2.launch.watch import gone_text
from skygrid.nodes.ec2.planning.network import leads_out, routed, with_ipv4
from skygrid.nodes.ec2.planning.plan import order
from skygrid.nodes.ec2.planning.prices import Price, hourly_prices
from skygrid.nodes.ec2.planning.types import (
    FAMILIES,
    candidate_names,
    check_architectures,
    fit,
)
from skygrid.nodes.ec2.records import CloudNode, CloudPlan, Image, InstanceType, Pool, RunMark
from skygrid.nodes.ec2.retry import delays
from skygrid.nodes.ec2.teardown.listing import orphans

POOL = Pool(
    instance_type="c7i.xlarge",
    market="on-demand",
    zone="us-east-1a",
    subnet="subnet-1",
    dollars_per_hour=0.36,
)
MARK = RunMark(
    run_id="ab" * 8, name="digits", owner="arn:aws:iam::1:user/x me@here", expires_at=2e9
)
IMAGE = Image(ami="ami-1", architecture="x86_64", root_device="/dev/sda1", min_disk_gb=8)


def refused(code: str, message: str = "", status: int = 400) -> ClientError:
    """Return the error that boto3 raises for this code."""
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "Call")


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "decision", "text"),
    [
        (refused("InsufficientInstanceCapacity", status=500), Decision.NEXT_POOL, "Insufficient"),
        (refused("Unsupported", "not in this zone"), Decision.NEXT_POOL, "not in this zone"),
        (refused("VcpuLimitExceeded"), Decision.QUOTA, "services/ec2/quotas"),
        (refused("SecurityGroupLimitExceeded"), Decision.QUOTA, "services/vpc/quotas/L-E79EC296"),
        (refused("RequestLimitExceeded", status=503), Decision.BACK_OFF, "RequestLimitExceeded"),
        (refused("SomethingNew", status=502), Decision.BACK_OFF, "SomethingNew"),
        (EndpointConnectionError(endpoint_url="x"), Decision.BACK_OFF, "EndpointConnectionError"),
        (refused("IdempotentInstanceTerminated"), Decision.NEW_TOKEN, "Idempotent"),
        (refused("InvalidInstanceID.NotFound"), Decision.NOT_YET_VISIBLE, "InvalidInstanceID"),
        (refused("InvalidAMIID.NotFound", "no ami-1"), Decision.STOP, "no ami-1"),
        (refused("DependencyViolation"), Decision.IN_USE, "DependencyViolation"),
        (refused("UnauthorizedOperation"), Decision.NOT_ALLOWED, "do not allow ec2:RunInstances"),
        (refused("Client.UnauthorizedOperation"), Decision.NOT_ALLOWED, "ec2:RunInstances"),
        (refused("ExpiredToken"), Decision.EXPIRED, "aws sso login"),
        (refused("RequestExpired"), Decision.EXPIRED, "clock"),
        (NoCredentialsError(), Decision.EXPIRED, "no AWS credentials"),
        (refused("PendingVerification"), Decision.STOP, "still verifying the account"),
        (refused("InvalidParameterValue", "bad size"), Decision.STOP, "bad size"),
    ],
)
def test_every_class_of_error_has_its_decision(error, decision, text):
    """Each error leads to one decision, and its text names the cause or the remedy."""
    failure = judge(error, "ec2:RunInstances", "eu-central-1")

    assert failure.decision is decision
    assert text in failure.text


def test_a_missing_permission_is_read_from_the_message():
    """The action that the message names is reported; the encoded part is left out."""
    message = (
        "You are not authorized to perform: ec2:CreateTags on resource: x because no policy allows "
        "it. Encoded authorization failure message: AbCd-123_"
    )
    failure = judge(refused("UnauthorizedOperation", message), "ec2:RunInstances", "eu-west-1")

    assert "do not allow ec2:CreateTags in eu-west-1" in failure.text
    assert "AbCd" not in failure.text


@pytest.mark.parametrize(
    ("error", "maybe"),
    [
        (refused("RequestLimitExceeded", status=503), False),
        (refused("InternalError", status=500), True),
        (EndpointConnectionError(endpoint_url="x"), True),
        (refused("InsufficientInstanceCapacity", status=500), False),
    ],
)
def test_a_call_without_an_answer_may_have_been_executed(error, maybe):
    """Only without an answer, or after an internal error, may the call have been executed."""
    assert judge(error, "ec2:RunInstances", "x").maybe_done is maybe


# ---- requests and answers -----------------------------------------------------------------------


@given(st.text(max_size=120), st.integers(1, 9999))
def test_client_tokens_are_valid(node, generation):
    """A client token has at most 64 ASCII characters and differs between generations."""
    token = client_token(MARK.run_id, node, generation)

    assert len(token) <= 64
    assert token.isascii()
    assert token != client_token(MARK.run_id, node, generation + 1)


def request(pool: Pool = POOL, user_data: bytes = b"x", **settings: Any) -> dict[str, Any]:
    """Return a request, with defaults for everything else."""
    return run_request(
        node="aws-1",
        pool=pool,
        image=IMAGE,
        token="t",
        group_id="sg-1",
        user_data=user_data,
        mark=MARK,
        settings=AwsConfig(**settings),
    )


def test_the_end_of_an_instance_deletes_its_parts():
    """The end of an instance deletes its volume and interface; it has IMDSv2 and no role."""
    made = request(user_data=b"\x00#cloud")

    assert made["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert made["MetadataOptions"]["HttpTokens"] == "required"
    assert "IamInstanceProfile" not in made
    (volume,) = made["BlockDeviceMappings"]
    assert volume["Ebs"]["DeleteOnTermination"] is volume["Ebs"]["Encrypted"] is True
    (interface,) = made["NetworkInterfaces"]
    assert interface["DeleteOnTermination"] is True
    assert interface["AssociatePublicIpAddress"] is True
    assert made["UserData"] == b"\x00#cloud"
    assert (made["MinCount"], made["MaxCount"], "InstanceMarketOptions" in made) == (1, 1, False)


def test_a_spot_request_is_not_repeated():
    """A spot instance that is taken back ends, and AWS does not start it again."""
    options = request(msgspec.structs.replace(POOL, market="spot"))["InstanceMarketOptions"]

    assert options["MarketType"] == "spot"
    assert options["SpotOptions"] == {
        "SpotInstanceType": "one-time",
        "InstanceInterruptionBehavior": "terminate",
    }


def test_the_volume_is_as_large_as_the_image():
    """A disk smaller than the image's snapshot is enlarged to it, because EC2 would refuse it."""
    (volume,) = request(disk_gb=8)["BlockDeviceMappings"]
    assert volume["Ebs"]["VolumeSize"] == 8
    large = msgspec.structs.replace(IMAGE, min_disk_gb=50)
    made = run_request(
        node="n",
        pool=POOL,
        image=large,
        token="t",
        group_id="g",
        user_data=b"",
        mark=MARK,
        settings=AwsConfig(disk_gb=8),
    )
    assert made["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 50


def test_user_data_is_limited():
    """16 KiB of user-data are accepted; one byte more is refused before the call."""
    check_user_data("aws-1", b"x" * 16384)
    with pytest.raises(NodeError, match="16385 bytes, and EC2 takes 16384"):
        check_user_data("aws-1", b"x" * 16385)


def test_tags_are_read_back():
    """The tags of a request give the same node when they are read from an answer."""
    made = request(bucket="data")
    (tags,) = {json.dumps(one["Tags"]) for one in made["TagSpecifications"]}
    node = from_answer(
        {
            "InstanceId": "i-1",
            "InstanceType": "c7i.xlarge",
            "State": {"Name": "running"},
            "LaunchTime": datetime.fromtimestamp(1e9, UTC),
            "Tags": json.loads(tags),
            "StateReason": {"Code": "Server.X", "Message": "Server.X: why"},
        },
        "eu-west-1",
    )

    assert (node.run_id, node.run_name, node.node) == (MARK.run_id, "digits", "aws-1")
    assert (node.owner, node.expires_at, node.launched_at) == (MARK.owner, 2e9, 1e9)
    assert (node.dollars_per_hour, node.bucket, node.reason) == (0.36, "data", "Server.X: why")


@given(st.integers(0, 4_000_000_000))
def test_moments_are_read_back(moment):
    """A moment in a tag is read back to the second."""
    assert from_text(to_text(moment)) == moment


@pytest.mark.parametrize("text", ["", "soon", "2026-99-01"])
def test_an_invalid_moment_counts_as_none(text):
    """A tag that is no moment counts as 0, because any user may change tags."""
    assert from_text(text) == 0.0


# ---- pools --------------------------------------------------------------------------------------


def kind(name: str, zones: tuple[str, ...] = ("a", "b"), **more: Any) -> InstanceType:
    """Return an instance type, with defaults for everything else."""
    known = {"vcpus": 4, "memory_gib": 8.0, "architecture": "x86_64"}
    markets = more.pop("markets", ("on-demand", "spot"))
    return InstanceType(name=name, zones=zones, markets=markets, **(known | more))


def test_cheap_pools_come_first_and_unknown_prices_last():
    """Pools are sorted by price; those without a price follow in the order of the config."""
    prices = {("dear", "a"): 3.0, ("dear", "b"): 1.0, ("cheap", "a"): 2.0}

    def price(name: str, zone: str) -> Price | None:
        found = prices.get((name, zone))
        return None if found is None else Price(dollars_per_hour=found, source="")

    types = [kind("new"), kind("dear"), kind("cheap", zones=("a",)), kind("no", markets=())]
    found = order([("a", "s-a"), ("b", "s-b"), ("c", "s-c")], types, "spot", price)

    assert [(one.instance_type, one.zone) for one in found] == [
        ("dear", "b"),
        ("cheap", "a"),
        ("dear", "a"),
        ("new", "a"),
        ("new", "b"),
    ]
    assert found[0].subnet == "s-b"
    assert found[0].dollars_per_hour == 1.0


def test_a_pool_without_capacity_is_tried_last_for_a_while():
    """A lack of capacity moves the pool to the end for all nodes, for five minutes."""
    other = msgspec.structs.replace(POOL, zone="us-east-1b")
    scarcity = Scarcity()
    scarcity.dry(POOL, 0.0)

    assert scarcity.order((POOL, other), 299.0) == [other, POOL]
    assert scarcity.order((POOL, other), 300.0) == [POOL, other]


@pytest.mark.parametrize(
    ("name", "on_demand", "spot"),
    [
        ("c7i.large", "L-1216C47A", "L-34B43A08"),
        ("m7i-flex.large", "L-1216C47A", "L-34B43A08"),
        ("t3.micro", "L-1216C47A", "L-34B43A08"),
        ("is4gen.large", "L-1216C47A", "L-34B43A08"),
        ("g5.xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("gr6.4xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("vt1.3xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("p4d.24xlarge", "L-417A185B", "L-7212CCBC"),
        ("p5.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("x2iedn.xlarge", "L-7295265B", "L-E3A00192"),
        ("inf2.xlarge", "L-1945791B", "L-B5D1601B"),
        ("trn1.2xlarge", "L-2C3B7624", "L-6B0D517C"),
        ("f2.6xlarge", "L-74FC7D96", "L-88CF9481"),
        ("dl1.24xlarge", "L-6E869C2A", "L-85EED4F7"),
        ("hpc7a.12xlarge", "L-F7808C92", "spot hpc7a"),
        ("u-6tb1.56xlarge", "L-43DA4232", "spot u-6tb1"),
        ("mac2.metal", "on-demand mac2", "spot mac2"),
    ],
)
def test_each_family_and_market_has_its_quota(name, on_demand, spot):
    """A launch counts towards the quota of its family and market, not always the standard one."""
    pool = msgspec.structs.replace(POOL, instance_type=name)
    assert quota_class(pool) == on_demand
    assert quota_class(msgspec.structs.replace(pool, market="spot")) == spot


@pytest.mark.parametrize("code", ["VcpuLimitExceeded", "Client.MaxSpotInstanceCountExceeded"])
def test_a_used_up_quota_is_named_with_its_own_page(code):
    """The message names the quota of the launched family and market, and its console page."""
    pool = msgspec.structs.replace(POOL, instance_type="g5.xlarge", market="spot")
    known = judge(refused(code), "ec2:RunInstances", "eu-west-1", pool)
    assert (known.decision, "Standard" in known.text) == (Decision.QUOTA, False)
    assert 'the quota "All G and VT Spot Instance Requests" of the account' in known.text
    assert "https://eu-west-1.console.aws.amazon.com" in known.text
    assert "services/ec2/quotas/L-3819A6DF," in known.text

    other = msgspec.structs.replace(POOL, instance_type="mac2.metal")
    unknown = judge(refused(code), "ec2:RunInstances", "eu-west-1", other)
    assert "the quota for mac2.metal on the on-demand market of the account" in unknown.text
    assert "services/ec2/quotas," in unknown.text


def test_the_message_about_failed_pools():
    """The message lists each pool with its reason; a failure of another kind is reported alone."""
    capacity = Failure(decision=Decision.NEXT_POOL, code="InsufficientInstanceCapacity", text="t")
    right = Failure(decision=Decision.NOT_ALLOWED, code="U", text="no right")
    many = refusal("aws-1", "eu-west-1", [Trial(pool=POOL, failure=capacity)] * 2)

    assert many.count("c7i.xlarge on-demand in us-east-1a: no capacity") == 2
    assert refusal("aws-1", "eu-west-1", [Trial(pool=POOL, failure=right)]) == "aws-1: no right"


@pytest.mark.parametrize(("vcpus", "size"), [(1, "large"), (3, "xlarge"), (33, "12xlarge")])
def test_the_smallest_size_with_enough_vcpus(vcpus, size):
    """The candidate types have the requested vCPUs and as few more as possible."""
    for architecture, generations in FAMILIES.items():
        found = candidate_names(vcpus, architecture)
        assert found == [[f"{family}.{size}" for family in group] for group in generations]


def test_no_type_is_large_enough():
    """More fits at a time than the vCPUs of any type are refused with a remedy."""
    with pytest.raises(ConfigError, match="more nodes, or name larger types"):
        candidate_names(193, "x86_64")


def test_named_types_have_to_fit():
    """Named types are kept if they have the vCPUs and boot the image, else refused."""
    small, large, arm = kind("s", vcpus=2), kind("l", vcpus=8), kind("g", architecture="arm64")

    assert fit([small, large, arm], 4, None) == [large, arm]
    assert fit([small, large, arm], None, "x86_64") == [small, large]
    with pytest.raises(ConfigError, match=r"no type .* has enough vCPUs: s \(2\)"):
        fit([small], 4, None)
    with pytest.raises(ConfigError, match="another architecture: g"):
        fit([arm], 4, "x86_64")


def test_architectures_are_mixed_only_if_allowed():
    """Types of x86_64 and arm64 are refused for one run, with their names, unless allowed."""
    intel, arm = kind("c7i.large"), kind("c7g.large", architecture="arm64")

    check_architectures([intel, intel], mixed=False)
    check_architectures([intel, arm], mixed=True)
    with pytest.raises(ConfigError, match=r"c7g\.large \(arm64\) and c7i\.large \(x86_64\)"):
        check_architectures([intel, arm], mixed=False)


def test_a_run_is_resumed_on_the_same_architecture(tmp_path: Path):
    """A run that had x86_64 nodes is not resumed on arm64; old records do not name it."""
    arm = kind("c7g.large", architecture="arm64")
    plan = CloudPlan(
        region="eu-west-1",
        account="1",
        nodes=1,
        market="on-demand",
        images={},
        types={arm.name: arm},
        pools=(msgspec.structs.replace(POOL, instance_type=arm.name),),
        vpc="vpc-1",
    )
    store = FleetStore(tmp_path, fresh())
    store.launched(store.intend("a", POOL, lambda _: "a1", 1.0), "i-1", 2.0)
    check_same_architecture(store.record, plan)

    intel = msgspec.structs.replace(POOL, architecture="x86_64")
    store.launched(store.intend("b", intel, lambda _: "b1", 1.0), "i-2", 2.0)
    with pytest.raises(UsageError, match=r"has had x86_64 nodes, and c7g\.large is arm64"):
        check_same_architecture(store.record, plan)


# ---- network ------------------------------------------------------------------------------------


def table(*routes: dict[str, str], subnet: str | None = None) -> dict[str, Any]:
    """Return a route table of a subnet, or the main one."""
    place = {"SubnetId": subnet} if subnet else {"Main": True}
    return {"Associations": [place], "Routes": list(routes)}


OUT = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "active"}
NAT = {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "active"}
LOCAL = {"DestinationCidrBlock": "172.31.0.0/16", "GatewayId": "local"}


@pytest.mark.parametrize(
    ("tables", "public", "private"),
    [
        ([table(LOCAL, OUT)], True, True),
        ([table(LOCAL, NAT)], False, True),
        ([table(LOCAL)], False, False),
        ([table(OUT | {"State": "blackhole"})], False, False),
        ([table(OUT), table(LOCAL, subnet="s-1")], False, False),
        ([table(LOCAL), table(OUT, subnet="s-1")], True, True),
        ([table(OUT, subnet="s-2")], False, False),
    ],
)
def test_subnets_that_lead_to_the_internet(tables, public, private):
    """A subnet's own table replaces the main one; public addresses need an internet gateway."""
    assert leads_out("s-1", tables, public=True) is public
    assert leads_out("s-1", tables, public=False) is private


FEW = {"DestinationCidrBlock": "198.51.100.0/24", "GatewayId": "igw-1", "State": "active"}


@pytest.mark.parametrize(
    ("routes", "public", "near", "usable", "out"),
    [
        ((LOCAL, OUT), True, False, True, True),
        ((LOCAL,), False, False, False, True),
        ((LOCAL,), False, True, True, False),
        ((LOCAL,), True, True, False, False),
        ((LOCAL, FEW), True, True, True, False),
        ((LOCAL, NAT), False, True, True, True),
    ],
)
def test_a_package_mirror_replaces_the_way_to_the_internet(routes, public, near, usable, out):
    """With an index of their own, private nodes need no route; public ones need a gateway."""
    subnet = {"SubnetId": "s-1"}
    found = routed([subnet], [table(*routes)], public=public, packages_near=near)
    assert found == ([subnet] if usable else [], out)


def test_subnets_without_ipv4_are_refused():
    """An IPv6-only subnet is left out, and refused by name if there is no other."""
    both, six = {"SubnetId": "s-4", "Ipv6Native": False}, {"SubnetId": "s-6", "Ipv6Native": True}

    assert with_ipv4([both, six], "eu-west-1") == [both]
    with pytest.raises(NodeError, match="s-6 in eu-west-1 is IPv6-only"):
        with_ipv4([six], "eu-west-1")


# ---- prices -------------------------------------------------------------------------------------


def test_prices_of_the_price_list():
    """The hourly USD price is found in the nested document, without prices of 0 or other units."""

    def term(unit: str, usd: str) -> dict[str, Any]:
        return {"priceDimensions": {"x": {"unit": unit, "pricePerUnit": {"USD": usd}}}}

    terms = {"a": term("Hrs", "0.1785000000"), "b": term("Hrs", "0.0"), "c": term("Quantity", "9")}
    assert hourly_prices(json.dumps({"terms": {"OnDemand": terms}})) == [0.1785]


# ---- the record ---------------------------------------------------------------------------------


def fresh() -> CloudRecord:
    """Return the record of a run without launches."""
    return CloudRecord(run_id=MARK.run_id, region="us-east-1", account="1")


def token(generation: int) -> str:
    """Return the token of a generation."""
    return f"t{generation}"


def test_intent_is_on_disk_before_the_call(tmp_path: Path):
    """An intended launch is written to disk at once, and stays open until its answer."""
    store = FleetStore(tmp_path, fresh())
    launch = store.intend("aws-1", POOL, token, 5.0)

    (written,) = read_cloud_record(tmp_path).launches
    assert (written.token, written.generation, written.open) == ("t1", 1, True)
    store.launched(launch, "i-1", 6.0)
    (written,) = read_cloud_record(tmp_path).launches
    assert (written.instance_id, written.open) == ("i-1", False)
    assert store.intend("aws-1", POOL, token, 7.0).generation == 2


def test_a_record_is_of_one_region(tmp_path: Path):
    """A run cannot continue in another region than that of its nodes."""
    FleetStore(tmp_path, fresh()).group("sg-1")

    with pytest.raises(UsageError, match="has had nodes in us-east-1"):
        FleetStore(tmp_path, msgspec.structs.replace(fresh(), region="eu-west-1"))


def test_a_record_of_a_later_version_is_refused(tmp_path: Path):
    """A record of a later format is refused."""
    (tmp_path / FILE_NAME).write_text('{"format": 2}')

    with pytest.raises(UsageError, match="reads up to 1: upgrade"):
        read_cloud_record(tmp_path)
    assert read_cloud_record(tmp_path / "none") is None


def test_cost_is_counted_by_the_second_from_the_first_minute(tmp_path: Path):
    """An hour costs its price, less than a minute costs a minute, and all sessions are added."""
    store = FleetStore(tmp_path, fresh())
    for start, end in ((1000.0, 1010.0), (1000.0, 0.0)):
        name = f"i-{end}"
        store.launched(store.intend("n", POOL, token, start), name, start)
        store.ended({name: end} if end else {})
    # Both launches have the token of their generation; the second instance still runs.
    assert spent(store.record, 4600.0) == pytest.approx(0.36 / 60 + 0.36)
    nameless = msgspec.structs.replace(POOL, dollars_per_hour=None)
    store.launched(store.intend("m", nameless, lambda _: "m1", 0.0), "i-m", 0.0)
    assert spent(store.record, 4600.0) is None


def test_unseen_ends_are_bounded_by_the_lease(tmp_path: Path):
    """A node whose driver died has ended at most one lease after the driver's last sign of life."""
    store = FleetStore(tmp_path, fresh())
    for name in ("i-1", "i-2"):
        store.launched(store.intend(name, POOL, lambda _, name=name: name, 0.0), name, 100.0)
    store.alive(500.0)

    assert earlier_ends(store.record, {"i-2"}, 900.0, 1e9) == {"i-1": 1400.0}
    assert earlier_ends(store.record, {"i-2"}, 900.0, 600.0) == {"i-1": 600.0}


def test_resources_of_a_record(tmp_path: Path):
    """Known instances and launches without an answer are searched for, refused ones are not."""
    store = FleetStore(tmp_path, fresh())
    store.launched(store.intend("a", POOL, lambda _: "a1", 1.0), "i-1", 2.0)
    store.refused(store.intend("b", POOL, lambda _: "b1", 3.0))
    store.intend("c", POOL, lambda _: "c1", 4.0)

    resources = resources_of(store.record, "digits")
    assert (resources.launched, resources.tokens) == ({"i-1": 1.0}, ("c1",))
    assert resources.tokens_until == pytest.approx(4.0 + 30.0 + 120.0)


def test_a_late_launch_is_waited_for_from_its_last_call(tmp_path: Path):
    """An instance of a call without an answer is awaited from the last call on, not the first."""
    store = FleetStore(tmp_path, fresh())
    launch = store.intend("aws-1", POOL, lambda _: "a1", 1000.0)
    store.tried(launch, 1110.0)

    on_disk = read_cloud_record(tmp_path)
    assert on_disk is not None
    # The last call may have been executed at its end, and shows 120 s later.
    assert resources_of(on_disk).tokens_until == pytest.approx(1110.0 + 30.0 + 120.0)
    store.launched(launch, "i-1", 5.0)
    assert resources_of(store.record).launched == {"i-1": 1110.0}, "by the clock of this machine"


def test_an_instance_of_a_lost_answer_is_recorded(tmp_path: Path):
    """An instance that only the tags show belongs to its node's launch without an answer."""
    store = FleetStore(tmp_path, fresh())
    known = store.intend("aws-1", POOL, lambda _: "a1", 1.0)
    store.launched(known, "i-1", 1.0)
    store.refused(store.intend("aws-2", POOL, lambda _: "b1", 2.0))
    store.intend("aws-2", POOL, lambda _: "b2", 3.0)
    shown = [
        msgspec.structs.replace(node("a", 0.0), instance_id=name, node=place, launched_at=9.0)
        for name, place in (("i-1", "aws-1"), ("i-2", "aws-2"), ("i-3", "aws-3"))
    ]

    store.found(shown)

    found = [(one.token, one.instance_id, one.launched_at) for one in store.record.launches]
    assert found == [("a1", "i-1", 1.0), ("b1", None, 0.0), ("b2", "i-2", 9.0)]
    assert not resources_of(store.record).tokens


# ---- throttled launches -------------------------------------------------------------------------


class Bucket:
    """A token bucket, as EC2 throttles calls of one action with it."""

    def __init__(self, capacity: float, per_second: float) -> None:
        self.capacity, self.per_second = capacity, per_second
        self.tokens, self.at = capacity, 0.0

    def take(self, now: float) -> bool:
        """Return True if a call at this time is executed."""
        self.tokens = min(self.capacity, self.tokens + (now - self.at) * self.per_second)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


THROTTLE = Failure(decision=Decision.BACK_OFF, code="RequestLimitExceeded", text="")
UNANSWERED = Failure(decision=Decision.BACK_OFF, code="ReadTimeoutError", text="")


def launch_all(nodes: int, bucket: Bucket, launch_timeout: float) -> tuple[list[float], int]:
    """Launch nodes at once in virtual time; return the times of success, and the calls."""
    waits = {number: delays() for number in range(nodes)}
    due = [(0.0, number) for number in waits]
    done: list[float] = []
    calls = 0
    while due:
        now, number = heapq.heappop(due)
        calls += 1
        if bucket.take(now):
            done.append(now)
            continue
        again = now + next(waits[number])
        if again <= repeated_until(THROTTLE, 0.0, math.inf, launch_timeout=launch_timeout):
            heapq.heappush(due, (again, number))
    return done, calls


def test_a_hundred_nodes_are_launched_under_throttling():
    """With EC2's limits, 100 nodes are launched in a minute, and 1,000 within launch_timeout."""
    done, calls = launch_all(100, Bucket(5, 2.0), AwsConfig().launch_timeout)
    assert (len(done), max(done) < 75.0, calls < 1500) == (100, True, True)
    many, _ = launch_all(1000, Bucket(5, 2.0), AwsConfig().launch_timeout)
    assert len(many) == 1000


def test_calls_without_an_answer_have_a_limit_of_their_own():
    """A call without an answer is repeated for 120 s from the first one; a refusal is final."""
    refusal = Failure(decision=Decision.NOT_ALLOWED, code="U", text="")

    def until(failure: Failure) -> float:
        return repeated_until(failure, 0.0, 200.0, launch_timeout=600.0)

    assert (until(THROTTLE), until(UNANSWERED), until(refusal)) == (600.0, 320.0, -math.inf)


# ---- the rest -----------------------------------------------------------------------------------


def node(run_id: str, expires_at: float) -> CloudNode:
    """Return a node, with defaults for everything else."""
    return CloudNode(
        instance_id="i-1",
        node="aws-1",
        run_id=run_id,
        run_name="",
        owner="",
        region="",
        instance_type="",
        market="spot",
        zone="",
        state="running",
        launched_at=0.0,
        expires_at=expires_at,
        dollars_per_hour=3.6,
    )


def test_orphans():
    """An orphan is past its expiry, or belongs to a run without a driver; 0 is no expiry."""
    late, dead, alive, unmarked = node("a", 50), node("b", 200), node("a", 200), node("c", 0.0)

    assert orphans([late, dead, alive, unmarked], 100.0, {"b"}) == [late, dead]


def test_the_end_of_an_instance_has_a_next_step():
    """The reason of an instance that ends right after its launch is followed by a remedy."""
    gone = msgspec.structs.replace(node("a", 0.0), state="terminated")
    refused = msgspec.structs.replace(gone, reason="Client.InternalError: Client error on launch")

    assert gone_text(gone) == "is terminated"
    assert "guides/aws.md has the policy" in gone_text(refused)
    assert gone_text(msgspec.structs.replace(gone, reason="Server.X: why")).endswith("why)")


def test_cost_of_a_node_so_far():
    """A node costs by the second since its launch, at least a minute."""
    assert node("a", 0.0).dollars(7200.0) == pytest.approx(7.2)
    assert node("a", 0.0).dollars(5.0) == pytest.approx(0.06)


def test_delays_grow_up_to_a_bound():
    """Waits double up to a bound, with jitter."""
    found = [delay for delay, _ in zip(delays(), range(12), strict=False)]

    assert 0.35 <= found[0] <= 0.5
    assert all(
        0.7 * limits.EC2_RETRY_LONGEST <= one <= limits.EC2_RETRY_LONGEST for one in found[4:]
    )
