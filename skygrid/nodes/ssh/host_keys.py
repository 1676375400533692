"""Verification of host keys by the user's known_hosts files.

Own parser, because paramiko fails on lines with a marker, knows no patterns and uses only the first
of several keys of a host. Formats: sshd(8) for known_hosts, whose ``@revoked`` lines name revoked
keys; ssh_config(5) for RevokedHostKeys: a file with one revoked key per line, or a key revocation
list made by ``ssh-keygen -k``. Keys of ``@cert-authority`` lines sign the certificates of hosts. As
in OpenSSH, a line without the port serves for a host on another port if it has the same key.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from skygrid.config import limits

from .certificates import SUFFIX, Certificate, objection, read_certificate
from .failures import (
    HostError,
    changed_host_key,
    invalid_certificate,
    revoked_host_key,
    unknown_host_key,
)
from .targets import Target

LOGGER = logging.getLogger(__name__)

KRL_MAGIC = b"SSHKRL\n\0"
"""First bytes of a key revocation list (OpenSSH's PROTOCOL.krl)."""

KEY_IS_GOOD, KEY_IS_REVOKED = 0, 1
"""Exit codes of ``ssh-keygen -Q``; an unreadable list gives another code."""


@dataclass(frozen=True, kw_only=True)
class KnownKey:
    """A key that a known_hosts file lists for a host."""

    kind: str
    """Key type, as ``ssh-ed25519``."""

    key: str
    """Public key in base64."""

    def __str__(self) -> str:
        try:
            digest = hashlib.sha256(base64.b64decode(self.key, validate=True)).digest()
        except ValueError:  # the line in known_hosts is damaged
            return f"{self.kind}, written wrongly"
        return f"{self.kind} SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


class KnownHosts(paramiko.MissingHostKeyPolicy):
    """Host key policy of one target, from its known_hosts files.

    paramiko calls it for every key, because paramiko's own table of host keys stays empty.

    Parameters
    ----------
    target : Target
    clock : callable, optional
        Returns the time in seconds since 1970, for the validity of certificates.

    Raises
    ------
    HostError
        If a known_hosts file cannot be read.
    """

    def __init__(self, target: Target, clock: Callable[[], float] = time.time) -> None:
        self._target = target
        self._clock = clock
        self._known: list[KnownKey] = []
        self._known_without_port: list[KnownKey] = []
        self._authorities: set[str] = set()
        self._revoked: dict[str, Path] = {}
        for path in target.known_hosts:
            if path.is_file():
                self._take(path)

    def _take(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise HostError(f"cannot read the known host keys in {path}: {error}") from error
        for words in map(str.split, lines):
            if words[:1] == ["@revoked"] and len(words) >= 4:
                # Ignore the host names in the line: a revoked key is invalid for every host.
                self._revoked[words[3]] = path
            elif words[:1] == ["@cert-authority"] and len(words) >= 4:
                if self._names(words[1]) or self._names_without_port(words[1]):
                    self._authorities.add(words[3])
            elif len(words) >= 3 and not words[0].startswith(("#", "@")):
                self._take_key(words[0], KnownKey(kind=words[1], key=words[2]))

    def _take_key(self, names: str, key: KnownKey) -> None:
        if self._names(names):
            self._known.append(key)
        elif self._names_without_port(names):
            self._known_without_port.append(key)

    def _names(self, names: str) -> bool:
        return is_named(self._target.known_as, names.split(","))

    def _names_without_port(self, names: str) -> bool:
        alias = self._target.host_key_alias
        return alias is None and is_named(self._target.host, names.split(","))

    def in_order(self, algorithms: Iterable[str]) -> list[str]:
        """Return host key algorithms, those of known keys first.

        A host with several keys then presents one that can be verified.
        """
        kinds = {key.kind for key in (*self._known, *self._known_without_port)}
        return sorted(algorithms, key=lambda name: _kind_of(name) not in kinds)

    def certificates_first(self, algorithms: Iterable[str]) -> tuple[str, ...]:
        """Return host key algorithms, those of certificates first if an authority is known."""
        return tuple(
            sorted(
                algorithms,
                key=lambda name: bool(self._authorities) and not name.endswith(SUFFIX),
            )
        )

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Verify the key that the host presents; `hostname` is that of `target`.

        Raises
        ------
        RevokedHostKeyError, UnknownHostKeyError, ChangedHostKeyError
            If the key is not acceptable.
        HostError
            If its certificate is not valid, or a list of revoked keys cannot be read.
        """
        certificate = self._certificate(key)
        self._check_revoked(key, certificate)
        if certificate is not None and certificate.authority in self._authorities:
            host = self._target.host_key_alias or self._target.host
            reason = objection(certificate, host, self._clock())
            if reason is not None:
                raise invalid_certificate(self._target, reason)
            LOGGER.debug("%s: accepted host certificate", self._target.spelled)
            return
        shown = key.get_base64()
        if self._known and shown not in {known.key for known in self._known}:
            raise changed_host_key(self._target, str(self._expected(key)), key)
        if shown not in {known.key for known in (*self._known, *self._known_without_port)}:
            raise unknown_host_key(self._target, key)
        LOGGER.debug("%s: accepted host key %s", self._target.spelled, key.fingerprint)

    def _certificate(self, key: paramiko.PKey) -> Certificate | None:
        blob = key.public_blob
        if blob is None or not blob.key_type.endswith(SUFFIX):
            return None
        try:
            return read_certificate(blob.key_blob)
        except ValueError as error:
            raise invalid_certificate(self._target, str(error)) from error

    def _check_revoked(self, key: paramiko.PKey, certificate: Certificate | None) -> None:
        keys = {key.get_base64()} | ({certificate.authority} if certificate else set())
        for one in keys & self._revoked.keys():
            raise revoked_host_key(self._target, key, self._revoked[one])
        listed = self._target.revoked_host_keys
        if listed is not None and any(_is_listed(one, listed) for one in keys):
            raise revoked_host_key(self._target, key, listed)

    def _expected(self, shown: paramiko.PKey) -> KnownKey:
        alike = [known for known in self._known if known.kind == shown.get_name()]
        return (alike or self._known)[0]


def is_named(host: str, patterns: Sequence[str]) -> bool:
    """Return True if a known_hosts line with these patterns applies to a host.

    Parameters
    ----------
    host : str
        Name for look-up: ``name`` or ``[name]:port``.
    patterns : sequence of str
        Names, names with ``*`` and ``?``, hashed names; a leading ``!`` excludes.
    """
    host = host.lower()
    if any(_matches(host, pattern[1:]) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(_matches(host, pattern) for pattern in patterns)


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("|1|"):
        try:
            return paramiko.HostKeys.hash_host(host, pattern) == pattern
        except (ValueError, IndexError, AssertionError):
            return False  # malformed hash: the line matches no host
    expression = re.escape(pattern.lower()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, host) is not None


def _kind_of(algorithm: str) -> str:
    """Return the key type of a signature algorithm (RFC 8332 for RSA)."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _is_listed(key: str, path: Path) -> bool:
    try:
        data = path.read_bytes()
    except OSError as error:
        # As in OpenSSH, an unreadable list makes every host key untrusted.
        raise _unreadable(path, error.strerror or str(error)) from error
    if data.startswith(KRL_MAGIC):
        return _is_in_krl(key, path)
    return key in data.decode(errors="replace").split()


def _is_in_krl(key: str, path: Path) -> bool:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise _unreadable(path, "it is a key revocation list, which takes ssh-keygen to read")
    with tempfile.NamedTemporaryFile("w", suffix=".pub") as shown:
        kind = paramiko.Message(base64.b64decode(key)).get_text()
        shown.write(f"{kind} {key}\n")
        shown.flush()
        try:
            done = subprocess.run(
                [program, "-Q", "-f", str(path), shown.name],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limits.SSH_HOST_KEY,
            )
        except subprocess.TimeoutExpired as error:
            raise _unreadable(path, f"ssh-keygen took over {limits.SSH_HOST_KEY:.0f} s") from error
    if done.returncode not in (KEY_IS_GOOD, KEY_IS_REVOKED):
        raise _unreadable(path, done.stderr.strip())
    return done.returncode == KEY_IS_REVOKED


def _unreadable(path: Path, why: str) -> HostError:
    return HostError(
        f"the list of revoked host keys in {path} cannot be read, so no host key can be trusted: "
        f"{why}. Mend RevokedHostKeys in your SSH config"
    )
