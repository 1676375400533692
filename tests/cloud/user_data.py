"""User-data of an instance's first boot, as cloud-init understands it.

Pure: bytes in, a `BootPlan` out. Only the keys that skygrid uses are supported; any other is an
error, so that no test mistakes a skipped command for one that ran.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

import yaml

LARGEST_BYTES = 16384
"""EC2's limit, before base64."""

HOST_KEYS = ("ed25519_private", "ed25519_public")

FALSE = ("package_update", "package_upgrade", "ssh_pwauth")
"""Keys that are allowed if they are false."""

TRUE = ("ssh_deletekeys", "disable_root", "no_ssh_fingerprints")
"""Keys that are allowed if they are true, which is the cloud's only behaviour."""


class UserDataError(ValueError):
    """User-data that this cloud does not execute."""


@dataclass(frozen=True, kw_only=True)
class BootPlan:
    """The steps of a first boot."""

    bootcmd: str | None = None
    """A shell script."""

    keys: tuple[str, ...] = ()
    """Public keys that may log in as the image's own user."""

    host_keys: dict[str, str] = field(default_factory=dict)
    """Texts of ``ed25519_private`` and ``ed25519_public``; if empty, a key is generated."""


def read_user_data(raw: bytes) -> BootPlan:
    """Return the actions that cloud-init would take for this user-data.

    Parameters
    ----------
    raw : bytes
        User-data on the instance, that is, after base64 decoding.

    Raises
    ------
    UserDataError
        If anything in it is not supported.
    """
    if len(raw) > LARGEST_BYTES:
        raise UserDataError(f"user-data of {len(raw)} bytes: EC2 takes {LARGEST_BYTES}")
    text = raw.decode(errors="replace")
    if not text.strip():
        return BootPlan()
    first = text.splitlines()[0].strip()
    if first != "#cloud-config":
        raise UserDataError(f"user-data begins with {first[:60]!r}, not with #cloud-config")
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserDataError(f"#cloud-config is not YAML: {error}") from error
    if config is not None and not isinstance(config, dict):
        raise UserDataError("#cloud-config is not a mapping")
    return _plan(dict(config or {}))


def _plan(rest: dict[str, Any]) -> BootPlan:
    for names, wanted in ((FALSE, False), (TRUE, True)):
        for name in names:
            if rest.pop(name, wanted) is not wanted:
                raise UserDataError(f"{name} must be {wanted} here")
    if rest.pop("ssh", {}).keys() - {"emit_keys_to_console"}:
        raise UserDataError("ssh: only emit_keys_to_console is known here")
    host_keys = rest.pop("ssh_keys", None) or {}
    if host_keys and host_keys.keys() != set(HOST_KEYS):
        raise UserDataError(f"ssh_keys must be {' and '.join(HOST_KEYS)} here")
    plan = BootPlan(
        bootcmd=_shell(rest.pop("bootcmd", None)),
        keys=tuple(rest.pop("ssh_authorized_keys", None) or ()),
        host_keys={name: f"{text.rstrip()}\n" for name, text in host_keys.items()},
    )
    if rest:
        raise UserDataError(f"not known here: {', '.join(sorted(map(str, rest)))}")
    return plan


def _shell(entries: Any) -> str | None:
    """Return the script that cloud-init makes of a list of commands (its `util.shellify`)."""
    if entries is None:
        return None
    if not isinstance(entries, list):
        raise UserDataError("bootcmd is not a list")
    lines = ["#!/bin/sh"]
    for entry in entries:
        if isinstance(entry, str):
            lines.append(entry)
        elif isinstance(entry, list):
            lines.append(" ".join(shlex.quote(str(word)) for word in entry))
        else:
            raise UserDataError(f"bootcmd holds {entry!r}: neither a text nor a list")
    return "\n".join(lines) + "\n"
