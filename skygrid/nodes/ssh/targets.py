"""Resolution of hosts by the user's SSH configuration.

``ssh -G`` prints OpenSSH's settings for a host, with Include, Match and all tokens resolved.
Without OpenSSH paramiko reads the same files; it supports neither Include nor all of Match.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from skygrid.config import limits
from skygrid.errors import ConfigError
from skygrid.util.home_folders import expand_home

LOGGER = logging.getLogger(__name__)

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
DEFAULT_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts")
MOST_JUMPS = 8
IN_SSH_CONFIG = "a file in your SSH config"
FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
"""Values of AddressFamily but "any"."""

_SPELLING = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^@\s]+)@)?"
    r"(?:\[(?P<bracketed>[^\]\s]+)\]|(?P<host>[^\[\]:@\s/]+)|(?P<v6>[0-9A-Fa-f:.]+:[0-9A-Fa-f:.]*))"
    r"(?::(?P<port>\d{1,5}))?/?"
)


_FOR_SHELLS = re.compile(r"""['"`$\\;&<>|(){}]|^-|@-""")
"""Characters that a command of the SSH configuration, such as ``Match exec "... %h"``, would pass
to a shell. OpenSSH refuses them in names of hosts and users since 9.6 (valid_hostname in ssh.c)."""


MOST_HOST_BYTES = 253
"""Longest name of a host (RFC 1035, section 2.3.4, without the lengths of its parts)."""


@dataclass(frozen=True, kw_only=True)
class SshOptions:
    """SSH settings of the run's configuration; None leaves the choice to OpenSSH."""

    config_file: Path | None = None
    known_hosts: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """A host with all parameters of a connection."""

    spelled: str
    """The host as the user wrote it."""

    alias: str
    """The name for the SSH configuration, without user and port."""

    host: str
    port: int
    user: str
    key_files: tuple[Path, ...]
    """Existing keys, whole or by their public half, in the order of use."""

    use_agent: bool
    known_hosts: tuple[Path, ...]
    host_key_alias: str | None = None
    """HostKeyAlias: the name for host key look-up instead of the host's."""

    revoked_host_keys: Path | None = None
    """File of revoked host keys."""

    host_keys_from: str | None = None
    """Setting by which OpenSSH gets host keys that skygrid cannot read; None: from files."""

    agent_socket: str | None = None
    """IdentityAgent: socket of the SSH agent, or "none"; None: that of the environment."""

    certificate_files: tuple[Path, ...] = ()
    bind_address: str | None = None
    """Address of this machine from which the connection is made."""

    family: socket.AddressFamily = socket.AF_UNSPEC
    """Family of the host's address."""

    jumps: tuple[Target, ...] = ()
    """Jump hosts in the order of connection."""

    config_file: Path | None = None
    given_user: str | None = None
    given_port: int | None = None
    given_known_hosts: Path | None = None

    @property
    def known_as(self) -> str:
        """The name in known_hosts files; with the port if it is not 22."""
        name = self.host_key_alias or self.host
        return name if self.port == 22 or self.host_key_alias else f"[{name}]:{self.port}"


def find_target(spelled: str, options: SshOptions) -> Target:
    """Resolve a host as the user wrote it.

    Parameters
    ----------
    spelled : str
        ``host``, ``user@host``, ``user@host:port`` or ``[2001:db8::1]:port``; host may be an alias
        of the SSH configuration.
    options : SshOptions

    Returns
    -------
    target : Target

    Raises
    ------
    ConfigError
        If the name or the SSH configuration is invalid.
    """
    return _find(spelled, options, with_jumps=True)


def _find(spelled: str, options: SshOptions, *, with_jumps: bool) -> Target:
    alias, user, port = split_spelling(spelled)
    settings = _settings(alias, user, port, options)
    first = {name: values[0] for name, values in settings.items() if values}
    _refuse_interface(spelled, first)
    _refuse_overlong(spelled, first.get("hostname", alias))
    return Target(
        spelled=spelled,
        alias=alias,
        host=first.get("hostname", alias),
        port=_port(first.get("port", "22")),
        user=first.get("user") or getpass.getuser(),
        key_files=_key_files(settings, options),
        use_agent=first.get("identitiesonly", "no") != "yes",
        known_hosts=(
            tuple(_known_hosts(settings)) if options.known_hosts is None else (options.known_hosts,)
        ),
        host_key_alias=first.get("hostkeyalias"),
        revoked_host_keys=_revoked(first.get("revokedhostkeys", "none")),
        host_keys_from=None if options.known_hosts else _unreadable_host_keys(first),
        agent_socket=_agent_socket(first.get("identityagent")),
        certificate_files=tuple(
            expand_home(name.strip('"'), IN_SSH_CONFIG)
            for name in settings.get("certificatefile", [])
            if name != "none"
        ),
        bind_address=_given(first.get("bindaddress")),
        family=FAMILIES.get(first.get("addressfamily", "any"), socket.AF_UNSPEC),
        jumps=_jumps(spelled, first, options) if with_jumps else (),
        config_file=options.config_file,
        given_user=user,
        given_port=port,
        given_known_hosts=options.known_hosts,
    )


def split_spelling(spelled: str) -> tuple[str, str | None, int | None]:
    """Split ``user@host:port``.

    Returns
    -------
    host, user, port
        User and port are None if missing.
    """
    match = _SPELLING.fullmatch(spelled.strip())
    unsafe = _FOR_SHELLS.search(spelled.strip())
    if match is None or unsafe or (match["port"] and not 0 < int(match["port"]) < 65536):
        raise ConfigError(
            f"{spelled!r} is no host: write name, user@name, user@name:port or [address]:port"
        )
    host = match["bracketed"] or match["host"] or match["v6"]
    return host, match["user"], int(match["port"]) if match["port"] else None


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ConfigError(f"the SSH config cannot be read: {text[:40]!r} is no port")
    return int(text)


def _key_files(settings: Mapping[str, list[str]], options: SshOptions) -> tuple[Path, ...]:
    if options.key is not None:
        if not options.key.is_file():
            raise ConfigError(f"there is no key file {options.key}; mend key under [ssh]")
        return (options.key,)
    names = settings.get("identityfile") or [f"~/.ssh/{name}" for name in DEFAULT_KEYS]
    paths = (expand_home(name.strip('"'), IN_SSH_CONFIG) for name in names if name != "none")
    # Keys in the SSH agent may have only their public half on disk.
    return tuple(
        path for path in paths if path.is_file() or path.with_name(path.name + ".pub").is_file()
    )


def _given(value: str | None) -> str | None:
    return None if value in (None, "none", "*") else value


def _refuse_overlong(spelled: str, host: str) -> None:
    """Refuse a host that cannot be looked up: a name has parts of 1 to 63 bytes (RFC 1035)."""
    try:
        encoded = host.encode("idna")
    except UnicodeError:  # a part is empty or too long: refused below
        encoded = b""
    if not 0 < len(encoded) <= MOST_HOST_BYTES:
        shown = spelled if len(spelled) <= 80 else f"{spelled[:80]}..."
        raise ConfigError(
            f"{shown} is no host: a name has at most {MOST_HOST_BYTES} characters, and 1 to 63 "
            "between two dots"
        )


def _refuse_interface(spelled: str, first: Mapping[str, str]) -> None:
    if _given(first.get("bindinterface")) is not None:
        raise ConfigError(
            f"{spelled} has BindInterface, which skygrid does not support: write the address of "
            "that interface as BindAddress in the SSH config"
        )


def _refuse_proxy_command(spelled: str, command: str) -> None:
    if command != "none":
        raise ConfigError(
            f"{spelled} is reached by a ProxyCommand, which skygrid does not run: write it as "
            "ProxyJump in the SSH config"
        )


def _known_hosts(settings: Mapping[str, list[str]]) -> Iterator[Path]:
    for text in settings.get("userknownhostsfile", []) + settings.get("globalknownhostsfile", []):
        for name in split_paths(text, lambda name: os.path.exists(os.path.expanduser(name))):
            yield expand_home(name, IN_SSH_CONFIG)


def split_paths(text: str, exists: Callable[[str], bool]) -> list[str]:
    """Split a list of paths that may hold spaces.

    ``ssh -G`` prints the paths of UserKnownHostsFile without quotes, so the words of the longest
    path that exists belong together. Paths that do not exist are not read.

    Parameters
    ----------
    text : str
        Paths with spaces between them, with or without double quotes.
    exists : callable
        Returns True for the path of a file.
    """
    if '"' in text:
        # paramiko removes the first and the last quote.
        whole = text.startswith('"') or text.endswith('"')
        pairs = re.findall(r'"([^"]*)"|([^"\s]+)', text if whole else f'"{text}"')
        return [quoted or plain for quoted, plain in pairs]
    words, found = text.split(" "), []
    while words:
        ends = range(len(words), 0, -1)
        end = next((end for end in ends if exists(" ".join(words[:end]))), 1)
        found.append(" ".join(words[:end]))
        words = words[end:]
    return [name for name in found if name and name != "none"]


def _unreadable_host_keys(first: Mapping[str, str]) -> str | None:
    if _given(first.get("knownhostscommand")) is not None:
        return "KnownHostsCommand"
    if first.get("userknownhostsfile", "").split()[:1] in (["/dev/null"], ["none"]):
        return f"UserKnownHostsFile {first['userknownhostsfile']}"
    return None


def _agent_socket(value: str | None) -> str | None:
    if value is None or value == "SSH_AUTH_SOCK":
        return None
    if value.startswith("$"):
        return os.environ.get(value[1:].strip("{}"), "none")
    return str(expand_home(value.strip('"'), IN_SSH_CONFIG))


def _revoked(name: str) -> Path | None:
    return None if name == "none" else expand_home(name.strip('"'), IN_SSH_CONFIG)


def _jumps(spelled: str, first: Mapping[str, str], options: SshOptions) -> tuple[Target, ...]:
    """Return the jump hosts; the first one may have jumps of its own, which come before it."""
    jumps: list[Target] = []
    outermost = spelled
    while (proxy := first.get("proxyjump", "none")) != "none":
        names = [name.strip() for name in proxy.split(",")]
        jumps = [_find(name, options, with_jumps=False) for name in names] + jumps
        if len(jumps) > MOST_JUMPS:
            raise ConfigError(
                f"{spelled} is reached through more than {MOST_JUMPS} jump hosts: see whether "
                f"ProxyJump of {jumps[0].spelled} in the SSH config leads in a circle"
            )
        outer = jumps[0]
        outermost = outer.spelled
        settings = _settings(outer.alias, outer.given_user, outer.given_port, options)
        first = {name: values[0] for name, values in settings.items() if values}
    _refuse_proxy_command(outermost, first.get("proxycommand", "none"))
    return tuple(jumps)


def _settings(
    alias: str, user: str | None, port: int | None, options: SshOptions
) -> dict[str, list[str]]:
    ssh = shutil.which("ssh")
    if ssh is None:
        LOGGER.info("there is no ssh here: paramiko reads the SSH config")
        return _settings_by_paramiko(alias, user, port, options)
    command = [ssh, "-G"]
    if options.config_file is not None:
        command += ["-F", str(options.config_file)]
    if user is not None:
        command += ["-l", user]
    if port is not None:
        command += ["-p", str(port)]
    try:
        done = subprocess.run(
            [*command, "--", alias],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",  # the config need not be UTF-8
            timeout=limits.SSH_LOOKUP,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"ssh -G {alias} did not end in {limits.SSH_LOOKUP:.0f} s") from error
    if done.returncode:
        raise ConfigError(f"the SSH config cannot be read: {done.stderr.strip()}")
    return _by_name(line.partition(" ")[::2] for line in done.stdout.splitlines())


def _settings_by_paramiko(
    alias: str, user: str | None, port: int | None, options: SshOptions
) -> dict[str, list[str]]:
    files = [options.config_file or expand_home("~/.ssh/config", "your SSH config")]
    if options.config_file is None:
        files.append(Path("/etc/ssh/ssh_config"))
    found: dict[str, list[str]] = {}
    try:
        # The first value wins, as in OpenSSH.
        for path in filter(Path.is_file, files):
            said: Mapping[str, Any] = paramiko.SSHConfig.from_path(str(path)).lookup(alias)
            for name, value in said.items():
                if name != "hostname" or value != alias:
                    found.setdefault(name, value if isinstance(value, list) else [value])
    except (OSError, paramiko.ConfigParseError, paramiko.CouldNotCanonicalize) as error:
        raise ConfigError(f"the SSH config cannot be read: {error}") from error
    given = {"user": user, "port": None if port is None else str(port)}
    found |= {name: [value] for name, value in given.items() if value is not None}
    found.setdefault("userknownhostsfile", list(DEFAULT_KNOWN_HOSTS))
    return found


def _by_name(pairs: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name.lower(), []).append(value.strip())
    return found
