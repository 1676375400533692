"""Connection errors, worded for the user who has to fix them.

Temporary failures are OSErrors, and the caller tries again. Permanent failures are `HostError`:
another attempt would only lock an account or fill a log.
"""

from __future__ import annotations

import errno
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from skygrid.errors import NodeError, reason

from .targets import Target

ADMINISTRATIVELY_PROHIBITED = 1
"""Reason code SSH_OPEN_ADMINISTRATIVELY_PROHIBITED of RFC 4254."""


class HostError(NodeError):
    """A host that cannot be used without a change; the message names the change."""


class UnknownHostKeyError(HostError):
    """The host's key is not in any known_hosts file."""


class ChangedHostKeyError(HostError):
    """The host's key differs from the known one."""


class RevokedHostKeyError(HostError):
    """The host's key is revoked."""


class KeyRefusedError(HostError):
    """The host accepts none of the offered keys."""


class NoCommandError(HostError):
    """The login shell on the host does not run commands."""


class UnreachableError(ConnectionError):
    """The connection failed for a reason that may pass."""


def unknown_host_key(target: Target, key: paramiko.PKey) -> UnknownHostKeyError:
    """Return the error for a host that no known_hosts file lists."""
    if target.host_keys_from is not None:
        return UnknownHostKeyError(
            f"the host key of {target.spelled} is not known: {key.get_name()} {key.fingerprint}\n"
            f"The SSH config has {target.host_keys_from}, from which skygrid gets no host keys: "
            "write the key into a file and name that as known_hosts under [ssh]; "
            f"{_keyscan(target)} prints the key, to be compared with the host's own"
        )
    return UnknownHostKeyError(
        f"the host key of {target.spelled} is not known: {key.get_name()} {key.fingerprint}\n"
        "Compare that with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there) "
        f"and accept it with: {ssh_line(target)} true"
    )


def _keyscan(target: Target) -> str:
    port = "" if target.port == 22 else f"-p {target.port} "
    return f"ssh-keyscan {port}{shlex.quote(target.host)}"


def invalid_certificate(target: Target, reason: str) -> HostError:
    """Return the error for a host certificate of a known authority that is not valid."""
    return HostError(
        f"the host certificate of {target.spelled} is not valid: {reason}. Have the host get a new "
        "certificate from its authority"
    )


def changed_host_key(target: Target, known: str, key: paramiko.PKey) -> ChangedHostKeyError:
    """Return the error for a host whose known key, described by `known`, differs."""
    files = [str(path) for path in target.known_hosts if path.exists()]
    place = f" -f {shlex.quote(files[0])}" if files else ""
    return ChangedHostKeyError(
        f"the host key of {target.spelled} has changed: known is {known}, it shows "
        f"{key.get_name()} {key.fingerprint}\n"
        "The connection may be intercepted, or the machine was reinstalled. If it was: "
        f"ssh-keygen{place} -R {shlex.quote(target.known_as)}, then {ssh_line(target)} true"
    )


def revoked_host_key(target: Target, key: paramiko.PKey, place: Path) -> RevokedHostKeyError:
    """Return the error for a host key that the file `place` revokes."""
    return RevokedHostKeyError(
        f"the host key of {target.spelled} is revoked, as {place} says: {key.get_name()} "
        f"{key.fingerprint}\n"
        "Others may have that key, so it is always refused. Have the host get a new key; if it was "
        "revoked by mistake, remove it from that file"
    )


def key_refused(target: Target, offered: Sequence[str], locked: Sequence[Path]) -> KeyRefusedError:
    """Return the error for failed authentication; `locked` keys have a passphrase and were not
    tried."""
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


NOLOGIN_EXIT = 254
"""Exit code of sshd while /etc/nologin exists: the host starts or shuts down (sshd(8))."""


def no_command(target: Target, status: int, printed: str) -> Exception:
    """Return the error for a login shell that ended before it ran a command; `printed` are the
    host's last lines."""
    said = f"printed: {printed}" if printed else "printed nothing"
    text = f"{target.spelled} ran no command: its login shell ended with exit code {status} and"
    if status == NOLOGIN_EXIT:
        return UnreachableError(f"{text} {said}")
    return NoCommandError(f"{text} {said}\n{_shell_advice(target)}")


def reads_input(target: Target) -> NoCommandError:
    """Return the error for a login shell that waits for input before it runs a command."""
    return NoCommandError(
        f"{target.spelled} ran no command: a start file of its login shell waits for input\n"
        + _shell_advice(target)
    )


def shell_is_silent(target: Target) -> UnreachableError:
    """Return the error for a login shell that neither runs a command nor ends."""
    return UnreachableError(
        f"{target.spelled} has run no command so far: its login shell is slow to start, or hangs"
    )


def _shell_advice(target: Target) -> str:
    return (
        f"This has to print it: {ssh_line(target)} echo works. A start file such as "
        "~/.bashrc may read input, exit or start another shell in interactive shells only; "
        "an account with nologin or a ForceCommand that ignores the command cannot be used"
    )


def more_than_a_key(target: Target, methods: Sequence[str]) -> KeyRefusedError:
    """Return the error for a host that accepts the key and asks for more."""
    return KeyRefusedError(
        f"{target.spelled} accepts the key of user {target.user} and then asks for "
        f"{' or '.join(methods)}, which skygrid cannot give: have its sshd_config ask this user "
        "for the key alone (AuthenticationMethods publickey)"
    )


def too_many_keys(target: Target, said: str) -> KeyRefusedError:
    """Return the error for a host that closed the connection before all keys were offered."""
    return KeyRefusedError(
        f"{target.spelled} ended the login of user {target.user} before every key was offered "
        f"({said}): name the right key, with IdentityFile and IdentitiesOnly yes in the SSH config "
        "or as key under [ssh]"
    )


def no_common_algorithm(target: Target, error: paramiko.SSHException) -> HostError:
    """Return the error for a host whose algorithms skygrid does not have."""
    text = str(error)
    found = next((one for one in ALGORITHMS if one in text), None)
    setting, ours = ALGORITHMS[found] if found else ("its algorithms", ())
    return HostError(
        f"{target.spelled} and skygrid have no {found or 'algorithm'} in common ({text}): add one "
        f"of skygrid's to {setting} in its sshd_config: {', '.join(ours)}"
    )


_OURS = paramiko.Transport
ALGORITHMS: dict[str, tuple[str, Sequence[str]]] = {
    "kex algorithm": ("KexAlgorithms", _OURS._preferred_kex),  # type: ignore[attr-defined]
    "host key": ("HostKeyAlgorithms", _OURS._preferred_keys),  # type: ignore[attr-defined]
    "ciphers": ("Ciphers", _OURS._preferred_ciphers),  # type: ignore[attr-defined]
    "macs": ("MACs", _OURS._preferred_macs),  # type: ignore[attr-defined]
}
"""Setting of sshd, and algorithms of paramiko, by the words of paramiko's error."""


def unreachable(target: Target, error: BaseException) -> Exception:
    """Return the error for any other failed connection."""
    where = f"{target.host} port {target.port}"
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
        return HostError(
            f"there is no host by the name {target.host}"
            + (f" (for {target.spelled})" if target.spelled != target.host else "")
            + ": mend the name under [ssh] hosts, or in your SSH config"
        )
    if isinstance(error, IncompatiblePeer):
        return no_common_algorithm(target, error)
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
    """Return the error for a jump host that cannot connect to the next host (RFC 4254, 5.1)."""
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
    """Return the same error with the name of the jump host."""
    return type(error)(f"jump host {jump.spelled}: {reason(error)}")


def ssh_line(target: Target) -> str:
    """Return the command line that reaches the host with OpenSSH."""
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
