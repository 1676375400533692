"""What an instance is told at its first boot: user-data as cloud-init understands it.

Pure: bytes in, a `BootPlan` out. Only what skygrid may reasonably ask for is known; anything
else is an error, so that nobody believes that something ran which did not. The order of the steps
is that of cloud-init's own configuration on Ubuntu 24.04 (/etc/cloud/cloud.cfg): bootcmd,
write_files, set_hostname, users_groups, ssh, and at the end the user's scripts and runcmd.
"""

from __future__ import annotations

import base64
import gzip
import shlex
import zlib
from dataclasses import dataclass, field
from typing import Any

import yaml

LARGEST_BYTES = 16384
"""What EC2 takes, before base64."""

KEY_KINDS = ("rsa", "ecdsa", "ed25519")
"""Host keys that cloud-init makes when it is not told which."""

IGNORED = frozenset({"package_update", "package_upgrade"})
"""Keys that may be there as long as they ask for nothing."""


class UserDataError(ValueError):
    """User-data that this cloud does not execute."""


@dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """One entry of ``write_files``, decoded."""

    path: str
    content: str
    """Base64 of the bytes."""

    owner: str = "root:root"
    permissions: str = "0644"
    append: bool = False
    defer: bool = False


@dataclass(frozen=True, kw_only=True)
class User:
    """One user and who may log in as it."""

    name: str
    keys: tuple[str, ...] = ()
    sudo: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    shell: str = "/bin/bash"


@dataclass(frozen=True, kw_only=True)
class Script:
    """Something to execute at the end of the boot."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class BootPlan:
    """The steps of a first boot."""

    bootcmd: str | None = None
    """A shell script."""

    files: tuple[WrittenFile, ...] = ()
    hostname: str | None = None
    users: tuple[User, ...] = ()
    delete_host_keys: bool = True
    host_keys: dict[str, str] = field(default_factory=dict)
    """Texts of ``rsa_private``, ``rsa_public``, ... by these names."""

    generate_host_keys: tuple[str, ...] = KEY_KINDS
    disable_root: bool = True
    scripts: tuple[Script, ...] = ()


def read_user_data(
    raw: bytes, *, default_user: str = "ubuntu", launch_keys: tuple[str, ...] = ()
) -> BootPlan:
    """Return what cloud-init would do with this user-data.

    Parameters
    ----------
    raw : bytes
        As the instance gets it, that is after the API's base64; may be gzip'ed, and may be base64
        once more, which cloud-init undoes too.
    default_user : str
        The image's own user.
    launch_keys : tuple of str
        Public keys that the launch names (``KeyName``): the default user has them in any case.

    Raises
    ------
    UserDataError
        For anything that is not known here.
    """
    if len(raw) > LARGEST_BYTES:
        raise UserDataError(f"user-data of {len(raw)} bytes: EC2 takes {LARGEST_BYTES}")
    text = _decoded(raw)
    if not text.strip():
        return _plan({}, default_user, launch_keys)
    first = text.splitlines()[0].strip()
    if first.startswith("#!"):
        plan = _plan({}, default_user, launch_keys)
        return _with_script(plan, Script(name="part-001", text=text))
    if first != "#cloud-config":
        raise UserDataError(f"user-data begins with {first[:60]!r}: neither #cloud-config nor #!")
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserDataError(f"#cloud-config is not YAML: {error}") from error
    if config is not None and not isinstance(config, dict):
        raise UserDataError("#cloud-config is not a mapping")
    return _plan(config or {}, default_user, launch_keys)


def _decoded(raw: bytes) -> str:
    try:
        if not raw.startswith((b"#", b"\x1f\x8b")) and raw.strip():
            raw = base64.b64decode(raw, validate=True)
        if raw.startswith(b"\x1f\x8b"):
            raw = gzip.decompress(raw)
        return raw.decode()
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise UserDataError(f"user-data cannot be decoded: {error}") from error


def _with_script(plan: BootPlan, script: Script) -> BootPlan:
    return BootPlan(**{**plan.__dict__, "scripts": (*plan.scripts, script)})


def _plan(config: dict[str, Any], default_user: str, launch_keys: tuple[str, ...]) -> BootPlan:
    rest = dict(config)
    for name in IGNORED & rest.keys():
        if rest.pop(name):
            raise UserDataError(f"{name} is not done here")
    commands = {name: rest.pop(name, None) for name in ("bootcmd", "runcmd")}
    host_keys = _host_keys(rest.pop("ssh_keys", None) or {})
    kinds = tuple(rest.pop("ssh_genkeytypes", KEY_KINDS))
    files = tuple(_file(entry) for entry in rest.pop("write_files", None) or ())
    keys = (*launch_keys, *(rest.pop("ssh_authorized_keys", None) or ()))
    plan = BootPlan(
        bootcmd=_shell(commands["bootcmd"], "bootcmd"),
        files=files,
        hostname=rest.pop("hostname", None),
        users=_users(rest.pop("users", None), default_user, keys),
        delete_host_keys=bool(rest.pop("ssh_deletekeys", True)),
        host_keys=host_keys,
        # cloud-init makes no key of its own when it is given some.
        generate_host_keys=() if host_keys else kinds,
        disable_root=bool(rest.pop("disable_root", True)),
    )
    if rest.pop("ssh_pwauth", False):
        raise UserDataError("ssh_pwauth: nobody logs in with a password here")
    for quiet in ("no_ssh_fingerprints", "ssh_quiet_keygen"):
        rest.pop(quiet, None)  # only what is printed on the console
    ssh = rest.pop("ssh", {})
    if set(ssh) - {"emit_keys_to_console"}:
        raise UserDataError(f"ssh: {sorted(ssh)}")
    if rest:
        raise UserDataError(f"not known here: {', '.join(sorted(map(str, rest)))}")
    runcmd = _shell(commands["runcmd"], "runcmd")
    return plan if runcmd is None else _with_script(plan, Script(name="runcmd", text=runcmd))


def _shell(entries: Any, name: str) -> str | None:
    """The script that cloud-init makes of a list of commands (its `util.shellify`)."""
    if entries is None:
        return None
    if not isinstance(entries, list):
        raise UserDataError(f"{name} is not a list")
    lines = ["#!/bin/sh"]
    for entry in entries:
        if isinstance(entry, str):
            lines.append(entry)
        elif isinstance(entry, list):
            lines.append(" ".join(shlex.quote(str(word)) for word in entry))
        else:
            raise UserDataError(f"{name} holds {entry!r}: neither a text nor a list")
    return "\n".join(lines) + "\n"


def _host_keys(given: dict[str, str]) -> dict[str, str]:
    allowed = {f"{kind}_{half}" for kind in KEY_KINDS for half in ("private", "public")}
    if strange := set(given) - allowed:
        raise UserDataError(f"ssh_keys: {', '.join(sorted(strange))}")
    return {name: text if text.endswith("\n") else f"{text}\n" for name, text in given.items()}


def _file(entry: Any) -> WrittenFile:
    if not isinstance(entry, dict) or "path" not in entry:
        raise UserDataError(f"write_files holds {entry!r}")
    known = {"path", "content", "encoding", "owner", "permissions", "append", "defer"}
    if strange := set(entry) - known:
        raise UserDataError(f"write_files: {', '.join(sorted(strange))}")
    permissions = entry.get("permissions", "0644")
    if not isinstance(permissions, str):
        raise UserDataError(f"write_files: permissions of {entry['path']} must be a text")
    return WrittenFile(
        path=entry["path"],
        content=base64.b64encode(_content(entry)).decode(),
        owner=entry.get("owner", "root:root"),
        permissions=permissions,
        append=bool(entry.get("append", False)),
        defer=bool(entry.get("defer", False)),
    )


def _content(entry: dict[str, Any]) -> bytes:
    content = entry.get("content", "")
    data = content if isinstance(content, bytes) else str(content).encode()
    encoding = str(entry.get("encoding", "text/plain")).lower()
    if encoding in {"gz+base64", "gzip+base64", "gz+b64", "gzip+b64"}:
        return gzip.decompress(base64.b64decode(data))
    if encoding in {"b64", "base64"}:
        return base64.b64decode(data)
    if encoding == "text/plain":
        return data
    raise UserDataError(f"write_files: encoding {encoding}")


def _users(entries: Any, default_user: str, keys: tuple[str, ...]) -> tuple[User, ...]:
    default = User(name=default_user, keys=keys, sudo=("ALL=(ALL) NOPASSWD:ALL",), groups=("sudo",))
    found: list[User] = []
    for entry in ["default"] if entries is None else entries:
        if entry == "default":
            found.append(default)
        elif isinstance(entry, dict) and "name" in entry:
            found.append(_user(entry))
        else:
            raise UserDataError(f"users holds {entry!r}")
    return tuple(found)


def _user(entry: dict[str, Any]) -> User:
    known = {"name", "ssh_authorized_keys", "sudo", "groups", "shell", "lock_passwd", "gecos"}
    if strange := set(entry) - known:
        raise UserDataError(f"users: {', '.join(sorted(strange))}")
    return User(
        name=entry["name"],
        keys=_texts(entry.get("ssh_authorized_keys")),
        sudo=_texts(entry.get("sudo")),
        groups=tuple(
            name.strip() for text in _texts(entry.get("groups")) for name in text.split(",")
        ),
        shell=entry.get("shell", "/bin/sh"),
    )


def _texts(value: Any) -> tuple[str, ...]:
    if not value:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
