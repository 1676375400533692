"""Targets from the user's SSH configuration, read by OpenSSH and by paramiko."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import paramiko
import pytest

from skygrid.config import RunConfig, SshConfig
from skygrid.errors import ConfigError
from skygrid.nodes.ssh import targets
from skygrid.nodes.ssh.failures import ssh_line, unknown_host_key
from skygrid.nodes.ssh.provider import LONGEST_NAME, find_targets
from skygrid.nodes.ssh.targets import (
    SshOptions,
    Target,
    find_target,
    split_paths,
    split_spelling,
)


@pytest.mark.parametrize(
    ("spelled", "parts"),
    [
        ("gpu1", ("gpu1", None, None)),
        ("me@gpu1", ("gpu1", "me", None)),
        ("me@gpu1:2222", ("gpu1", "me", 2222)),
        ("ssh://me@gpu1:22", ("gpu1", "me", 22)),
        ("10.0.0.7:22", ("10.0.0.7", None, 22)),
        ("[2001:db8::1]:2222", ("2001:db8::1", None, 2222)),
        ("me@[2001:db8::1]", ("2001:db8::1", "me", None)),
        ("2001:db8::1", ("2001:db8::1", None, None)),
    ],
)
def test_spellings_of_a_host(spelled: str, parts: tuple[str, str | None, int | None]) -> None:
    """A host is written as for ssh, or with its port behind a colon."""
    assert split_spelling(spelled) == parts


@pytest.mark.parametrize(
    "spelled",
    ["", "a b", "me@", "gpu1:0", "gpu1:99999", "a@b@c", "gpu1:x", "-oProxyCommand=x", "me@-x"]
    + [f"gpu{char}1" for char in "'\"`$\\;&<>|(){}"]
    + ["$(touch${IFS}x)@gpu1"],
)
def test_an_invalid_host_is_named(spelled: str) -> None:
    """An invalid spelling is quoted, with the forms that are allowed."""
    with pytest.raises(ConfigError, match=r"is no host: write name, user@name"):
        split_spelling(spelled)


CONFIG = """
Host gpu2
  HostName gpu2.example.org
  User me
  Port 2222
  IdentityFile {folder}/id_there
  IdentityFile {folder}/id_gone
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  RevokedHostKeys {folder}/revoked

Host inner
  ProxyJump gate

Host gate
  HostName gate.example.org
  ProxyJump outer:2200

Host piped
  ProxyCommand nc %h %p

Host behind-piped
  ProxyJump piped

Host circle
  ProxyJump other

Host other
  ProxyJump circle

Host special
  BindAddress 10.0.0.2
  AddressFamily inet6
  IdentityAgent "~/Group Containers/agent.sock"
  CertificateFile {folder}/id_there-cert.pub
  UserKnownHostsFile "{folder}/known one" "{folder}/known two"

Host by-interface
  BindInterface eth1

Host by-command
  KnownHostsCommand /usr/bin/lookup %H

Host forgetful
  UserKnownHostsFile /dev/null

Host renamed
  HostName 10.0.0.9
  HostKeyAlias the-old-name
"""


@pytest.fixture(params=["OpenSSH", "paramiko"])
def options(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SshOptions:
    """The configuration above, read by OpenSSH if it is installed, and by paramiko."""
    if request.param == "paramiko":
        monkeypatch.setattr(targets.shutil, "which", lambda name: None)
    (tmp_path / "id_there").touch()
    config = tmp_path / "config"
    config.write_text(CONFIG.format(folder=tmp_path))
    config.chmod(0o600)
    return SshOptions(config_file=config)


def test_a_file_below_the_home_of_nobody_is_named(tmp_path: Path) -> None:
    """A path in the SSH configuration below the home of an unknown user is an error."""
    config = tmp_path / "config"
    config.write_text("Host a\n  UserKnownHostsFile ~nobody-7/known\n")
    config.chmod(0o600)
    with pytest.raises(ConfigError, match=r"no user nobody-7|[Nn]o such user"):
        find_target("a", SshOptions(config_file=config))


def test_a_host_of_the_configuration(options: SshOptions, tmp_path: Path) -> None:
    """An alias gives its name, user, port, existing keys, known hosts and revoked keys."""
    found = find_target("gpu2", options)
    assert (found.host, found.user, found.port) == ("gpu2.example.org", "me", 2222)
    assert found.key_files == (tmp_path / "id_there",)
    assert not found.use_agent
    assert tmp_path / "known" in found.known_hosts
    assert found.revoked_host_keys == tmp_path / "revoked"
    assert find_target("inner", options).revoked_host_keys is None
    assert found.known_as == "[gpu2.example.org]:2222"


def test_the_spelling_overrides_the_configuration(options: SshOptions) -> None:
    """User and port in the spelling take precedence."""
    found = find_target("you@gpu2:23", options)
    assert (found.host, found.user, found.port) == ("gpu2.example.org", "you", 23)


def test_jumps_start_with_the_outermost(options: SshOptions) -> None:
    """A jump host that needs a jump host itself comes after that one."""
    found = find_target("inner", options)
    assert [(jump.host, jump.port) for jump in found.jumps] == [
        ("outer", 2200),
        ("gate.example.org", 22),
    ]


def test_a_proxy_command_is_refused(options: SshOptions) -> None:
    """A ProxyCommand is refused with a remedy, also that of a jump host."""
    for host in ("piped", "behind-piped"):
        with pytest.raises(ConfigError, match=r"^piped is reached by a ProxyCommand.*ProxyJump"):
            find_target(host, options)


def test_jump_hosts_that_lead_back_to_each_other_are_named(options: SshOptions) -> None:
    """No jump host is left out in silence, however many there are."""
    with pytest.raises(ConfigError, match=r"circle is reached through more than 8 jump hosts"):
        find_target("circle", options)


def test_settings_of_the_connection_are_read(options: SshOptions, tmp_path: Path) -> None:
    """Own address, family, agent, certificates, and files with spaces are those of OpenSSH."""
    for name in ("known one", "known two"):
        (tmp_path / name).touch()
    found = find_target("special", options)
    assert (found.bind_address, found.family) == ("10.0.0.2", socket.AF_INET6)
    # OpenSSH takes the home folder of the user database, Python that of the environment.
    homes = (Path.home(), Path(pwd.getpwuid(os.getuid()).pw_dir))
    assert found.agent_socket in [f"{home}/Group Containers/agent.sock" for home in homes]
    assert found.certificate_files == (tmp_path / "id_there-cert.pub",)
    assert found.known_hosts[:2] == (tmp_path / "known one", tmp_path / "known two")
    assert found.host_keys_from is None
    with pytest.raises(ConfigError, match=r"by-interface has BindInterface.*BindAddress"):
        find_target("by-interface", options)


@pytest.mark.parametrize(
    ("host", "setting"),
    [("by-command", "KnownHostsCommand"), ("forgetful", "UserKnownHostsFile /dev/null")],
)
def test_host_keys_that_cannot_be_read_are_named(
    options: SshOptions, host: str, setting: str
) -> None:
    """The advice for an unknown host key works: a login accepts none where none is kept."""
    target = find_target(host, options)
    assert target.host_keys_from == setting
    message = str(unknown_host_key(target, paramiko.ECDSAKey.generate()))
    assert f"The SSH config has {setting}" in message
    assert "known_hosts under [ssh]" in message
    assert "accept it with" not in message


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("/a /b", ["/a", "/b"]),
        ("/my keys /b", ["/my keys", "/b"]),
        ("/b /my keys", ["/b", "/my keys"]),
        ("/gone one /b", ["/gone", "one", "/b"]),
        ('"/my keys" /b', ["/my keys", "/b"]),
        ('/my keys" "/other keys', ["/my keys", "/other keys"]),
        ("none", []),
    ],
)
def test_paths_with_spaces_are_told_apart(text: str, paths: list[str]) -> None:
    """Files of known hosts are found, although ssh -G prints no quotes."""
    assert split_paths(text, {"/a", "/b", "/my", "/my keys"}.__contains__) == paths


@pytest.mark.parametrize(
    ("spelled", "name"),
    [("::1", "::1"), ("[2001:db8::1]:22", "2001:db8::1"), ("me@gpu1", "gpu1"), ("a~b", "a-b")],
)
def test_a_node_is_named_as_its_host(spelled: str, name: str) -> None:
    """The name of a node is that of its host, addresses included."""
    config = RunConfig(ssh=SshConfig(hosts=(spelled,)))
    assert list(find_targets(config)) == [name]


@pytest.mark.parametrize("host", ["x" * 64, "x" * 252, "x." * 130 + "x", "a..b", "é" * 60])
def test_a_host_that_cannot_be_looked_up_is_refused(host: str) -> None:
    """A name that is too long for DNS is refused when the config is read, by a short message."""
    with pytest.raises(ConfigError, match="is no host: a name has at most 253") as caught:
        find_targets(RunConfig(ssh=SshConfig(hosts=(host,))))
    assert len(str(caught.value)) < 200


def test_long_hosts_have_short_and_different_names(tmp_path: Path) -> None:
    """A host name of any length gives a node name that file names can hold."""
    long = ".".join(["x" * 63] * 3)
    hosts = (f"{long}.a", f"{long}.b", "y" * 250)
    config = tmp_path / "config"
    config.write_text(f"Host {hosts[2]}\n  HostName 10.0.0.9\n")
    names = list(find_targets(RunConfig(ssh=SshConfig(hosts=hosts, config_file=config))))
    assert [len(name) for name in names] == [LONGEST_NAME] * 3
    assert len(set(names)) == 3


def test_a_host_key_alias_is_looked_up(options: SshOptions) -> None:
    """The host key is looked up under the alias, without a port."""
    found = find_target("renamed:2222", options)
    assert (found.host, found.port, found.known_as) == ("10.0.0.9", 2222, "the-old-name")


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    """A missing key under [ssh] is an error."""
    with pytest.raises(ConfigError, match=r"there is no key file .*nokey; mend key under \[ssh\]"):
        find_target("gpu1", SshOptions(key=tmp_path / "nokey"))


def test_the_ssh_line_reaches_the_same_host(tmp_path: Path) -> None:
    """The ssh line for the user has the options that skygrid uses."""
    config = tmp_path / "my config"
    config.touch()
    options = SshOptions(config_file=config, known_hosts=tmp_path / "known")
    found: Target = find_target("me@gpu1:2222", options)
    assert ssh_line(found) == (
        f"ssh -F '{config}' -p 2222 -l me -o UserKnownHostsFile={tmp_path}/known gpu1"
    )
