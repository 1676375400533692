"""A node's description of itself, on several kinds of machines."""

from __future__ import annotations

import mmap
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from skygrid.worker.machine import control_groups, machine

AVAILABLE = 16


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty control group on a machine with sixteen processors."""
    monkeypatch.setattr(control_groups, "TREE", tmp_path / "sys/fs/cgroup")
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(AVAILABLE)), raising=False)
    return tmp_path / "sys/fs/cgroup"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_a_quota_all_processors_count(cgroup: Path) -> None:
    assert machine.vcpus() == AVAILABLE


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("400000 100000\n", 4),
        ("max 100000\n", AVAILABLE),
        ("50000 100000\n", 1),
        ("250000 100000\n", 2),
        ("9900000 100000\n", AVAILABLE),
        ("nonsense\n", AVAILABLE),
        ("100000 0\n", AVAILABLE),
        ("", AVAILABLE),
    ],
)
def test_the_quota_of_a_container_counts(cgroup: Path, quota: str, expected: int) -> None:
    write(cgroup / "cpu.max", quota)
    assert machine.vcpus() == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", AVAILABLE)])
def test_the_quota_of_control_groups_version_1_counts(
    cgroup: Path, quota: str, expected: int
) -> None:
    write(cgroup / "cpu/cpu.cfs_quota_us", quota)
    write(cgroup / "cpu/cpu.cfs_period_us", "100000")
    assert machine.vcpus() == expected


def test_without_affinity_the_processors_of_the_machine_count(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert machine.vcpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.vcpus() == 1


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_the_memory_limit_of_a_container_counts(cgroup: Path, name: str) -> None:
    total = machine.memory_bytes()
    assert total > 2**28
    write(cgroup / name, "1048576\n")
    assert machine.memory_bytes() == 1048576
    write(cgroup / name, "max\n")
    assert machine.memory_bytes() == total
    write(cgroup / name, str(2**62))
    assert machine.memory_bytes() == total


@pytest.mark.parametrize(
    ("own", "job"),
    [
        ("0::/slurm/job_7/step_0\n", "slurm/job_7"),
        ("9:cpu,cpuacct:/slurm/job_7\n4:memory:/slurm/job_7/step_0\n", "memory/slurm/job_7"),
    ],
)
def test_the_limit_of_a_job_counts_inside_it(cgroup: Path, own: str, job: str) -> None:
    """The limit of a job is found in its group or above, because a job has no view of its own."""
    name = "memory.limit_in_bytes" if job.startswith("memory") else "memory.max"
    write(cgroup / job / name, "1048576\n")
    assert machine.memory_bytes() > 2**28
    write(control_groups.OWN, own)
    assert machine.memory_bytes() == 1048576
    write(cgroup / job / "step_0" / name, "65536\n")
    assert machine.memory_bytes() == 65536


@pytest.mark.parametrize(
    ("limit", "usage", "cache"),
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_memory_in_use_by_a_container_is_not_available(
    cgroup: Path, limit: str, usage: str, cache: str
) -> None:
    """Inactive file cache counts as available; other used memory does not."""
    group = cgroup if limit == "memory.max" else cgroup / "memory"
    before = machine.available_bytes()
    assert before is not None
    assert before > 2**26
    write(group / limit, "4000000\n")
    assert machine.available_bytes() == 4_000_000
    write(group / usage, "3000000\n")
    assert machine.available_bytes() == 1_000_000
    write(group / "memory.stat", f"anon 12\n{cache} 500000\nactive_file 7\n")
    assert machine.available_bytes() == 1_500_000
    write(group / usage, "5000000\n")
    assert machine.available_bytes() == 0
    write(group / usage, "100\n")
    assert machine.available_bytes() == 4_000_000


LIMITED = """
import os, sys, tempfile
from pathlib import Path
from skygrid.worker.machine import machine

Path(sys.argv[1]).write_text(str(os.getpid()))
before = machine.available_bytes()
with tempfile.TemporaryFile(dir="/dev/shm") as file:
    file.write(bytes(32 * 2**20))
    file.flush()
    print(machine.memory_bytes(), before, machine.available_bytes())
"""


@pytest.fixture
def limited_group() -> Iterator[Path]:
    """Control group of this machine with a limit of 1 GiB."""
    for tree, limit in (
        (control_groups.TREE / "memory", "memory.limit_in_bytes"),
        (control_groups.TREE, "memory.max"),
    ):
        group = tree / f"skygrid-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(2**30))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("no control group can be made here: it takes root, and a tree that can be written")


def test_the_kernels_limit_equals_the_one_read(limited_group: Path) -> None:
    """In a group of 1 GiB the limit is 1 GiB, and shared memory reduces the available part."""
    command = [sys.executable, "-c", LIMITED, str(limited_group / "cgroup.procs")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    limit, before, after = map(int, done.stdout.split())
    assert limit == 2**30
    assert 2**29 < before <= 2**30
    assert 28 * 2**20 < before - after < 60 * 2**20


def test_the_quota_of_a_job_counts(cgroup: Path) -> None:
    write(control_groups.OWN, "0::/user.slice/session\n")
    write(cgroup / "user.slice/cpu.max", "300000 100000\n")
    assert machine.vcpus() == 3


@pytest.mark.parametrize("own", ["0::/../../elsewhere\n", "nonsense\n", "0:\n", ""])
def test_a_group_outside_the_tree_changes_nothing(cgroup: Path, own: str) -> None:
    write(control_groups.OWN, own)
    write(cgroup / "memory.max", "1048576\n")
    write(cgroup.parents[1] / "elsewhere/memory.max", "1\n")
    assert machine.memory_bytes() == 1048576


def test_versions_are_the_installed_ones() -> None:
    import numpy as np
    import sklearn

    versions = machine.versions()
    assert versions["python"] == platform.python_version()
    assert versions["scikit-learn"] == sklearn.__version__
    assert versions["numpy"] == np.__version__
    assert set(machine.COMPARED_PACKAGES) < set(versions)


def test_a_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "COMPARED_PACKAGES", ("no-such-package",))
    assert machine.versions()["no-such-package"] == "not installed"


def test_every_numeric_library_gets_its_thread_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in machine.THREAD_VARIABLES:
        monkeypatch.setenv(name, "99")
    machine.limit_threads(3)
    assert {os.environ[name] for name in machine.THREAD_VARIABLES} == {"3"}


def test_memory_of_a_process_is_measured() -> None:
    before = machine.resident_private_bytes(os.getpid()), machine.unshared_bytes(os.getpid())
    held = mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.write(b"x" * len(held))
    after = machine.resident_private_bytes(os.getpid()), machine.unshared_bytes(os.getpid())
    assert after[0] - before[0] > 60 * 2**20
    assert after[1] - before[1] > 60 * 2**20
    held.close()


def test_shared_memory_of_a_forked_process_is_not_its_own() -> None:
    held = mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.write(b"x" * len(held))
    gate, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.read(gate, 1)
        os._exit(0)
    try:
        assert machine.resident_private_bytes(pid) > 60 * 2**20
        assert machine.unshared_bytes(pid) < 30 * 2**20
    finally:
        os.close(go)
        os.waitpid(pid, 0)
        os.close(gate)
        held.close()


def test_an_ended_process_has_no_memory() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert machine.resident_private_bytes(pid) == 0
    assert machine.unshared_bytes(pid) == 0


def test_threads_are_counted() -> None:
    import threading

    before, stop = machine.threads(), threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert machine.threads() == before + 1
    stop.set()
    thread.join()


def test_a_description_always_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.cpu_model()
    assert machine.load_average() >= 0

    def fail() -> tuple[float, float, float]:
        raise OSError

    monkeypatch.setattr(os, "getloadavg", fail)
    assert machine.load_average() == 0.0
