"""APIs of the test cloud: AWS's own answers, also to errors."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.cloud.caller import Caller, subnet_without_a_route
from tests.cloud.client import REGION, Cloud, wait
from tests.cloud.extras import IMAGES
from tests.cloud.faults import Pool
from tests.cloud.schema import check_user_data

pytestmark = pytest.mark.cloud

SPOT = {"InstanceMarketOptions": {"MarketType": "spot"}}

PARAMETER = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{}/hvm/ebs-gp3/ami-id"


@pytest.fixture
def caller(cloud: Cloud, tmp_path: Path) -> Caller:
    """Caller whose instances do not boot."""
    cloud.faults.set(dead=1000)
    return Caller(cloud, tmp_path)


def code_of(call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """Return the code of the error that a call raises."""
    with pytest.raises(ClientError) as raised:
        call(*arguments, **named)
    return str(raised.value.response["Error"]["Code"])


# ---- tokens, counts, capacity --------------------------------------------------------------------


def test_a_client_token_launches_once(caller: Caller) -> None:
    """The same call returns the same instance; a different one with its token is refused."""
    first = caller.launch(ClientToken="token")
    assert caller.launch(ClientToken="token") == first
    changed = {"ClientToken": "token", "InstanceType": "c7i.large"}
    assert code_of(caller.launch, **changed) == "IdempotentParameterMismatch"
    assert code_of(caller.launch, ClientToken="t" * 65) == "InvalidParameterValue"
    caller.ec2.terminate_instances(InstanceIds=[first])
    assert code_of(caller.launch, ClientToken="token") == "IdempotentInstanceTerminated"
    caller.end(first)


def test_a_token_finds_a_launch_without_an_answer(caller: Caller, cloud: Cloud) -> None:
    """A launch whose answer was lost has happened, and its token returns the instance."""
    cloud.faults.lose_answer("ec2:RunInstances")
    with pytest.raises(ConnectionClosedError):
        caller.launch(ClientToken="token")
    node = caller.launch(ClientToken="token")
    assert [one.id for one in cloud.nodes()] == [node]
    caller.end(node)


def test_up_to_the_requested_number_start(caller: Caller, cloud: Cloud) -> None:
    """MaxCount instances start, or as many as the quota allows if that is MinCount or more."""
    ids = caller.launch_all(MinCount=1, MaxCount=3)
    assert len(ids) == 3
    cloud.faults.set(on_demand_vcpus=20)
    more = caller.launch_all(MinCount=1, MaxCount=3)
    assert len(more) == 2
    assert code_of(caller.launch) == "VcpuLimitExceeded"
    caller.end(*ids, *more)


def test_spot_has_its_own_limits(caller: Caller, cloud: Cloud) -> None:
    """Spot instances have their own limits by vCPUs and by number."""
    cloud.faults.set(on_demand_vcpus=0, spot_count=1)
    node = caller.launch(**SPOT)
    assert code_of(caller.launch, **SPOT) == "MaxSpotInstanceCountExceeded"
    assert code_of(caller.launch) == "VcpuLimitExceeded"
    caller.end(node)


def test_capacity_is_that_of_a_pool(caller: Caller, cloud: Cloud) -> None:
    """A zone, type or market may lack capacity; without a given zone another one is used."""
    cloud.faults.no_capacity(
        Pool(zone=f"{REGION}a", market="on-demand"), Pool(instance_type="c7a.*", market="spot")
    )
    there = {"Placement": {"AvailabilityZone": f"{REGION}a"}}
    assert code_of(caller.launch, **there) == "InsufficientInstanceCapacity"
    assert (
        code_of(caller.launch, InstanceType="c7a.large", **SPOT) == "InsufficientInstanceCapacity"
    )
    spot, other = caller.launch(**there, **SPOT), caller.launch()
    assert caller.describe(spot)["Placement"]["AvailabilityZone"] == f"{REGION}a"
    assert caller.describe(other)["Placement"]["AvailabilityZone"] != f"{REGION}a"
    cloud.faults.no_capacity()
    assert code_of(caller.launch) == "InsufficientInstanceCapacity"
    caller.end(spot, other)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
        ({"InstanceType": "c99i.xlarge"}, "InvalidParameterValue"),
        ({"InstanceType": "c7g.large"}, "InvalidParameterValue"),
        (
            {"SubnetId": "subnet-0123456789abcdef0", "SecurityGroupIds": []},
            "InvalidSubnetID.NotFound",
        ),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
        ({"UserData": "#" * 16385}, "InvalidParameterValue"),
    ],
)
def test_an_invalid_launch_names_its_error(
    caller: Caller, parameters: dict[str, Any], code: str
) -> None:
    """An unknown or unsuitable parameter of a launch is refused as on EC2."""
    assert code_of(caller.launch, **parameters) == code
    caller.end()


# ---- states --------------------------------------------------------------------------------------


def test_a_new_instance_is_pending_and_not_yet_visible(caller: Caller, cloud: Cloud) -> None:
    """For a while, only the answer of its launch shows a new instance."""
    cloud.faults.set(invisible_seconds=3.0, pending_seconds=6.0)
    node = caller.launch()
    assert code_of(caller.describe, node) == "InvalidInstanceID.NotFound"
    assert caller.ec2.describe_instances()["Reservations"] == []
    end = caller.ec2.terminate_instances
    assert code_of(end, InstanceIds=[node]) == "InvalidInstanceID.NotFound"
    wait(lambda: caller.ec2.describe_instances()["Reservations"], lambda: "the instance")
    assert caller.state(node) == "pending"
    caller.wait_state(node, "running")
    caller.end(node)


def test_an_end_takes_time_and_its_group_longer(caller: Caller, cloud: Cloud) -> None:
    """`shutting-down` lasts, and the group stays in use until the interface is deleted."""
    cloud.faults.set(shutdown_seconds=3.0, interface_seconds=3.0)
    node = caller.launch()
    caller.ec2.terminate_instances(InstanceIds=[node])
    delete = caller.ec2.delete_security_group
    assert caller.state(node) == "shutting-down"
    assert code_of(delete, GroupId=caller.group) == "DependencyViolation"
    caller.wait_state(node, "terminated")
    assert code_of(delete, GroupId=caller.group) == "DependencyViolation"
    again = caller.ec2.terminate_instances(InstanceIds=[node])["TerminatingInstances"][0]
    assert again["CurrentState"]["Name"] == "terminated"

    def deleted() -> bool:
        try:
            delete(GroupId=caller.group)
        except ClientError as error:
            return error.response["Error"]["Code"] != "DependencyViolation"
        return True

    wait(deleted, lambda: "the group to be deletable")


# ---- permissions ---------------------------------------------------------------------------------


def test_a_denied_action_is_named(caller: Caller, cloud: Cloud) -> None:
    """A denied action is refused in the form of each service, also as a dry run."""
    cloud.faults.deny("ec2:RunInstances", "ssm:*", "s3:PutObject", "sts:*")
    with pytest.raises(ClientError, match="ec2:RunInstances") as raised:
        caller.launch()
    assert raised.value.response["Error"]["Code"] == "UnauthorizedOperation"
    assert code_of(caller.launch, DryRun=True) == "UnauthorizedOperation"
    assert code_of(caller.ec2.describe_instances, DryRun=True) == "DryRunOperation"
    get = cloud.client("ssm").get_parameter
    assert code_of(get, Name=PARAMETER.format("amd64")) == "AccessDeniedException"
    assert code_of(cloud.client("sts").get_caller_identity) == "AccessDenied"
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="bucket")
    assert code_of(s3.put_object, Bucket="bucket", Key="k", Body=b"x") == "AccessDenied"
    caller.end()


def test_tags_of_a_launch_need_the_permission_to_tag(caller: Caller, cloud: Cloud) -> None:
    """A launch with tags is refused without the permission to tag."""
    cloud.faults.deny("ec2:CreateTags")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "v"}]}]
    with pytest.raises(ClientError, match="ec2:CreateTags"):
        caller.launch(TagSpecifications=tags)
    caller.end(caller.launch())


def test_credentials_expire_at_once_for_every_service(caller: Caller, cloud: Cloud) -> None:
    """Once the credentials expire, each call is refused and instances continue."""
    node = caller.launch()
    cloud.faults.expire_credentials()
    assert code_of(caller.describe, node) == "RequestExpired"
    assert code_of(cloud.client("sts").get_caller_identity) == "ExpiredToken"
    get = cloud.client("ssm").get_parameter
    assert code_of(get, Name=PARAMETER.format("amd64")) == "ExpiredTokenException"
    assert cloud.left()["instances"] == [node]
    cloud.faults.expire_credentials(False)
    caller.end(node)


# ---- failed calls --------------------------------------------------------------------------------


def test_a_failure_has_its_set_number(caller: Caller, cloud: Cloud) -> None:
    """A failure starts after some calls, occurs a set number of times, and executes nothing."""
    node = caller.launch()
    cloud.faults.fail("ec2:TerminateInstances", "InternalError", times=2, after=1)
    end = caller.ec2.terminate_instances
    end(InstanceIds=[node], DryRun=False)
    assert [code_of(end, InstanceIds=[node]) for _ in range(2)] == ["InternalError"] * 2
    end(InstanceIds=[node])
    cloud.faults.throttle("ec2:Describe*", times=1)
    assert code_of(caller.ec2.describe_volumes) == "RequestLimitExceeded"
    caller.end(node)


def test_an_unexpected_error_is_an_internal_error(cloud: Cloud) -> None:
    """An unexpected error gives InternalError, and a problem unless it comes from moto."""
    ec2 = cloud.client("ec2", parameter_validation=False)
    unknown = [{"Name": "no-such-filter", "Values": ["x"]}]
    assert code_of(ec2.describe_subnets, Filters=unknown) == "InternalError"
    assert cloud.problems() == []
    launch = {"ImageId": IMAGES["x86_64"], "InstanceType": "c7i.large"}
    assert code_of(ec2.run_instances, **launch, MinCount="x", MaxCount=1) == "InternalError"
    (problem,) = cloud.problems()
    assert "RunInstances" in problem
    assert "ValueError" in problem
    cloud.allow_problems = True


def test_simultaneous_calls_do_not_break(cloud: Cloud) -> None:
    """Calls succeed while others create, delete and list objects."""
    s3, ec2 = cloud.client("s3"), cloud.client("ec2")
    s3.create_bucket(Bucket="crowd")

    def store(number: int) -> None:
        place = {"Bucket": "crowd", "Key": f"k{number}"}
        upload = {**place, "UploadId": s3.create_multipart_upload(**place)["UploadId"]}
        s3.upload_part(**upload, PartNumber=1, Body=b"x" * 1000)
        s3.abort_multipart_upload(**upload)
        s3.put_object(**place, Body=b"x")
        s3.delete_object(**place)

    def look(_: int) -> None:
        cloud.left()
        s3.list_multipart_uploads(Bucket="crowd")
        ec2.describe_volumes()

    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(one, number) for number in range(20) for one in (store, look)]
    for one in done:
        one.result()


def test_calls_are_counted(caller: Caller, cloud: Cloud) -> None:
    """Each call is counted by its action, with any caller and result."""
    before = cloud.calls
    caller.ec2.describe_instances()
    code_of(caller.launch, ImageId="ami-0123456789abcdef0")
    code_of(caller.ec2.delete_security_group, GroupId="sg-0123456789abcdef0")
    assert cloud.calls - before == {
        "ec2:DescribeInstances": 1,
        "ec2:RunInstances": 1,
        "ec2:DeleteSecurityGroup": 1,
    }
    codes = [call["code"] for call in cloud.call_log()][-3:]
    assert codes == ["", "InvalidAMIID.NotFound", "InvalidGroup.NotFound"]
    caller.end()


def test_a_wrong_clock_is_visible(caller: Caller, cloud: Cloud) -> None:
    """The cloud's clock is in the Date of each answer, and calls that are an hour off fail."""
    cloud.faults.set(clock_seconds=120)
    answer = caller.ec2.describe_instances()["ResponseMetadata"]["HTTPHeaders"]
    assert 110 < parsedate_to_datetime(answer["date"]).timestamp() - time.time() < 130
    cloud.faults.set(clock_seconds=3600)
    assert code_of(caller.ec2.describe_instances) == "AuthFailure"
    cloud.faults.set(clock_seconds=0)
    caller.end()


# ---- networks ------------------------------------------------------------------------------------


def test_the_default_vpc_has_a_route_and_can_be_missing(caller: Caller, cloud: Cloud) -> None:
    """The default VPC routes to a gateway; without that VPC a launch fails."""
    ec2 = caller.ec2
    routes = [r for table in ec2.describe_route_tables()["RouteTables"] for r in table["Routes"]]
    assert any(route.get("GatewayId", "").startswith("igw-") for route in routes)
    caller.end()
    cloud.faults.remove_default_vpc()
    default = [{"Name": "is-default", "Values": ["true"]}]
    assert ec2.describe_vpcs(Filters=default)["Vpcs"] == []
    launch = ec2.run_instances
    given = {"ImageId": IMAGES["x86_64"], "InstanceType": "c7i.large"}
    assert code_of(launch, MinCount=1, MaxCount=1, **given) == "VPCIdNotSpecified"


def test_a_subnet_without_a_route_gives_no_public_address(caller: Caller, cloud: Cloud) -> None:
    """An instance in a private subnet has only a private address."""
    subnet = subnet_without_a_route(cloud)
    tables = caller.ec2.describe_route_tables(
        Filters=[{"Name": "association.subnet-id", "Values": [subnet]}]
    )["RouteTables"]
    assert [route["GatewayId"] for route in tables[0]["Routes"]] == ["local"]
    node = caller.launch(SubnetId=subnet)
    found = caller.describe(node)
    assert "PublicIpAddress" not in found
    assert found["PrivateIpAddress"].startswith("127.")
    caller.end(node)


# ---- additions to moto ---------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "architecture"), [("amd64", "x86_64"), ("arm64", "arm64")])
def test_canonicals_parameter_names_an_image(cloud: Cloud, word: str, architecture: str) -> None:
    """The public parameter of Ubuntu 24.04 names an image that EC2 has, in each region."""
    ssm, ec2 = cloud.client("ssm", "eu-central-1"), cloud.client("ec2", "eu-central-1")
    image = ssm.get_parameter(Name=PARAMETER.format(word))["Parameter"]["Value"]
    found = ec2.describe_images(ImageIds=[image])["Images"][0]
    assert found["Architecture"] == architecture
    assert found["RootDeviceName"] == "/dev/sda1"
    assert code_of(ssm.get_parameter, Name=PARAMETER.format("mips")) == "ParameterNotFound"


def test_prices_have_the_shape_of_aws(cloud: Cloud) -> None:
    """GetProducts returns documents of the price list, one if enough filters are given."""
    filters = {
        "instanceType": "c7i.xlarge",
        "regionCode": REGION,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
    }

    def ask(**more: str) -> list[dict[str, Any]]:
        wanted = [
            {"Type": "TERM_MATCH", "Field": name, "Value": value}
            for name, value in {**filters, **more}.items()
        ]
        pricing = cloud.client("pricing")
        answer = pricing.get_products(ServiceCode="AmazonEC2", Filters=wanted)
        return [json.loads(one) for one in answer["PriceList"]]

    assert len(ask()) == 3
    (only,) = ask(capacitystatus="Used")
    (term,) = only["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    assert (dimension["unit"], float(dimension["pricePerUnit"]["USD"])) == ("Hrs", 0.1785)
    assert ask(instanceType="c99i.large") == []


def test_spot_prices_and_quotas_are_available(cloud: Cloud) -> None:
    """Spot prices are below the on-demand price in each zone, and quotas are the current ones."""
    history = cloud.client("ec2").describe_spot_price_history(
        InstanceTypes=["c7i.xlarge"], ProductDescriptions=["Linux/UNIX"]
    )["SpotPriceHistory"]
    assert len({one["AvailabilityZone"] for one in history}) == len(history) > 2
    assert all(0 < float(one["SpotPrice"]) < 0.1785 for one in history)
    cloud.faults.set(on_demand_vcpus=32, spot_vcpus=5)
    quotas = cloud.client("service-quotas")
    for code, value in (("L-1216C47A", 32.0), ("L-34B43A08", 5.0)):
        answer = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)
        assert answer["Quota"]["Value"] == value


def test_checkip_is_plain_text(cloud: Cloud) -> None:
    """The caller's address is one line of text."""
    cloud.faults.move_caller("198.51.100.7")
    with urllib.request.urlopen(cloud.checkip, timeout=10) as answer:
        assert answer.read() == b"198.51.100.7\n"


# ---- schema of cloud-init ------------------------------------------------------------------------


def test_cloud_inits_schema_is_checked() -> None:
    """cloud-init's own command accepts valid user-data and names errors."""
    check_user_data(b"#cloud-config\nbootcmd: [[sh, -c, 'true']]\nssh_deletekeys: true\n")
    with pytest.raises(AssertionError, match="bootcmd: 5 is not of type 'array'"):
        check_user_data(b"#cloud-config\nbootcmd: 5\n")
