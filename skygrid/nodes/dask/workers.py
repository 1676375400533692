"""Decisions about Dask's workers, without Dask: the free ones, and their Python."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any


def free_worker(threads: Mapping[str, int], taken: Collection[str]) -> str | None:
    """Return the worker without a node that has the most threads; None if all have one."""
    free = [address for address in threads if address not in taken]
    return max(free, key=lambda address: (threads[address], address), default=None)


def why_unable(versions: Mapping[str, Any]) -> str | None:
    """Return why a worker cannot run a carrier: its Python cannot load this one's bytecode.

    Parameters
    ----------
    versions : mapping
        One worker's entry in the answer of ``Client.get_versions``.
    """
    here = sys.version_info[:2]
    there = _python_of(versions)
    if there is None or there == here:
        return None
    return (
        f"the Dask workers have Python {there[0]}.{there[1]} and this machine has "
        f"{here[0]}.{here[1]}: use the same minor version on both"
    )


def _python_of(versions: Mapping[str, Any]) -> tuple[int, int] | None:
    host: Mapping[str, Any] = versions.get("host") or {}
    parts: Sequence[str] = str(host.get("python", "")).split(".")[:2]
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):  # the worker does not say
        return None
