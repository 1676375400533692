"""What can go wrong on the way to a host, in the words of the person who has to mend it.

Two kinds: what time may heal is an OSError, and the caller tries again; what it cannot heal is a
`HostError`, and trying again would only lock an account or fill a log.
"""

from __future__ import annotations

import errno
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path

import paramiko

from skygrid.errors import NodeError

from .targets import Target

ADMINISTRATIVELY_PROHIBITED = 1
"""Why a channel was not opened: SSH_OPEN_ADMINISTRATIVELY_PROHIBITED of RFC 4254."""


class HostError(NodeError):
    """A host that cannot be used as things are; the message says what to do."""


class UnknownHostKeyError(HostError):
    """The host has shown a key that nobody has accepted yet."""


class ChangedHostKeyError(HostError):
    """The host has shown another key than the one that is known of it."""


class RevokedHostKeyError(HostError):
    """The host has shown a key that is never to be accepted."""


class KeyRefusedError(HostError):
    """The host accepts none of the keys that were offered."""


class UnreachableError(ConnectionError):
    """No connection, for a reason that may pass."""


def unknown_host_key(target: Target, key: paramiko.PKey) -> UnknownHostKeyError:
    """The host is not in any known_hosts file."""
    return UnknownHostKeyError(
        f"the host key of {target.spelled} is not known: {key.get_name()} {key.fingerprint}\n"
        "Compare that with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there) "
        f"and accept it with: {ssh_line(target)} true"
    )


def changed_host_key(target: Target, known: str, key: paramiko.PKey) -> ChangedHostKeyError:
    """The known_hosts files have another key for the host; `known` describes it."""
    files = [str(path) for path in target.known_hosts if path.exists()]
    place = f" -f {shlex.quote(files[0])}" if files else ""
    return ChangedHostKeyError(
        f"the host key of {target.spelled} has changed: known is {known}, it shows "
        f"{key.get_name()} {key.fingerprint}\n"
        "Somebody may be listening in, or the machine was installed anew. If you know it was: "
        f"ssh-keygen{place} -R {shlex.quote(target.known_as)}, then {ssh_line(target)} true"
    )


def revoked_host_key(target: Target, key: paramiko.PKey, place: Path) -> RevokedHostKeyError:
    """A file says that the key is not to be trusted any more."""
    return RevokedHostKeyError(
        f"the host key of {target.spelled} is revoked, as {place} says: {key.get_name()} "
        f"{key.fingerprint}\n"
        "Somebody else may have that key, so it is refused, whatever else accepts it. Ask for a "
        "new host key there; if it was revoked by mistake, take it out of that file"
    )


def key_refused(target: Target, offered: Sequence[str], locked: Sequence[Path]) -> KeyRefusedError:
    """Authentication has failed with all keys that were offered; locked ones could not be."""
    if locked and not offered:
        return KeyRefusedError(
            f"the key {locked[0]} for {target.spelled} has a passphrase: add it to the SSH agent "
            f"with: ssh-add {shlex.quote(str(locked[0]))}"
        )
    tried = f"refused {' and '.join(offered)}" if offered else "was offered no key: none was found"
    hint = f" ({locked[0]} has a passphrase and was not tried: ssh-add it)" if locked else ""
    options = "".join(f"{option} " for option in _ssh_options(target))
    return KeyRefusedError(
        f"{target.spelled} {tried}, for user {target.user}{hint}. Put your public key there with: "
        f"ssh-copy-id {options}{shlex.quote(target.alias)}"
    )


def unreachable(target: Target, error: BaseException) -> Exception:
    """Anything else that kept a connection from coming about."""
    where = f"{target.host} port {target.port}"
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
        return HostError(
            f"there is no host by the name {target.host}"
            + (f" (for {target.spelled})" if target.spelled != target.host else "")
            + ": mend the name under [ssh] hosts, or in your SSH config"
        )
    if isinstance(error, TimeoutError):
        text = f"{where} does not answer: is it up, and does a firewall let you through?"
    elif isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        text = f"{where} refuses connections: is sshd running there, on this port?"
    elif isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        text = f"there is no route to {where}: is the network, or the VPN, up?"
    else:
        text = f"the connection to {where} failed: {str(error) or type(error).__name__}"
    return UnreachableError(text)


def unreachable_through(
    jump: Target, target: Target, error: paramiko.ChannelException
) -> Exception:
    """The last jump host makes no connection to the host behind it (RFC 4254, 5.1)."""
    where = f"{target.host} port {target.port}"
    if error.code == ADMINISTRATIVELY_PROHIBITED:
        return HostError(
            f"the jump host {jump.spelled} passes no connections on to {where}: have "
            "AllowTcpForwarding and PermitOpen in its sshd_config changed, or jump elsewhere"
        )
    return UnreachableError(
        f"the jump host {jump.spelled} cannot connect to {where}: is it up, and sshd running there?"
    )


def of_jump(jump: Target, error: HostError | UnreachableError) -> HostError | UnreachableError:
    """The same failure, said of a host that is only on the way."""
    return type(error)(f"jump host {jump.spelled}: {error}")


def ssh_line(target: Target) -> str:
    """The command line by which a person reaches the same host."""
    return " ".join(["ssh", *_ssh_options(target), shlex.quote(target.alias)])


def _ssh_options(target: Target) -> list[str]:
    options = []
    if target.config_file is not None:
        options += ["-F", shlex.quote(str(target.config_file))]
    if target.given_port:
        options += ["-p", str(target.given_port)]
    if target.given_user:
        options += ["-l", shlex.quote(target.given_user)]
    if target.given_known_hosts is not None:
        options += ["-o", f"UserKnownHostsFile={shlex.quote(str(target.given_known_hosts))}"]
    return options
