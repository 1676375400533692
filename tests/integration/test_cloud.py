"""Machines of the test cloud: boot, access, end, and cleanup."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cloud.caller import CALLER, Caller, subnet_without_a_route
from tests.cloud.client import Cloud, wait
from tests.cloud.extras import IMAGES
from tests.sshd import SshBed, make_key

pytestmark = pytest.mark.cloud

SPOT = {"InstanceMarketOptions": {"MarketType": "spot"}}


@pytest.fixture
def caller(cloud: Cloud, tmp_path: Path) -> Caller:
    """Caller with a key and a security group that admits it."""
    return Caller(cloud, tmp_path)


@contextmanager
def _session(caller: Caller, address: str, command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Open a session and kill it at the end."""
    words = caller.ssh_words(address, command)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        try:
            yield session
        finally:
            session.kill()


def _is_silent(address: str, seconds: float = 0.3) -> bool:
    with socket.socket() as trial:
        trial.settimeout(seconds)
        try:
            trial.connect((address, 22))
        except TimeoutError:
            return True
        except ConnectionRefusedError:
            pass
        return False


# ---- boot ----------------------------------------------------------------------------------------


def test_an_instance_boots_and_admits_its_key_alone(caller: Caller, tmp_path: Path) -> None:
    """The key of the user-data logs in as ubuntu, with sudo; other keys and root are refused."""
    node = caller.launch()
    address = caller.ready(node)
    done = caller.ssh(address, "id -un; hostname; sudo -n id -un; python3 -c 'print(6 * 7)'")
    private = caller.describe(node)["PrivateIpAddress"]
    assert done.stdout.split() == ["ubuntu", f"ip-{private.replace('.', '-')}", "root", "42"]
    make_key(tmp_path / "stranger", "stranger")
    assert caller.ssh(address, "true", key=tmp_path / "stranger").returncode == 255
    words = caller.ssh_words(address, "echo in", name="root")
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as as_root:
        assert as_root.stdout is not None
        assert b'Please login as the user "ubuntu"' in as_root.stdout.readline()
        as_root.kill()
    caller.end(node)


@pytest.mark.parametrize(
    ("user_data", "said"),
    [
        ("#cloud-config\nbutcmd: []\n", "not known here: butcmd"),
        ("#include\nhttp://x\n", "not with #cloud-config"),
        ("#cloud-config\nbootcmd: [exit 3]\n", "bootcmd: exit 3"),
    ],
)
def test_unsupported_user_data_is_a_problem(
    caller: Caller, cloud: Cloud, user_data: str, said: str
) -> None:
    """Unknown user-data and failed steps are reported and fail the test."""
    node = caller.launch(user_data)
    wait(lambda: any(said in one for one in cloud.problems()), lambda: f"{cloud.problems()}")
    caller.end(node)
    with pytest.raises(AssertionError, match=said):
        cloud.check_nothing_left()
    cloud.allow_problems = True


def test_sshd_may_be_up_before_the_users_key(caller: Caller, cloud: Cloud) -> None:
    """With `key_seconds`, sshd runs with its host key but refuses the user for a while."""
    cloud.faults.set(key_seconds=4.0)
    node = caller.launch()
    address = caller.address(node)
    wait(lambda: "denied" in caller.ssh(address, "true").stderr, lambda: "a refusal")
    caller.ready(node)
    caller.end(node)


def test_a_boot_takes_its_set_time(caller: Caller, cloud: Cloud) -> None:
    """An instance that boots is `running` in the API and silent on the network."""
    cloud.faults.set(boot_seconds=4.0)
    node = caller.launch()
    caller.wait_state(node, "running")
    assert _is_silent(caller.address(node))
    assert not cloud.processes()
    caller.ready(node)
    caller.end(node)


def test_a_mounted_folder_is_shared(caller: Caller, cloud: Cloud, tmp_path: Path) -> None:
    """Files of this machine are read-only on an instance, except in a mounted folder."""
    shared = tmp_path / "shared"
    shared.mkdir()
    cloud.mount(shared)
    node = caller.launch()
    address = caller.ready(node)
    assert caller.ssh(address, f"echo there > {shared}/note; ls {tmp_path}").stdout == "shared\n"
    assert (shared / "note").read_text() == "there\n"
    caller.ssh(address, "sudo touch /etc/touched /touched; touch /tmp/touched-by-an-instance")
    assert not Path("/etc/touched").exists()
    assert not Path("/touched").exists()
    assert not Path("/tmp/touched-by-an-instance").exists()
    caller.end(node)


def test_one_of_three_can_be_unreachable(caller: Caller, cloud: Cloud) -> None:
    """With `unreachable`, the next instances run but their addresses stay silent."""
    cloud.faults.set(unreachable=1)
    silent, first, second = (caller.launch() for _ in range(3))
    for node in (first, second):
        caller.ready(node)
    assert caller.state(silent) == "running"
    assert _is_silent(caller.address(silent))
    caller.end(silent, first, second)


# ---- end -----------------------------------------------------------------------------------------


def test_terminate_ends_every_process(caller: Caller, cloud: Cloud) -> None:
    """TerminateInstances ends all processes, even if they ignore signals, and deletes volumes."""
    node = caller.launch(
        caller.cloud_config(bootcmd=["setsid sh -c 'trap : TERM; while :; do sleep 1; done' &"])
    )
    address = caller.ready(node)
    assert any("trap" in one for one in cloud.processes())
    caller.end(node)
    assert cloud.processes() == []
    assert cloud.left() == {}
    assert caller.describe(node)["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 22), timeout=5)


@pytest.mark.parametrize("command", ["shutdown -P now", "poweroff", "shutdown -h +0"])
def test_power_off_inside_terminates_the_instance(caller: Caller, command: str) -> None:
    """A power-off from inside ends the instance, by its InstanceInitiatedShutdownBehavior."""
    node = caller.launch()
    caller.ssh(caller.ready(node), f"sudo {command}")
    caller.wait_state(node, "terminated")
    assert caller.describe(node)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    caller.end()


def test_power_off_inside_stops_without_that_setting(caller: Caller, cloud: Cloud) -> None:
    """An instance that is not set to terminate is stopped and keeps its volume."""
    node = caller.launch(InstanceInitiatedShutdownBehavior="stop")
    caller.ssh(caller.ready(node), "sudo poweroff")
    caller.wait_state(node, "stopped")
    assert set(cloud.left()) == {"instances", "volumes", "groups"}
    caller.end(node)


def test_halt_does_not_end_an_instance(caller: Caller, cloud: Cloud) -> None:
    """After `halt` no process runs and no port answers, but the API shows `running`."""
    node = caller.launch()
    address = caller.ready(node)
    with _session(caller, address, "sudo halt"):
        wait(lambda: not cloud.processes(), lambda: f"{cloud.processes()}")
    assert caller.state(node) == "running"
    wait(lambda: _is_silent(address), lambda: "silence")
    caller.end(node)


def test_a_dead_machine_is_silent_and_running(caller: Caller, cloud: Cloud) -> None:
    """A dead machine closes no connection, and the API still shows `running`."""
    node = caller.launch()
    address = caller.ready(node)
    with _session(caller, address, "echo up; exec sleep 1000") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"up\n"
        cloud.kill(node)
        assert cloud.processes() == []
        assert _is_silent(address)
        assert session.poll() is None
    assert caller.state(node) == "running"
    caller.end(node)


# ---- network -------------------------------------------------------------------------------------


def test_the_security_group_decides_by_address(cloud: Cloud, tmp_path: Path) -> None:
    """Without a rule for the caller's address, which can change, the network is silent."""
    import urllib.request

    caller = Caller(cloud, tmp_path, ingress=None)
    node = caller.launch()
    address = caller.address(node)
    wait(lambda: _is_silent(address), lambda: "a closed firewall")
    with urllib.request.urlopen(cloud.checkip, timeout=10) as answer:
        assert answer.read().decode().strip() == CALLER
    caller.allow(f"{CALLER}/32")
    caller.ready(node)
    cloud.faults.move_caller("203.0.113.99")
    assert _is_silent(address)
    caller.allow("203.0.113.0/24")
    caller.ready(node)
    caller.end(node)


def test_a_connection_falls_silent_when_the_callers_address_changes(
    caller: Caller, cloud: Cloud
) -> None:
    """After a change of the caller's address a connection stays open but transfers nothing."""
    node = caller.launch()
    address = caller.ready(node)
    with _session(caller, address, "cat") as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(b"one\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"one\n"
        cloud.faults.move_caller("203.0.113.99")
        session.stdin.write(b"two\n")
        session.stdin.flush()
        os.set_blocking(session.stdout.fileno(), False)
        assert _is_silent(address)  # meanwhile, 0.3 s
        assert session.stdout.read() is None
        assert session.poll() is None
    caller.end(node)


def test_an_address_is_reused(caller: Caller) -> None:
    """The address of an ended instance may be given to the next one."""
    first = caller.launch()
    address = caller.ready(first)
    caller.ec2.terminate_instances(InstanceIds=[first])
    caller.wait_state(first, "terminated")
    second = caller.launch()
    assert caller.ready(second) == address
    caller.end(second)


def test_a_private_address_is_reached_through_a_jump_host_alone(
    cloud: Cloud, tmp_path: Path, ssh_bed: SshBed
) -> None:
    """A private address can be reached only through an sshd."""
    caller = Caller(cloud, tmp_path, ingress="172.31.0.0/16")
    jump = ssh_bed.node()
    group = caller.group
    interface = {"DeviceIndex": 0, "AssociatePublicIpAddress": False, "Groups": [group]}
    subnet = subnet_without_a_route(cloud)
    node = caller.launch(SecurityGroupIds=[], NetworkInterfaces=[{**interface, "SubnetId": subnet}])
    found = caller.describe(node)
    assert "PublicIpAddress" not in found
    address = found["PrivateIpAddress"]
    proxy = " ".join(
        [
            "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no",
            f"-o UserKnownHostsFile=/dev/null -i {ssh_bed.key} -p {jump.port}",
            f"-W %h:%p {jump.user}@{jump.address}",
        ]
    )
    through = ("-o", f"ProxyCommand={proxy}")
    wait(
        lambda: caller.ssh(address, "true", *through).returncode == 0,
        lambda: caller.ssh(address, "true", *through).stderr,
    )
    with socket.create_connection((address, 22), timeout=5) as direct:
        direct.settimeout(0.3)
        with pytest.raises(TimeoutError):
            direct.recv(4)
    caller.end(node)


# ---- metadata and spot ---------------------------------------------------------------------------


def _metadata(caller: Caller, address: str, path: str) -> str:
    token = (
        "$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "
        '"$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest/api/token")'
    )
    return caller.ssh(
        address,
        f'curl -s -w " %{{http_code}}" -H "X-aws-ec2-metadata-token: {token}" '
        f'"$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest/{path}"',
    ).stdout


def test_metadata_needs_a_token(caller: Caller) -> None:
    """An instance reads its metadata with a token; without one the answer is 401."""
    node = caller.launch()
    address = caller.ready(node)
    assert _metadata(caller, address, "meta-data/instance-id") == f"{node} 200"
    assert _metadata(caller, address, "user-data").startswith("#cloud-config\n")
    assert _metadata(caller, address, "meta-data/spot/instance-action") == " 404"
    plain = 'curl -s -w "%{http_code}" $AWS_EC2_METADATA_SERVICE_ENDPOINT/latest/meta-data/ami-id'
    assert caller.ssh(address, plain).stdout == "401"
    caller.end(node)


def test_a_spot_instance_gets_a_notice_before_its_end(caller: Caller, cloud: Cloud) -> None:
    """The notice appears in the metadata, and the instance ends at its time."""
    node = caller.launch(**SPOT)
    assert caller.describe(node)["InstanceLifecycle"] == "spot"
    address = caller.ready(node)
    cloud.interrupt(node, 4.0)
    text, _, code = _metadata(caller, address, "meta-data/spot/instance-action").rpartition(" ")
    assert code == "200"
    assert json.loads(text)["action"] == "terminate"
    caller.wait_state(node, "terminated")
    assert caller.describe(node)["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    caller.end()


def test_an_instance_fetches_an_object_by_its_presigned_url(caller: Caller, cloud: Cloud) -> None:
    """The URL needs no credentials and allows ranges."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="data", Body=b"0123456789")
    assert cloud.left()["objects"] == ["bucket/data"]
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "data"})
    node = caller.launch()
    address = caller.ready(node)
    assert (
        caller.ssh(address, f"curl -s '{url}'; curl -s -r 5- '{url}'").stdout == "012345678956789"
    )
    s3.delete_object(Bucket="bucket", Key="data")
    caller.end(node)


# ---- the cloud as a whole ------------------------------------------------------------------------


@pytest.fixture
def second_cloud() -> Iterator[Cloud]:
    """A second cloud."""
    with Cloud() as cloud:
        yield cloud


def test_two_clouds_share_nothing(caller: Caller, second_cloud: Cloud, tmp_path: Path) -> None:
    """Each cloud has its own addresses and instances, which end with its process."""
    (tmp_path / "second").mkdir()
    other = Caller(second_cloud, tmp_path / "second")
    ours, theirs = caller.launch(), other.launch()
    assert caller.ready(ours) != other.ready(theirs)
    found = Path("/proc") / str(second_cloud._process.pid)
    assert second_cloud.processes()
    namespaces = _namespaces_below(second_cloud._process.pid)
    os.kill(second_cloud._process.pid, signal.SIGKILL)
    wait(lambda: not found.exists() or not namespaces & _all_namespaces(), lambda: "its end")
    wait(lambda: not namespaces & _all_namespaces(), lambda: "the machines to end with it")
    assert caller.ssh(caller.address(ours), "true").returncode == 0
    caller.end(ours)


def _namespaces_below(pid: int) -> set[str]:
    import psutil

    found = set()
    for child in psutil.Process(pid).children(recursive=True):
        try:
            found.add(os.readlink(f"/proc/{child.pid}/ns/pid"))
        except OSError:
            continue
    return found - {os.readlink("/proc/self/ns/pid")}


def _all_namespaces() -> set[str]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.add(os.readlink(entry / "ns" / "pid"))
            except OSError:
                continue
    return found


def test_a_forgotten_instance_fails_the_test(caller: Caller, cloud: Cloud) -> None:
    """An instance that a test leaves is an error with its id."""
    node = caller.launch()
    caller.ready(node)
    with pytest.raises(AssertionError, match=node):
        cloud.check_nothing_left(seconds=0.1)
    cloud.allowed_left = {"instances", "groups", "volumes"}
    cloud.check_nothing_left(seconds=0.1)
    caller.end(node)


def test_instances_of_arm_boot_from_an_image_of_arm(caller: Caller) -> None:
    """Image and type must have the same architecture, as on EC2."""
    node = caller.launch(ImageId=IMAGES["arm64"], InstanceType="c7g.large")
    assert caller.describe(node)["Architecture"] == "arm64"
    caller.ready(node)
    caller.end(node)
