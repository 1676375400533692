"""What a node says about itself, on machines of several makes."""

from __future__ import annotations

import mmap
import os
import platform
from pathlib import Path

import pytest

from skygrid.worker import machine

AVAILABLE = 16


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty control group, on a machine with sixteen processors."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(AVAILABLE)), raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
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
def test_the_quota_of_the_first_version_counts(cgroup: Path, quota: str, expected: int) -> None:
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


def test_versions_are_those_that_are_installed() -> None:
    import numpy as np
    import sklearn

    versions = machine.versions()
    assert versions["python"] == platform.python_version()
    assert versions["scikit-learn"] == sklearn.__version__
    assert versions["numpy"] == np.__version__
    assert set(machine.COMPARED_PACKAGES) < set(versions)


def test_a_package_that_is_missing_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "COMPARED_PACKAGES", ("no-such-package",))
    assert machine.versions()["no-such-package"] == "not installed"


def test_every_numeric_library_is_told_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in machine.THREAD_VARIABLES:
        monkeypatch.setenv(name, "99")
    machine.limit_threads(3)
    assert {os.environ[name] for name in machine.THREAD_VARIABLES} == {"3"}


def test_memory_that_a_process_takes_is_seen() -> None:
    before = machine.resident_private_bytes(os.getpid()), machine.unshared_bytes(os.getpid())
    held = mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.write(b"x" * len(held))
    after = machine.resident_private_bytes(os.getpid()), machine.unshared_bytes(os.getpid())
    assert after[0] - before[0] > 60 * 2**20
    assert after[1] - before[1] > 60 * 2**20
    held.close()


def test_memory_that_a_forked_process_shares_is_told_from_its_own() -> None:
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


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
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


def test_a_description_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.cpu_model()
    assert machine.load_average() >= 0

    def fail() -> tuple[float, float, float]:
        raise OSError

    monkeypatch.setattr(os, "getloadavg", fail)
    assert machine.load_average() == 0.0
