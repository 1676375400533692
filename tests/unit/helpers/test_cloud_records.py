"""Decisions of the test cloud that need no machine: user-data, rules, requests, faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cloud.api import ApiError, Request, error_reply, read_request
from tests.cloud.faults import Failure, Faults, Pool, Settings, check_caller
from tests.cloud.firewall import Rule, lets_in
from tests.cloud.user_data import UserDataError, read_user_data

# ---- user-data -----------------------------------------------------------------------------------


def test_user_data_holds_the_keys() -> None:
    """Keys of the user and of the host are read, with a line break at the end of each host key."""
    keys = 'ssh_keys: {ed25519_private: k, ed25519_public: "p\\n"}'
    plan = read_user_data(f"#cloud-config\nssh_authorized_keys: [a]\n{keys}\n".encode())
    assert plan.keys == ("a",)
    assert plan.host_keys == {"ed25519_private": "k\n", "ed25519_public": "p\n"}


def test_commands_become_a_script_as_cloud_init_makes_it() -> None:
    """Commands given as text are lines of shell; lists are quoted words."""
    plan = read_user_data(b"#cloud-config\nbootcmd: ['a | b', [c, 'd e', 1]]\n")
    assert plan.bootcmd == "#!/bin/sh\na | b\nc 'd e' 1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#cloud-config\n- a\n", "not a mapping"),
        ("#cloud-config\na: [\n", "not YAML"),
        ("#cloud-config\npackages: [htop]\n", "not known here: packages"),
        ("#cloud-config\npackage_update: true\n", "package_update must be False"),
        ("#cloud-config\nbootcmd: true\n", "bootcmd is not a list"),
        ("#cloud-config\nbootcmd: [{a: 1}]\n", "neither a text nor a list"),
        ("#cloud-config\ndisable_root: false\n", "disable_root must be True"),
        ("#cloud-config\nssh_keys: {dsa_private: x}\n", "ed25519_private and"),
        ("#" * 16385, "EC2 takes 16384"),
        ("hello", "begins with 'hello'"),
    ],
)
def test_unknown_user_data_is_refused(text: str, said: str) -> None:
    """User-data that the test cloud does not know is an error."""
    with pytest.raises(UserDataError, match=said):
        read_user_data(text.encode())


# ---- the firewall --------------------------------------------------------------------------------

SSH = Rule(protocol="tcp", first_port=22, last_port=22, cidr="203.0.113.10/32")


@pytest.mark.parametrize(
    ("rules", "admitted"),
    [
        ([], False),
        ([SSH], True),
        ([Rule(protocol="tcp", first_port=0, last_port=21, cidr="0.0.0.0/0")], False),
        ([Rule(protocol="udp", first_port=22, last_port=22, cidr="0.0.0.0/0")], False),
        ([Rule(protocol="-1", first_port=None, last_port=None, cidr="203.0.113.0/24")], True),
        ([Rule(protocol="tcp", first_port=22, last_port=22, cidr="198.51.100.0/24"), SSH], True),
    ],
)
def test_a_rule_admits_by_protocol_port_and_address(rules: list[Rule], admitted: bool) -> None:
    """One rule that fits protocol, port and address admits a connection."""
    assert lets_in(rules, "203.0.113.10", 22) is admitted


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_block_admits_its_own_addresses(address: object, bits: int) -> None:
    """An address is inside every block that is named after it."""
    rule = Rule(protocol="tcp", first_port=22, last_port=22, cidr=f"{address}/{bits}")
    assert lets_in([rule], str(address), 22)


# ---- requests ------------------------------------------------------------------------------------


def _scope(service: str) -> str:
    return f"AWS4-HMAC-SHA256 Credential=K/20260101/eu-west-1/{service}/aws4_request, Signed"


def test_a_request_is_known_by_its_signature_and_form() -> None:
    """Service and region are read from the signature, the action from form, header or path."""
    form = read_request(
        {"HTTP_AUTHORIZATION": _scope("ec2")},
        b"Action=RunInstances&InstanceId.1=i-1&InstanceId.2=i",
    )
    assert (form.name, form.region) == ("ec2:RunInstances", "eu-west-1")
    assert form.listed("InstanceId") == ["i-1", "i"]
    target = {"HTTP_AUTHORIZATION": _scope("ssm"), "HTTP_X_AMZ_TARGET": "AmazonSSM.GetParameter"}
    assert read_request(target, b'{"Name": "x"}').document == {"Name": "x"}


@pytest.mark.parametrize(
    ("method", "path", "query", "action"),
    [
        ("PUT", "/bucket", "", "CreateBucket"),
        ("GET", "/bucket", "list-type=2", "ListObjects"),
        ("POST", "/bucket", "delete", "DeleteObjects"),
        ("PUT", "/bucket/a/b", "", "PutObject"),
        ("POST", "/bucket/a", "uploads", "CreateMultipartUpload"),
        ("PUT", "/bucket/a", "partNumber=1&uploadId=x", "UploadPart"),
        ("POST", "/bucket/a", "uploadId=x", "CompleteMultipartUpload"),
        ("DELETE", "/bucket/a", "uploadId=x", "AbortMultipartUpload"),
        ("DELETE", "/bucket/a", "", "DeleteObject"),
        ("HEAD", "/bucket/a", "", "HeadObject"),
        ("GET", "/bucket/a", "X-Amz-Credential=K%2F20260101%2Fr%2Fs3%2Faws4_request", "GetObject"),
    ],
)
def test_an_operation_of_s3_is_known_by_method_and_path(
    method: str, path: str, query: str, action: str
) -> None:
    """Operations of S3 are named by method, path and query."""
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    assert read_request(environ, b"").name == f"s3:{action}"


@pytest.mark.parametrize("service", ["ec2", "sts", "s3", "ssm"])
def test_an_error_names_its_code_in_every_shape(service: str) -> None:
    """Each protocol's answer contains the code and the message, escaped."""
    request = Request(service=service, action="A", region="r")
    reply = error_reply(request, ApiError(code="Code", message="a < b", status=403))
    assert reply.status == 403
    assert b"Code" in reply.body
    assert (b"a &lt; b" in reply.body) is (service != "ssm")


# ---- faults --------------------------------------------------------------------------------------


@given(after=st.integers(0, 5), times=st.integers(0, 5), calls=st.integers(0, 20))
def test_a_failure_has_its_start_and_number(after: int, times: int, calls: int) -> None:
    """The first `after` calls succeed, and the next `times` calls fail."""
    faults = Faults()
    faults.add(Failure(action="ec2:Run*", after=after, times=times))
    failed = [faults.next_failure("ec2:RunInstances") is not None for _ in range(calls)]
    assert failed == [after <= number < after + times for number in range(calls)]
    assert faults.next_failure("ec2:TerminateInstances") is None


def test_a_pool_is_a_pattern() -> None:
    """Each field of a pool may be a pattern; a missing one matches anything."""
    pool = Pool(instance_type="c7i.*", market="spot")
    assert pool.holds("us-east-1a", "c7i.large", "spot")
    assert not pool.holds("us-east-1a", "c7i.large", "on-demand")


def test_only_denied_actions_are_refused() -> None:
    """An action that is not denied is allowed."""
    settings = Settings(denied=("ec2:Run*",))
    check_caller(Request(service="ec2", action="StopInstances", region="r"), settings)
    with pytest.raises(ApiError) as raised:
        check_caller(Request(service="ec2", action="RunInstances", region="r"), settings)
    assert raised.value.code == "UnauthorizedOperation"
