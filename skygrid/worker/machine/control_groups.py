"""Limits of this process's control group and of the groups above it.

In a container the process's own group is the root. In a batch job or a user session its group lies
inside the tree. Both versions of control groups are supported.

Sources: cgroups(7) for ``/proc/self/cgroup``; the kernel's admin-guide/cgroup-v2 (``memory.max``,
``memory.current``, ``cpu.max``) and admin-guide/cgroup-v1/memory (``memory.limit_in_bytes``,
``memory.usage_in_bytes``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TREE = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


class MemoryLimit(NamedTuple):
    """Memory limit and use of one group."""

    limit: int
    """Bytes."""

    used: int
    """Bytes, without cached files that the kernel can drop."""


def memory_limits() -> Iterator[MemoryLimit]:
    """Yield the memory limits of all groups that have one."""
    for group in _groups("memory"):
        for limit, usage, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            bound = read(group / limit)
            if bound.isdigit():
                used = _number(read(group / usage)) - _statistic(group, cache)
                yield MemoryLimit(int(bound), max(0, used))


def cpu_quotas() -> Iterator[float]:
    """Yield the CPU quotas of all groups that have one, in processors."""
    for group in _groups("cpu"):
        fields = read(group / "cpu.max").split()
        if len(fields) != 2:
            fields = [read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        if all(map(str.isdigit, fields)) and int(fields[1]):
            yield int(fields[0]) / int(fields[1])


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the groups of this process, from its own up to the root."""
    own = {"": "/", controller: "/"}
    for line in read(OWN).splitlines():
        _, _, named = line.partition(":")
        names, _, path = named.partition(":")
        own |= dict.fromkeys(names.split(","), path)
    for root, path in ((TREE, own[""]), (TREE / controller, own[controller])):
        steps = [step for step in path.split("/") if step]
        if ".." in steps:  # outside of the part of the tree that this process sees
            steps = []
        for depth in range(len(steps), -1, -1):
            yield root.joinpath(*steps[:depth])


def _statistic(group: Path, name: str) -> int:
    for line in read(group / "memory.stat").splitlines():
        found, _, value = line.partition(" ")
        if found == name:
            return _number(value)
    return 0


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def read(path: Path) -> str:
    """Return the content of a small file; empty if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:  # this kernel or container has no such file
        return ""
