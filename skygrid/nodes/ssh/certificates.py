"""Certificates of OpenSSH.

Format: OpenSSH's PROTOCOL.certkeys. A certificate is a public key with names and a time of
validity, signed by an authority that an ``@cert-authority`` line of known_hosts names.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import paramiko

SUFFIX = "-cert-v01@openssh.com"
HOST_TYPE = 2


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The statements of a certificate whose signature is valid."""

    authority: str
    """Public key of the signer in base64."""

    is_of_host: bool
    names: tuple[str, ...]
    """Names of the host; none: any host."""

    valid_after: int
    valid_before: int
    """Limits of validity, in seconds since 1970."""

    has_critical_options: bool


def plain_key(blob: bytes) -> bytes:
    """Return the public key in a certificate, without the certificate.

    Raises
    ------
    ValueError
        If the certificate is malformed.
    """
    message = paramiko.Message(blob)
    try:
        kind = message.get_text().removesuffix(SUFFIX)
        message.get_binary()  # a nonce
        plain = paramiko.Message()
        plain.add_string(kind)
        for _ in range(_fields(kind)):
            plain.add_string(message.get_binary())
    except Exception as error:  # paramiko raises errors of any kind for malformed bytes
        raise ValueError(f"the certificate cannot be read: {error}") from error
    return plain.asbytes()


def _fields(kind: str) -> int:
    """Return the number of fields of a public key; that of RSA has exponent and modulus, those of
    ECDSA have curve and point."""
    return 1 if kind == "ssh-ed25519" else 2


def read_certificate(blob: bytes) -> Certificate:
    """Parse a certificate and verify its signature.

    Raises
    ------
    ValueError
        If the certificate is malformed, or its signature is wrong.
    """
    message = paramiko.Message(blob)
    try:
        kind = message.get_text().removesuffix(SUFFIX)
        for _ in range(1 + _fields(kind)):  # a nonce, and the key
            message.get_binary()
        message.get_int64()  # serial number
        of_host = message.get_int() == HOST_TYPE
        message.get_binary()  # the name of the certificate
        names = _texts(message.get_binary())
        after, before = message.get_int64(), message.get_int64()
        critical = bool(message.get_binary())
        message.get_binary(), message.get_binary()  # extensions, and a reserved field
        authority = message.get_binary()
        signed = message.get_so_far()
        signature = paramiko.Message(message.get_binary())
        signer = paramiko.PKey.from_type_string(paramiko.Message(authority).get_text(), authority)
        valid = signer.verify_ssh_sig(signed, signature)
    except Exception as error:  # paramiko raises errors of any kind for malformed bytes
        raise ValueError(f"its certificate cannot be read: {error}") from error
    if not valid:
        raise ValueError("the signature of its certificate is wrong")
    return Certificate(
        authority=base64.b64encode(authority).decode(),
        is_of_host=of_host,
        names=names,
        valid_after=after,
        valid_before=before,
        has_critical_options=critical,
    )


def objection(certificate: Certificate, host: str, now: float) -> str | None:
    """Return the reason why a certificate is not valid for a host; None if it is valid.

    Parameters
    ----------
    certificate : Certificate
    host : str
        Name without port.
    now : float
        Seconds since 1970.
    """
    if not certificate.is_of_host:
        return "it is a certificate of a user"
    if now < certificate.valid_after:
        return "it is not valid yet"
    if now >= certificate.valid_before:
        return "it has expired"
    if certificate.has_critical_options:
        return "it has critical options, which host certificates cannot have"
    names = [name.lower() for name in certificate.names]
    if names and host.lower() not in names:
        return f"it is for {', '.join(certificate.names)}"
    return None


def _texts(data: bytes) -> tuple[str, ...]:
    message, found = paramiko.Message(data), []
    while message.get_remainder():
        found.append(message.get_text())
    return tuple(found)
