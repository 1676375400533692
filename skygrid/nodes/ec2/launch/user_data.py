"""What an instance is told at its first boot: user-data for cloud-init.

cloud-init takes JSON for the YAML that it is, so nothing has to be quoted by hand:
https://docs.cloud-init.io/en/latest/explanation/format.html (November 2025).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LARGEST_BYTES = 16 * 1024
"""What EC2 takes, before base64."""

NODE_FOLDER = "/run/skygrid"
LEASE_FILE = f"{NODE_FOLDER}/lease"
"""Touched by whoever hears the driver; with ``end`` in it the instance ends itself."""

END_WORD = "end"


@dataclass(frozen=True, kw_only=True)
class BootOrders:
    """What one node is to be like."""

    authorized_key: str
    """Public key of the run, as a line of authorized_keys."""

    host_key: str
    """Private host key in OpenSSH's format, for the first login only."""

    host_key_public: str
    lease_seconds: float
    """Seconds without a driver after which the instance ends itself."""

    lifetime_seconds: float
    """Seconds after which it ends itself whatever happens."""

    expires_at: float
    """The same as seconds since the epoch."""


def user_data(orders: BootOrders) -> bytes:
    """Return the user-data of one node, at most `LARGEST_BYTES` long.

    The watchdog comes first: ``bootcmd`` runs before users and keys are made, at every boot.
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
        # When keys are given cloud-init makes none: the host has this one only.
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
    """Return the words that start the watchdog in a folder of its own, as root."""
    numbers = (
        math.ceil(orders.lease_seconds),
        math.ceil(orders.lifetime_seconds),
        math.ceil(orders.expires_at),
    )
    words = ["sh", "-c", read_script("start_watchdog.sh"), "skygrid", folder]
    return [*words, read_script("watchdog.sh"), *map(str, numbers)]


def read_script(name: str) -> str:
    """Read a script beside this module, without the comments, which need not travel."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return "\n".join(_code(text.splitlines()))


def _code(lines: Iterable[str]) -> Iterable[str]:
    return (line for line in lines if line.strip() and not line.lstrip().startswith("#"))
