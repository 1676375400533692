"""The keys of a run, and the user-data that carries them to a node."""

from __future__ import annotations

import json
from pathlib import Path

import paramiko
import pytest

from skygrid.nodes.ec2.launch.keys import RunKeys, make_key_pair
from skygrid.nodes.ec2.launch.user_data import LARGEST_BYTES, BootOrders, user_data
from skygrid.nodes.ec2.provider import node_name, read_name


def orders() -> BootOrders:
    pair = make_key_pair()
    return BootOrders(
        authorized_key="ssh-ed25519 AAAA skygrid",
        host_key=pair.private,
        host_key_public=pair.public,
        lease_seconds=900,
        lifetime_seconds=90_000.5,
        expires_at=1_800_000_000.2,
    )


def test_only_the_user_can_read_the_keys(tmp_path: Path) -> None:
    """Only the user has access to the folder and the private key."""
    keys = RunKeys(tmp_path / "aws")
    assert keys.folder.stat().st_mode & 0o777 == 0o700
    assert keys.user_key.stat().st_mode & 0o777 == 0o600


def test_openssh_and_paramiko_accept_the_key(tmp_path: Path) -> None:
    """The private key opens, and its public half is the line of authorized_keys."""
    keys = RunKeys(tmp_path / "aws")
    opened = paramiko.Ed25519Key.from_private_key_file(str(keys.user_key))
    assert f"{opened.get_name()} {opened.get_base64()}" == keys.public


def test_a_later_session_has_the_same_keys(tmp_path: Path) -> None:
    """A resumed run has the keys of its nodes."""
    first = RunKeys(tmp_path / "aws")
    first.pin("i-1", "ssh-ed25519 AAAA comment")
    second = RunKeys(tmp_path / "aws")
    assert second.public == first.public
    assert second.pinned("i-1") == "ssh-ed25519 AAAA"


def test_a_pinned_key_replaces_the_one_before(tmp_path: Path) -> None:
    """Only the newest key of a node is known; the one from its user-data is removed."""
    keys = RunKeys(tmp_path / "aws")
    keys.pin("i-1", "ssh-ed25519 AAAA")
    keys.pin("i-10", "ssh-ed25519 CCCC")
    keys.pin("i-1", "ssh-ed25519 BBBB")
    assert keys.pinned("i-1") == "ssh-ed25519 BBBB"
    assert keys.pinned("i-10") == "ssh-ed25519 CCCC"
    assert "AAAA" not in keys.known_hosts.read_text()


def test_keys_are_forgotten(tmp_path: Path) -> None:
    """The keys are deleted once no node is left."""
    keys = RunKeys(tmp_path / "aws")
    assert keys.forget() == ""
    assert not keys.folder.exists()
    assert keys.forget() == "", "they may be forgotten twice"


def test_keys_that_cannot_be_deleted_are_named(tmp_path: Path) -> None:
    """Keys that cannot be deleted are reported with their folder."""
    (tmp_path / "aws").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    trouble = RunKeys(tmp_path / "aws").forget()
    assert str(tmp_path / "aws") in trouble
    assert "delete" in trouble


def test_user_data_starts_the_watchdog_first_and_fits() -> None:
    """The watchdog is the first command of cloud-init, and the user-data fits EC2's limit."""
    data = user_data(orders())
    assert len(data) <= LARGEST_BYTES
    first, _, rest = data.decode().partition("\n")
    assert first == "#cloud-config"
    config = json.loads(rest)
    assert next(iter(config)) == "bootcmd"
    (command,) = config["bootcmd"]
    assert command[-3:] == ["900", "90001", "1800000001"]
    assert config["ssh_pwauth"] is False
    assert set(config["ssh_keys"]) == {"ed25519_private", "ed25519_public"}


@pytest.mark.parametrize(
    ("generation", "name"), [(1, "aws-2"), (2, "aws-2b"), (26, "aws-2z"), (27, "aws-2-27")]
)
def test_names_of_nodes_at_one_place(generation: int, name: str) -> None:
    """Each node has its own name, from which its place can be read."""
    assert node_name("aws-2", generation) == name
    assert read_name(name) == ("aws-2", generation)


@pytest.mark.parametrize("name", ["", "other", "aws-2b-3", "aws-"])
def test_an_unknown_name_is_its_own_place(name: str) -> None:
    """A name of another form is read as a place of generation 1."""
    assert read_name(name) == (name, 1)
