"""Connections to real SSH servers: host keys and jump hosts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from skygrid.nodes.ssh.channel import read_output
from skygrid.nodes.ssh.connection import NEWCOMERS, Connection
from skygrid.nodes.ssh.failures import (
    HostError,
    KeyRefusedError,
    RevokedHostKeyError,
    UnknownHostKeyError,
    UnreachableError,
)
from skygrid.nodes.ssh.targets import SshOptions, find_target
from tests.sshd import SshBed, SshNode

SECONDS = 30.0


def connect(bed: SshBed, alias: str) -> Connection:
    """Connect as a run does."""
    return Connection(find_target(alias, SshOptions(config_file=bed.config_file)))


def answers(bed: SshBed, alias: str) -> bool:
    """Return whether a command runs over a new connection."""
    connection = connect(bed, alias)
    try:
        return read_output(connection, "echo here", SECONDS) == b"here\n"
    finally:
        connection.close()


# ---- known host keys -----------------------------------------------------------------------------


def hashed(bed: SshBed, node: SshNode) -> None:
    bed.know(node.host_key_line())
    subprocess.run(["ssh-keygen", "-H", "-f", bed.known_hosts], check=True, capture_output=True)


def by_a_pattern(bed: SshBed, node: SshNode) -> None:
    bed.know(node.host_key_line().replace(node.address, "127.0.*"))


def beside_an_older_key(bed: SshBed, node: SshNode) -> None:
    name = node.host_key_line().split()[0]
    bed.know(f"{name} {' '.join(bed.public_key.split()[:2])} the one before")
    bed.know(node.host_key_line())


def among_lines_of_other_kinds(bed: SshBed, node: SshNode) -> None:
    bed.know(f"# work\n\n@cert-authority *.example.org {bed.public_key}\nhalf a line\na b !\n")
    bed.know(f"\t{node.host_key_line()}")


def without_the_port(bed: SshBed, node: SshNode) -> None:
    bed.know(f"{node.address} {' '.join(node.host_key.split()[:2])}")


def in_the_second_of_two_files_with_spaces(bed: SshBed, node: SshNode) -> None:
    (bed.folder / "of work").write_text("")
    (bed.folder / "of home").write_text(f"{node.host_key_line()}\n")
    bed.set_globally(f'UserKnownHostsFile "{bed.folder}/of work" "{bed.folder}/of home"')


@pytest.mark.parametrize(
    "know",
    [
        hashed,
        by_a_pattern,
        beside_an_older_key,
        among_lines_of_other_kinds,
        without_the_port,
        in_the_second_of_two_files_with_spaces,
    ],
)
def test_a_host_key_is_accepted_as_by_openssh(
    ssh_bed: SshBed, know: Callable[[SshBed, SshNode], None]
) -> None:
    """A host key is accepted in each form that known_hosts allows."""
    node = ssh_bed.node(known=False)
    with pytest.raises(UnknownHostKeyError):
        connect(ssh_bed, "node1")
    know(ssh_bed, node)
    assert answers(ssh_bed, "node1")
    assert ssh_bed.ssh("node1", "true").returncode == 0, "OpenSSH takes it too"


def test_a_known_key_of_several_is_used(ssh_bed: SshBed) -> None:
    """Of several host keys, one of a known type is requested."""
    rsa = ssh_bed.folder / "rsa"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa],
        check=True,
        capture_output=True,
    )
    node = ssh_bed.node(known=False, settings=[f"HostKey {rsa}"])
    kind, key = rsa.with_suffix(".pub").read_text().split()[:2]
    ssh_bed.know(f"{node.host_key_line().split()[0]} {kind} {key}")
    assert answers(ssh_bed, "node1")


# ---- host certificates ---------------------------------------------------------------------------


class Authority:
    """A key that signs other keys."""

    def __init__(self, folder: Path, kind: str = "ed25519") -> None:
        self.key = folder / f"authority-{kind}"
        keygen("-t", kind, "-N", "", "-f", self.key)
        self.public = self.key.with_name(f"{self.key.name}.pub").read_text().strip()

    def sign(self, public: Path, *options: str) -> Path:
        keygen("-s", self.key, "-I", "name", *options, public)
        return public.with_name(f"{public.stem}-cert.pub")


def keygen(*words: object) -> None:
    subprocess.run(["ssh-keygen", "-q", *map(str, words)], check=True, capture_output=True)


@dataclass(frozen=True)
class Signing:
    """The certificate of a host, and the end of its use."""

    options: tuple[str, ...]
    """Of ssh-keygen; ``{}`` is the host's address."""

    objection: str | None
    kind: str = "ed25519"


SIGNINGS = {
    "by name": Signing(("-h", "-n", "{}"), None),
    "for any host": Signing(("-h",), None),
    "by an RSA authority": Signing(("-h", "-n", "{}"), None, kind="rsa"),
    "by an ECDSA authority": Signing(("-h", "-n", "{}"), None, kind="ecdsa"),
    "for another host": Signing(("-h", "-n", "elsewhere"), "it is for elsewhere"),
    "in the past": Signing(("-h", "-n", "{}", "-V", "20200101:20200201"), "it has expired"),
    "in the future": Signing(("-h", "-n", "{}", "-V", "20980101:20990101"), "it is not valid yet"),
}


@pytest.mark.parametrize("signing", SIGNINGS.values(), ids=SIGNINGS)
def test_a_host_with_a_certificate_is_known_by_its_authority(
    ssh_bed: SshBed, signing: Signing
) -> None:
    """A host is accepted by its certificate exactly where OpenSSH accepts it."""
    authority = Authority(ssh_bed.folder, signing.kind)
    node = ssh_bed.node(known=False)
    options = [one.format(node.address) for one in signing.options]
    certificate = authority.sign(node.folder / "host.pub", *options)
    node.set(f"HostCertificate {certificate}")
    ssh_bed.know(f"@cert-authority 127.0.* {authority.public}")
    taken = ssh_bed.ssh("node1", "true").returncode == 0
    assert taken == (signing.objection is None)
    if taken:
        assert answers(ssh_bed, "node1")
    else:
        with pytest.raises(HostError, match=rf"certificate of node1 is not .*{signing.objection}"):
            connect(ssh_bed, "node1")


def test_an_authority_of_other_hosts_is_none_of_this_one(ssh_bed: SshBed) -> None:
    """A certificate of an authority that is not named for the host leaves its key unknown."""
    authority = Authority(ssh_bed.folder)
    node = ssh_bed.node(known=False)
    node.set(f"HostCertificate {authority.sign(node.folder / 'host.pub', '-h')}")
    ssh_bed.know(f"@cert-authority *.example.org {authority.public}")
    with pytest.raises(UnknownHostKeyError):
        connect(ssh_bed, "node1")
    ssh_bed.know(node.host_key_line())
    assert answers(ssh_bed, "node1")


def test_a_revoked_authority_vouches_for_no_host(ssh_bed: SshBed) -> None:
    """A host whose certificate comes from a revoked authority is refused."""
    authority = Authority(ssh_bed.folder)
    node = ssh_bed.node(known=False)
    node.set(f"HostCertificate {authority.sign(node.folder / 'host.pub', '-h')}")
    ssh_bed.know(f"@cert-authority * {authority.public}\n@revoked * {authority.public}")
    with pytest.raises(RevokedHostKeyError):
        connect(ssh_bed, "node1")


# ---- revoked host keys ---------------------------------------------------------------------------


def marked_for_all(bed: SshBed, node: SshNode) -> Path:
    kind, key = node.host_key.split()[:2]
    bed.know(f"@revoked * {kind} {key} stolen")
    return bed.known_hosts


def marked_before_it_is_accepted(bed: SshBed, node: SshNode) -> Path:
    marked = "@revoked " + node.host_key_line()
    bed.known_hosts.write_text(f"  {marked}\n{bed.known_hosts.read_text()}")
    return bed.known_hosts


def marked_in_a_hashed_file(bed: SshBed, node: SshNode) -> Path:
    path = marked_for_all(bed, node)
    subprocess.run(["ssh-keygen", "-H", "-f", path], check=True, capture_output=True)
    return path


def listed(bed: SshBed, node: SshNode) -> Path:
    path = bed.folder / "revoked keys"
    path.write_text(f"# lost\n{bed.public_key}\n{node.host_key}\n")
    return path


def listed_in_a_krl(bed: SshBed, node: SshNode) -> Path:
    path = bed.folder / "revoked.krl"
    public = node.folder / "host.pub"
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", path, public], check=True, capture_output=True)
    return path


def with_revoked_keys(bed: SshBed, node: SshNode, path: Path) -> str:
    """Add another alias of the node whose configuration names the file."""
    return bed.add(node, known=False, settings=[f'RevokedHostKeys "{path}"'])


@pytest.mark.parametrize(
    "revoke",
    [
        marked_for_all,
        marked_before_it_is_accepted,
        marked_in_a_hashed_file,
        listed,
        listed_in_a_krl,
    ],
)
def test_a_revoked_host_key_is_refused(
    ssh_bed: SshBed, revoke: Callable[[SshBed, SshNode], Path]
) -> None:
    """A revoked host key is refused by name, even if known_hosts also accepts it."""
    node = ssh_bed.node()
    assert answers(ssh_bed, "node1")
    path = revoke(ssh_bed, node)
    alias = "node1"
    if path != ssh_bed.known_hosts:
        alias = with_revoked_keys(ssh_bed, node, path)
    with pytest.raises(RevokedHostKeyError) as caught:
        connect(ssh_bed, alias)
    assert f"the host key of {alias} is revoked, as {path} says" in str(caught.value)
    assert ssh_bed.ssh(alias, "true").returncode == 255, "OpenSSH refuses it too"


def test_a_revoked_host_key_is_not_called_unknown_or_changed(ssh_bed: SshBed) -> None:
    """The error about a revoked key gives no advice to accept it."""
    unknown = ssh_bed.node(known=False)
    marked_for_all(ssh_bed, unknown)
    changed = ssh_bed.node()
    changed.new_host_key()
    marked_for_all(ssh_bed, changed)
    for alias in ("node1", "node2"):
        with pytest.raises(RevokedHostKeyError) as caught:
            connect(ssh_bed, alias)
        assert "ssh-keygen" not in str(caught.value)


@pytest.mark.parametrize("kind", ["text", "krl"])
def test_keys_that_are_not_revoked_are_accepted(ssh_bed: SshBed, kind: str) -> None:
    """A list of revoked keys refuses only those in it."""
    other, node = ssh_bed.node(), ssh_bed.node()
    path = (listed if kind == "text" else listed_in_a_krl)(ssh_bed, other)
    assert answers(ssh_bed, with_revoked_keys(ssh_bed, node, path))


@pytest.mark.parametrize("content", [None, b"SSHKRL\n\0cut off"])
def test_an_unreadable_list_of_revoked_keys_refuses_all_hosts(
    ssh_bed: SshBed, content: bytes | None
) -> None:
    """While the list of revoked keys cannot be read, no host is trusted, as in OpenSSH."""
    path = ssh_bed.folder / "revoked"
    if content is not None:
        path.write_bytes(content)
    alias = with_revoked_keys(ssh_bed, ssh_bed.node(), path)
    with pytest.raises(HostError, match=f"{path} cannot be read.*Mend RevokedHostKeys"):
        connect(ssh_bed, alias)
    assert ssh_bed.ssh(alias, "true").returncode == 255


# ---- keys with a passphrase ----------------------------------------------------------------------


def test_a_locked_key_is_named_beside_a_refused_one(ssh_bed: SshBed) -> None:
    """The error about a refused key also names the key with a passphrase."""
    node = ssh_bed.node()
    node.refuse_keys()
    locked = ssh_bed.folder / "locked"
    shutil.copy(ssh_bed.key, locked)
    ssh_bed.lock_key("secret")
    shutil.move(ssh_bed.key, ssh_bed.folder / "aside")
    shutil.move(locked, ssh_bed.key)
    shutil.move(ssh_bed.folder / "aside", locked)
    alias = ssh_bed.add(node, known=False, settings=[f"IdentityFile {locked}"])
    with pytest.raises(KeyRefusedError) as caught:
        connect(ssh_bed, alias)
    assert f"refused {ssh_bed.key}" in str(caught.value)
    assert f"({locked} has a passphrase and was not tried: ssh-add it)" in str(caught.value)


# ---- jump hosts ----------------------------------------------------------------------------------


def test_many_connections_pass_one_jump_host(ssh_bed: SshBed) -> None:
    """More simultaneous connections than MaxStartups allows all succeed at the first attempt."""
    most = 2 * NEWCOMERS
    ssh_bed.node(alias="gate", max_startups=f"{most}:100:{most}")
    for _ in range(2):
        ssh_bed.node(jump="gate")
    crowd = ["node2", "node3"] * most
    with ThreadPoolExecutor(len(crowd)) as pool:
        assert all(pool.map(lambda alias: answers(ssh_bed, alias), crowd))


def test_a_dead_jump_host_is_named(ssh_bed: SshBed) -> None:
    """A dead jump host is named, and not the host behind it."""
    gate, inner = ssh_bed.node(alias="gate"), ssh_bed.node(jump="gate")
    gate.kill_everything()
    with pytest.raises(UnreachableError, match=r"^jump host gate: .*refuses connections") as caught:
        connect(ssh_bed, "node2")
    assert inner.address not in str(caught.value)


def test_a_jump_host_that_refuses_the_key_is_named(ssh_bed: SshBed) -> None:
    """The advice for a key that the jump host refuses is about the jump host."""
    ssh_bed.node(alias="gate").refuse_keys()
    ssh_bed.node(jump="gate")
    with pytest.raises(KeyRefusedError, match=r"^jump host gate: .*ssh-copy-id .* gate$"):
        connect(ssh_bed, "node2")


def test_a_dead_host_behind_its_jump_host_is_named(ssh_bed: SshBed) -> None:
    """If only the host behind the jump host is dead, the error names it."""
    ssh_bed.node(alias="gate")
    inner = ssh_bed.node(jump="gate")
    inner.kill_everything()
    expected = f"the jump host gate cannot connect to {inner.address} port {inner.port}"
    with pytest.raises(UnreachableError, match=expected):
        connect(ssh_bed, "node2")


def test_a_jump_host_without_forwarding_is_named(ssh_bed: SshBed) -> None:
    """A jump host that forbids forwarding ends the connection at the first attempt."""
    ssh_bed.node(alias="gate", settings=["AllowTcpForwarding no"])
    ssh_bed.node(jump="gate")
    with pytest.raises(HostError, match="the jump host gate passes no connections on"):
        connect(ssh_bed, "node2")


# ---- logins --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["agent", "file", "agent with certificate", "IdentityAgent"])
def test_a_certificate_of_the_user_is_offered_before_the_key(ssh_bed: SshBed, where: str) -> None:
    """A host that trusts an authority alone lets in a key with a certificate beside it."""
    node = ssh_bed.node()
    authority = Authority(ssh_bed.folder)
    trusted = node.folder / "authorities"
    trusted.write_text(f"{authority.public}\n")
    node.set(f"TrustedUserCAKeys {trusted}")
    node.refuse_keys()
    with pytest.raises(KeyRefusedError):
        connect(ssh_bed, "node1")
    if where != "agent with certificate":
        certify(ssh_bed, node, authority)
    if where != "file":
        certify(ssh_bed, node, authority)
        socket = ssh_bed.start_agent()
        ssh_bed.set_globally(f"IdentityAgent {socket}")
    assert answers(ssh_bed, "node1")


def certify(bed: SshBed, node: SshNode, authority: Authority) -> None:
    authority.sign(bed.key.with_name(f"{bed.key.name}.pub"), "-n", node.user)


def test_the_agent_that_the_configuration_names_is_asked(ssh_bed: SshBed) -> None:
    """IdentityAgent is used instead of the agent in the environment."""
    ssh_bed.node()
    socket = ssh_bed.start_agent(only=True)
    with pytest.raises(KeyRefusedError):
        connect(ssh_bed, "node1")
    ssh_bed.set_globally(f'IdentityAgent "{socket}"')
    assert answers(ssh_bed, "node1")


def test_a_host_that_asks_for_more_than_a_key_is_named(ssh_bed: SshBed) -> None:
    """A second factor is named at once, as nothing can be entered."""
    ssh_bed.node(settings=["Match all", "AuthenticationMethods publickey,password"])
    with pytest.raises(KeyRefusedError, match=r"accepts the key of user .* asks for password"):
        connect(ssh_bed, "node1")


def test_a_host_that_asks_for_two_keys_gets_them(ssh_bed: SshBed) -> None:
    """All keys of a user are offered where one of them is not enough."""
    node = ssh_bed.node(settings=["Match all", "AuthenticationMethods publickey,publickey"])
    second = ssh_bed.folder / "second"
    keygen("-t", "ed25519", "-N", "", "-f", second)
    node.accept_key(second.with_suffix(".pub").read_text())
    ssh_bed.set_globally(f"IdentityFile {second}")
    assert answers(ssh_bed, "node1")


def test_too_many_keys_are_told_from_refused_ones(ssh_bed: SshBed) -> None:
    """A host that ends the login before the right key is offered is no host that refuses it."""
    ssh_bed.node(settings=["MaxAuthTries 2"])
    for number in range(3):
        wrong = ssh_bed.folder / f"wrong{number}"
        keygen("-t", "ed25519", "-N", "", "-f", wrong)
        ssh_bed.set_globally(f"IdentityFile {wrong}")
    alias = ssh_bed.add(ssh_bed.nodes[0])
    with pytest.raises(KeyRefusedError, match=r"Too many authentication failures.*IdentitiesOnly"):
        connect(ssh_bed, alias)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("KexAlgorithms sntrup761x25519-sha512@openssh.com", "add one of .* to KexAlgorithms"),
        ("Ciphers chacha20-poly1305@openssh.com", "add one of .* to Ciphers"),
    ],
)
def test_a_host_without_a_common_algorithm_is_named(
    ssh_bed: SshBed, setting: str, message: str
) -> None:
    """A hardened sshd is told from one that is down, with the setting to change."""
    ssh_bed.node(settings=[setting])
    with pytest.raises(HostError, match=message):
        connect(ssh_bed, "node1")


def test_a_connection_comes_from_the_address_of_the_configuration(ssh_bed: SshBed) -> None:
    """BindAddress is the address that the host sees."""
    ssh_bed.node()
    ssh_bed.set_globally("BindAddress 127.0.0.77")
    connection = connect(ssh_bed, "node1")
    try:
        said = read_output(connection, "echo $SSH_CLIENT", SECONDS)
    finally:
        connection.close()
    assert said.startswith(b"127.0.0.77 ")
