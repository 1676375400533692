"""User-data for cloud-init: the configuration of an instance at its first boot.

cloud-init accepts JSON, a subset of YAML, so no manual quoting is needed:
https://docs.cloud-init.io/en/latest/explanation/format.html (November 2025).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LARGEST_BYTES = 16 * 1024
"""Limit of EC2, before base64 encoding."""

NODE_FOLDER = "/run/skygrid"
LEASE_FILE = f"{NODE_FOLDER}/lease"
"""File whose modification renews the instance's lease; the word ``end`` in it ends the instance."""

END_WORD = "end"


@dataclass(frozen=True, kw_only=True)
class BootOrders:
    """Boot parameters of one node."""

    authorized_key: str
    """Public key of the run, as a line of authorized_keys."""

    host_key: str
    """Private host key in OpenSSH's format, for the first login only."""

    host_key_public: str
    lease_seconds: float
    """Seconds without a driver after which the instance ends itself."""

    lifetime_seconds: float
    """Seconds after which it ends itself in any case."""

    expires_at: float
    """The same moment in seconds since the epoch."""


def user_data(orders: BootOrders) -> bytes:
    """Return the user-data of one node, at most `LARGEST_BYTES` long.

    The watchdog starts in ``bootcmd``, which runs at every boot, before users and keys are made.
    """
    text = json.dumps(_cloud_config(orders), indent=1)
    data = f"#cloud-config\n{text}\n".encode()
    assert len(data) <= LARGEST_BYTES, "the scripts have grown too long for user-data"
    return data


def _cloud_config(orders: BootOrders) -> dict[str, object]:
    return {
        "bootcmd": [watchdog_command(orders, NODE_FOLDER)],
        "package_update": False,
        "package_upgrade": False,
        "ssh_deletekeys": True,
        # With given keys cloud-init makes no others.
        "ssh_keys": {
            "ed25519_private": orders.host_key,
            "ed25519_public": orders.host_key_public,
        },
        "ssh": {"emit_keys_to_console": False},
        "no_ssh_fingerprints": True,
        "ssh_pwauth": False,
        "disable_root": True,
        "ssh_authorized_keys": [orders.authorized_key],
    }


def watchdog_command(orders: BootOrders, folder: str) -> list[str]:
    """Return the command that starts the watchdog in `folder` as root."""
    numbers = (
        math.ceil(orders.lease_seconds),
        math.ceil(orders.lifetime_seconds),
        math.ceil(orders.expires_at),
    )
    words = ["sh", "-c", read_script("start_watchdog.sh"), "skygrid", folder]
    return [*words, read_script("watchdog.sh"), *map(str, numbers)]


def read_script(name: str) -> str:
    """Read a script beside this module without its comments, which need not travel."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return "\n".join(_code(text.splitlines()))


def _code(lines: Iterable[str]) -> Iterable[str]:
    return (line for line in lines if line.strip() and not line.lstrip().startswith("#"))
