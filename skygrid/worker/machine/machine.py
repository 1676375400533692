"""Facts about this node: processors, memory, versions. Imports nothing heavy."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from .control_groups import cpu_quotas, memory_limits
from .control_groups import read as _read

COMPARED_PACKAGES = ("scikit-learn", "numpy", "scipy", "cloudpickle")
"""Distributions whose versions must equal the driver's for equal scores, bit for bit."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


def vcpus() -> int:
    """Return the number of usable processors, by affinity and control group quota; at least 1."""
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        available = os.cpu_count() or 1
    return max(1, min([available, *map(int, cpu_quotas())]))


def memory_bytes() -> int:
    """Return the memory of this machine, or of its container or job if smaller, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *(group.limit for group in memory_limits())])


def available_bytes() -> int | None:
    """Return the available memory, including caches, in bytes; None if unknown.

    In a container or job it is at most the rest of its limit.

    Source: proc(5), ``/proc/meminfo``, in KiB.
    """
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            left = [max(0, group.limit - group.used) for group in memory_limits()]
            return min([1024 * int(line.split()[1]), *left])
    return None


def cpu_model() -> str:
    """Return the processor's name for people."""
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the distributions that affect scores."""
    found = {"python": platform.python_version()}
    for name in (*COMPARED_PACKAGES, "msgspec", "joblib"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a value as well: nodes must agree on it
            found[name] = "not installed"
    return found


def limit_threads(threads: int) -> None:
    """Limit the threads of every numeric library that is imported after this call."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)


def resident_private_bytes(pid: int) -> int:
    """Return the bytes that a process does not share through files; 0 if unknown.

    Source: proc(5), ``/proc/PID/statm``: second and third field, in pages.
    """
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    if len(fields) < 3:
        return 0
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def held_bytes(pid: int) -> int:
    """Memory of a process, without what it has mapped from disks; 0 where not to be known.

    Unlike `resident_private_bytes` it counts files in memory.

    Source: proc(5), ``/proc/PID/status``, in KiB.
    """
    fields = [line.split() for line in _read(Path(f"/proc/{pid}/status")).splitlines()]
    return sum(1024 * int(field[1]) for field in fields if field[0] in ("RssAnon:", "RssShmem:"))


def unshared_bytes(pid: int) -> int:
    """Return the bytes that would become free if a process ended. Walks all its pages.

    Unlike `resident_private_bytes` it excludes pages that a forked process shares with its parent.

    Source: proc(5), ``/proc/PID/smaps_rollup``, in KiB.
    """
    resident = resident_private_bytes(pid)
    fields = [line.split() for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()]
    sizes = {field[0]: int(field[1]) for field in fields if len(field) == 3}
    if "Private_Dirty:" not in sizes:
        return resident
    # Private_Dirty includes pages of files in memory that only this process maps, and Pss_Anon part
    # of the pages shared with the parent. Both are upper bounds, so the smaller one is used.
    private = sizes["Private_Dirty:"]
    private = min(private, sizes.get("Pss_Anon:", private))
    return min(resident, 1024 * private) + 1024 * sizes.get("Swap:", 0)


def threads() -> int:
    """Return the number of threads of this process, native ones included; 1 if unknown."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:  # only Linux has /proc
        return 1


def load_average() -> float:
    """Return the load average over one minute; 0 if unknown."""
    try:
        return os.getloadavg()[0]
    except OSError:  # some systems do not measure it
        return 0.0
