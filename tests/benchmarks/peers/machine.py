"""Description of the machine of a race, and its load by other processes."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import time
from contextlib import suppress
from pathlib import Path

import psutil

PACKAGES = ("scikit-learn", "numpy", "scipy", "joblib", "ray", "distributed", "dask-ml", "skygrid")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages of the race."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def description() -> str:
    """Return processor, cores, memory and system in one line."""
    memory = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{_processor()}, {cores} cores, {memory:.0f} GB, Linux {platform.release()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


class Others:
    """Processor time of processes other than this one and its children."""

    def __init__(self) -> None:
        self._began, self._busy, self._ours = time.monotonic(), _busy(), _ours()

    def share(self) -> float:
        """Return their share of the processors so far; children count when they have ended."""
        cores = psutil.cpu_count() or 1
        seconds = (time.monotonic() - self._began) * cores
        theirs = (_busy() - self._busy) - (_ours() - self._ours)
        return max(0.0, theirs / seconds)


def _busy() -> float:
    times = psutil.cpu_times()
    # Time stolen from a virtual machine counts as busy; time of guests is part of user.
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _ours() -> float:
    used = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        used += usage.ru_utime + usage.ru_stime
    return used
