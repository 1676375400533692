"""The watchdog as a service of a real systemd, started by the command of the user-data.

systemd boots in namespaces of its own, at the stage at which cloud-init runs ``bootcmd``: before
sysinit.target, without D-Bus. It needs root, systemd and a writable cgroup of version 2.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from skygrid.nodes.ec2.launch.user_data import BootOrders, watchdog_command

SYSTEMD = Path("/lib/systemd/systemd")
UNITS = Path("/lib/systemd/system")
GROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))

NEEDED_UNITS = (
    *("basic.target", "final.target", "poweroff.target", "shutdown.target", "sysinit.target"),
    *("systemd-poweroff.service", "umount.target"),
)

CLOUD_INIT = """\
[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
KillMode=process
ExecStart=/bin/sh {folder}/bootcmd
"""
"""The settings of Ubuntu's cloud-init.service that matter here."""

REACHED = """\
[Service]
Type=oneshot
ExecStart=/bin/touch {folder}/reached
"""
"""A service that systemd starts after sysinit.target."""

BOOT_TARGET = """\
[Unit]
Requires=sysinit.target basic.target cloud-init.service reached.service
"""

BOOT = """
set -e
folder=$1 systemd=$2 terminal=$3
mount -t tmpfs -o mode=755 machine "$folder/disk"
mkdir "$folder/disk/upper" "$folder/disk/work" "$folder/disk/root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/disk/upper,workdir=$folder/disk/work" \\
    machine "$folder/disk/root"
cd "$folder/disk/root"
mkdir -p ".$folder" dev proc sys run
mount --bind "$folder" ".$folder"
mount -t proc proc proc
for switch in proc/sysrq-trigger proc/sys/kernel/sysrq; do
    [ ! -e "$switch" ] || mount --bind "$folder/sysrq" "$switch"
done
mount --rbind /dev dev
mount --bind "$terminal" dev/console
mount -t tmpfs -o mode=755 run run
mount -t sysfs -o ro sys sys
mount -t cgroup2 cgroup sys/fs/cgroup
exec chroot . env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=test \\
    SYSTEMD_UNIT_PATH="$folder/units" "$systemd" --system --unit=boot.target \\
    --log-target=console --show-status=false
"""
"""Mounts are in the namespace; switches of the kernel are replaced by a file."""


def lacking() -> str:
    """Return the requirement that this machine lacks; empty if it has all."""
    if os.geteuid() != 0:
        return "a systemd of one's own takes root"
    if not SYSTEMD.exists() or not shutil.which("systemd-run"):
        return "there is no systemd on this machine"
    if _group_root() is None:
        return "there is no cgroup of version 2 that may be written to"
    return ""


def _group_root() -> Path | None:
    for root in GROUPS:
        if (root / "cgroup.procs").exists() and (root / "cgroup.controllers").exists():
            with suppress(OSError):
                trial = root / f"skygrid-trial-{uuid.uuid4().hex[:8]}"
                trial.mkdir()
                trial.rmdir()
                return root
    return None


pytestmark = [
    pytest.mark.cloud,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]


class Machine:
    """Machine whose first process is systemd."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.node = folder, folder / "node"
        self.console = folder / "console"
        (folder / "sysrq").touch()
        (folder / "disk").mkdir()
        self._make_units()
        root = _group_root()
        assert root is not None
        self._group = root / f"skygrid-{uuid.uuid4().hex[:12]}"
        self._group.mkdir()
        self.process: subprocess.Popen[bytes] | None = None

    def _make_units(self) -> None:
        units = self.folder / "units"
        units.mkdir()
        for name in NEEDED_UNITS:
            shutil.copy(UNITS / name, units / name)
        for name, text in (
            ("cloud-init.service", CLOUD_INIT),
            ("reached.service", REACHED),
            ("boot.target", BOOT_TARGET),
        ):
            (units / name).write_text(text.format(folder=self.folder))

    def boot(self, *, lease: float) -> None:
        """Start the machine and wait until its boot is complete."""
        orders = BootOrders(
            authorized_key="",
            host_key="",
            host_key_public="",
            lease_seconds=lease,
            lifetime_seconds=9000,
            expires_at=4e9,
        )
        command = shlex.join(watchdog_command(orders, str(self.node)))
        (self.folder / "bootcmd").write_text(f"{command}\n")
        words = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork"]
        words += ["--kill-child", "--propagation", "private", "--"]
        master, slave = os.openpty()
        words += ["/bin/sh", "-c", BOOT, "boot", str(self.folder), str(SYSTEMD), os.ttyname(slave)]
        enter = f'echo $$ >"{self._group}/cgroup.procs" && exec "$@"'
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", enter, "enter", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        threading.Thread(target=self._listen, args=(master,), daemon=True).start()
        self.wait((self.folder / "reached").exists, "its boot")
        self.wait((self.node / "seen").exists, "the watchdog")

    def _listen(self, master: int) -> None:
        with self.console.open("wb", buffering=0) as console, suppress(OSError):  # its last end
            while data := os.read(master, 65536):
                console.write(data)
        os.close(master)

    def wait(self, fact: Callable[[], object], what: str, seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while not fact():
            assert time.monotonic() < until, f"{what} did not come:\n{self.said()}"
            assert what == "its end" or not self.is_off(), f"it has ended:\n{self.said()}"
            time.sleep(0.01)

    def said(self) -> str:
        """Return the last output of systemd."""
        return self.console.read_text(errors="replace")[-3000:]

    def watchdogs(self) -> list[psutil.Process]:
        """Return the shells that run the watchdog."""
        mark = str(self.node / "watchdog.sh")
        found = [p for p in psutil.process_iter(["cmdline", "ppid"]) if _runs(p, mark)]
        own = {p.pid for p in found}
        return [p for p in found if p.info["ppid"] not in own]

    def service_text(self, process: psutil.Process) -> str:
        """Return systemd's text of the service, read in the machine of this process."""
        transient = Path(f"/proc/{process.pid}/root/run/systemd/transient")
        return "".join(path.read_text() for path in transient.rglob("*.service*") if path.is_file())

    def is_off(self) -> bool:
        """Return whether the first process has ended."""
        return self.process is not None and self.process.poll() is not None

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.wait(self._groups_gone, "its end")

    def _groups_gone(self) -> bool:
        with suppress(OSError):
            for path in sorted(self._group.rglob("*/"), reverse=True):
                path.rmdir()
            self._group.rmdir()
        return not self._group.exists()


def _runs(process: psutil.Process, script: str) -> bool:
    return script in (process.info["cmdline"] or ())


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.close()


def test_systemd_keeps_the_watchdog(machine: Machine) -> None:
    """The watchdog is a service that the OOM killer spares and systemd restarts."""
    machine.boot(lease=900)
    (first,) = machine.watchdogs()
    assert (
        Path(f"/proc/{first.pid}/cgroup").read_text().strip().endswith("skygrid-watchdog.service")
    )
    assert first.parent().exe().endswith("/systemd"), "nobody starts it again"
    # Only with CAP_SYS_RESOURCE, which few containers have, does this setting take effect.
    assert "OOMScoreAdjust=-1000\n" in machine.service_text(first)
    began = (machine.node / "began").read_text()
    first.kill()
    machine.wait(lambda: [p for p in machine.watchdogs() if p != first], "another watchdog")
    assert (machine.node / "began").read_text() == began, "its lifetime begins anew"


def test_an_expired_lease_switches_the_machine_off(machine: Machine) -> None:
    """The watchdog's `shutdown` makes systemd end all processes and itself."""
    machine.boot(lease=2)
    machine.wait(machine.is_off, "its end")
    assert machine.watchdogs() == []


def test_a_request_in_the_lease_switches_the_machine_off(machine: Machine) -> None:
    """The text "end" in the lease ends the machine before its lease does."""
    machine.boot(lease=20)
    assert not machine.is_off()
    (machine.node / "lease").write_text("end\n")
    machine.wait(machine.is_off, "its end")
