"""Keys that are offered to a host: those of the SSH configuration, and those of an SSH agent."""

from __future__ import annotations

import base64
import contextlib
import copy
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
from paramiko.auth_strategy import (
    AuthFailure,
    AuthResult,
    AuthStrategy,
    InMemoryPrivateKey,
    SourceResult,
)

from .certificates import SUFFIX, plain_key
from .targets import Target

LOGGER = logging.getLogger(__name__)


class Keys(AuthStrategy):
    """Keys for authentication: those of the SSH configuration, then those of the SSH agent.

    A configured key that the agent holds is used from the agent, which also works with a
    passphrase. A key that has certificates is offered with each of them, then by itself.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._target = target
        self.offered: list[str] = []
        self.locked: list[Path] = []
        self.further: list[str] = []
        """Methods that the host asks for after it has accepted a key."""

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Offer the keys until the host is content; it may ask for several of them.

        Raises
        ------
        paramiko.AuthenticationException
            If the host wants other keys or more than keys, or ends the connection.
        """
        result = AuthResult(strategy=self)
        for source in self.get_sources():
            if not transport.is_active():
                break  # the host has seen too many keys
            try:
                self.further = source.authenticate(transport)
            except (paramiko.SSHException, EOFError, OSError, ValueError) as error:
                result.append(SourceResult(source, error))
                continue
            result.append(SourceResult(source, self.further))
            if not self.further:
                return result
            if "publickey" not in self.further:
                break
        raise AuthFailure(result=result)

    def get_sources(self) -> Iterator[Any]:
        agent = _agent_keys(self._target.agent_socket)
        held = {key.asbytes(): key for key in agent if not key.get_name().endswith(SUFFIX)}
        certified = [_AgentCertificate(key) for key in agent if key.get_name().endswith(SUFFIX)]
        certificates = list(_certificates(self._target))
        for path in self._target.key_files:
            public = _public_half(path)
            for one in [one for one in certified if one.plain == public]:
                certified.remove(one)
                yield self._source(one, str(path))
            key = held.pop(public, None) if public is not None else None
            key = key or self._on_disk(path)
            if key is not None:
                yield from self._with_certificates(key, str(path), certificates)
        if self._target.use_agent:
            for key in (*certified, *held.values()):
                yield from self._with_certificates(key, "the keys of the SSH agent", certificates)

    def _with_certificates(
        self, key: Any, name: str, certificates: list[paramiko.pkey.PublicBlob]
    ) -> Iterator[Any]:
        for certificate in certificates:
            if plain_key(certificate.key_blob) == key.asbytes():
                yield self._source(_certified(key, certificate), name)
        yield self._source(key, name)

    def _source(self, key: paramiko.PKey, name: str) -> InMemoryPrivateKey:
        if name not in self.offered:
            self.offered.append(name)
        return InMemoryPrivateKey(self._target.user, key)

    def _on_disk(self, path: Path) -> Any:
        try:
            key: Any = paramiko.PKey.from_path(path)
        except paramiko.PasswordRequiredException:
            self.locked.append(path)
        except TypeError:
            # cryptography raises TypeError for a key with a passphrase.
            self.locked.append(path)
        except (
            OSError,
            ValueError,
            paramiko.SSHException,
            paramiko.pkey.UnknownKeyType,
        ) as error:
            # A public half, or a key on a token.
            LOGGER.debug("%s is no private key: %s: %s", path, type(error).__name__, error)
        else:
            # Its certificate is offered separately.
            key.public_blob = None
            return key
        return None


class _AgentCertificate(paramiko.AgentKey):
    """A certificate that the SSH agent holds."""

    def __init__(self, key: Any) -> None:
        super().__init__(key.agent, key.blob, key.comment)
        self.plain = plain_key(key.blob)
        blob: Any = paramiko.pkey.PublicBlob(type_=key.get_name(), blob=key.blob)
        self.public_blob = blob

    def asbytes(self) -> bytes:
        # The agent finds the key by these bytes; it may hold it under the certificate alone.
        return self.blob


class _Agent(paramiko.agent.AgentSSH):
    """The SSH agent behind a socket that the SSH configuration names."""

    def __init__(self, path: str) -> None:
        super().__init__()
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            self._connect(sock)  # type: ignore[attr-defined]
        except BaseException:
            sock.close()
            raise


def _agent_keys(named: str | None) -> tuple[Any, ...]:
    path = os.environ.get("SSH_AUTH_SOCK") if named is None else named
    if not path or path == "none":
        return ()
    try:
        return tuple(_Agent(path).get_keys())
    except (OSError, paramiko.SSHException) as error:
        LOGGER.debug("the SSH agent does not list its keys: %s", error)
        return ()


def _certificates(target: Target) -> Iterator[paramiko.pkey.PublicBlob]:
    beside = (path.with_name(f"{path.name}-cert.pub") for path in target.key_files)
    for path in dict.fromkeys((*target.certificate_files, *beside)):
        # A file that is missing or no certificate is no reason to offer no key.
        with contextlib.suppress(OSError, ValueError, paramiko.SSHException):
            found = paramiko.pkey.PublicBlob.from_file(str(path))
            if found.key_type.endswith(SUFFIX):
                plain_key(found.key_blob)
                yield found


def _certified(key: Any, certificate: paramiko.pkey.PublicBlob) -> Any:
    if isinstance(key, paramiko.AgentKey):
        found: Any = paramiko.AgentKey(key.agent, key.blob, key.comment)
    else:
        found = copy.copy(key)
    found.public_blob = certificate
    return found


def _public_half(path: Path) -> bytes | None:
    public = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    try:
        kind_and_key = public.read_text(encoding="utf-8", errors="replace").split()
        return base64.b64decode(kind_and_key[1], validate=True)
    except (OSError, ValueError, IndexError):
        return _public_half_inside(path)


def _public_half_inside(path: Path) -> bytes | None:
    """Read the public half from a private key in OpenSSH's format, without passphrase
    (PROTOCOL.key)."""
    try:
        lines = path.read_text(encoding="ascii").strip().splitlines()
        if lines[0] != "-----BEGIN OPENSSH PRIVATE KEY-----":
            return None
        data = base64.b64decode("".join(lines[1:-1]), validate=True)
    except (OSError, ValueError, IndexError):  # in another format, or on a token
        return None
    content = paramiko.Message(data.removeprefix(b"openssh-key-v1\0"))
    content.get_string(), content.get_string(), content.get_string()  # cipher, derivation, options
    return content.get_string() if content.get_int() == 1 else None
