"""The watchdog of an instance, run where it cannot switch the machine off."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from skygrid.nodes.ec2.launch.user_data import BootOrders, watchdog_command
from tests.processes import wait_until

pytestmark = pytest.mark.cloud

POWER = '#!/bin/sh\necho "${0##*/} $*" >>"LOG"\n'
"""Replacement for `shutdown` and `poweroff` that logs its call."""

SLEEP = '#!/bin/sh\necho "$1" >>"{looks}"\nexec {sleep} 0.02\n'
"""Replacement for `sleep` with short pauses, which writes a line for each look."""

BOOTED = 1000
"""Seconds since boot when the watchdog starts."""

BOX = """
mount --make-rprivate /
set -e
mount -t proc proc /proc
[ ! -e /proc/sysrq-trigger ] || mount --bind "$0" /proc/sysrq-trigger
[ ! -e /proc/sys/kernel/sysrq ] || mount --bind "$1" /proc/sys/kernel/sysrq
mount --bind "$2" /proc/uptime
shift 2
set +e
"$@"
while :; do {sleep} 1; done
"""
"""First process of a pid namespace, whose end ends all processes inside."""


class Box:
    """Place in which a watchdog runs, by a clock that the test moves."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "node", folder / "log"
        self.sysrq, self.switch = folder / "sysrq", folder / "switch"
        self.uptime, self.looks = folder / "uptime", folder / "looks"
        for path in (self.log, self.sysrq, self.switch, self.uptime, self.looks):
            path.touch()
        self.seconds_pass(0)
        programs = folder / "programs"
        programs.mkdir()
        self._sleep = str(shutil.which("sleep"))
        texts = dict.fromkeys(("shutdown", "poweroff"), POWER.replace("LOG", str(self.log)))
        texts["sleep"] = SLEEP.format(sleep=self._sleep, looks=self.looks)
        for name, text in texts.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        self._path = f"{programs}:{os.environ['PATH']}"
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self, *, lease: float = 900, lifetime: float = 9000, expires: float = 4e9) -> None:
        """Run the first command of the user-data."""
        orders = BootOrders(
            authorized_key="",
            host_key="",
            host_key_public="",
            lease_seconds=lease,
            lifetime_seconds=lifetime,
            expires_at=expires,
        )
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c"]
        words += [BOX.format(sleep=self._sleep)]
        words += [str(path) for path in (self.sysrq, self.switch, self.uptime)]
        self._process = subprocess.Popen(
            [*words, *watchdog_command(orders, str(self.folder))],
            env={"PATH": self._path},
            start_new_session=True,
        )
        wait((self.folder / "seen").exists)

    def seconds_pass(self, seconds: int) -> None:
        """Set the clock to this number of seconds after the boot."""
        # Write once to the same file, because the watchdog has it mounted.
        with self.uptime.open("r+b", buffering=0) as file:
            file.write(b"%d.00 0.00\n" % (BOOTED + seconds))

    def wait_for_looks(self) -> None:
        """Wait until the watchdog has completed another look."""
        before = len(self.looks.read_text().splitlines())
        wait(lambda: len(self.looks.read_text().splitlines()) >= before + 2)

    def watchdogs(self) -> list[psutil.Process]:
        """Return the processes of the watchdog, without short commands."""
        mark = str(self.folder / "watchdog.sh")
        every = psutil.process_iter(["cmdline", "ppid"])
        found = [p for p in every if mark in (p.info["cmdline"] or ())]
        # A shell that has just forked to run `date` appears twice with the same arguments.
        watchdogs = {p.pid for p in found}
        return [p for p in found if p.info["ppid"] not in watchdogs]

    def said(self) -> list[str]:
        """Return the commands by which the watchdog tried to end the instance."""
        return self.log.read_text().splitlines()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path)
    yield box
    box.close()


def wait(fact: Callable[[], object]) -> None:
    wait_until(fact, "what the watchdog should do")


def test_a_lease_that_is_not_renewed_ends_the_instance(box: Box) -> None:
    """Without a driver the instance powers off at the end of its lease, not earlier."""
    box.boot(lease=60)
    box.seconds_pass(59)
    box.wait_for_looks()
    assert not box.said()
    box.seconds_pass(60)
    wait(box.said)
    assert box.said()[0] == "shutdown -P now"


def test_a_lease_that_is_renewed_lasts(box: Box) -> None:
    """An instance whose lease is touched stays longer than one lease."""
    box.boot(lease=60)
    for seconds in range(50, 500, 50):
        os.utime(box.folder / "lease")
        box.seconds_pass(seconds)
        box.wait_for_looks()
        assert not box.said()
    box.seconds_pass(510)
    wait(box.said)


def test_every_user_of_the_node_can_renew(box: Box) -> None:
    """Other users may write to the lease, but not to its folder."""
    box.boot()
    assert (box.folder / "lease").stat().st_mode & 0o777 == 0o666
    assert box.folder.stat().st_mode & 0o022 == 0


def test_the_lifetime_ends_the_instance_despite_its_lease(box: Box) -> None:
    """At its maximum lifetime the instance ends, even if its lease is renewed."""
    box.boot(lifetime=100)
    os.utime(box.folder / "lease")
    box.seconds_pass(99)
    box.wait_for_looks()
    assert not box.said()
    os.utime(box.folder / "lease")
    box.seconds_pass(100)
    wait(box.said)
    assert box.said()[0] == "shutdown -P now"


def test_an_expiry_in_the_past_ends_the_instance(box: Box) -> None:
    """An instance that boots after its expiry ends at once."""
    box.boot(expires=time.time() - 1)
    wait(box.said)


def test_a_request_in_the_lease_ends_the_instance(box: Box) -> None:
    """The text "end" in the lease ends the instance."""
    box.boot()
    (box.folder / "lease").write_text("end\n")
    wait(box.said)


def test_a_deleted_lease_does_not_stop_the_watchdog(box: Box) -> None:
    """Without its lease file the instance ends at the same time."""
    box.boot(lease=60)
    (box.folder / "lease").unlink()
    box.wait_for_looks()
    assert not box.said()
    box.seconds_pass(60)
    wait(box.said)


def test_stronger_commands_follow_a_failed_shutdown(box: Box) -> None:
    """If `shutdown` has no effect, `poweroff -f` is run, and then the kernel is asked."""
    box.boot(lease=60)
    box.seconds_pass(60)
    wait(lambda: box.said()[:2] == ["shutdown -P now", "poweroff -f"])
    if Path("/proc/sysrq-trigger").exists():  # not every container shows it
        wait(lambda: "o" in box.sysrq.read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_do_not_end_the_watchdog(box: Box, number: int) -> None:
    """SIGTERM, SIGHUP and SIGINT do not end the watchdog."""
    box.boot(lease=60)
    before = {process.pid for process in box.watchdogs()}
    assert before
    for process in box.watchdogs():
        process.send_signal(number)
    box.seconds_pass(60)
    wait(box.said)
    assert before <= {process.pid for process in box.watchdogs()}


def test_a_killed_watchdog_is_started_again_with_its_lifetime(box: Box) -> None:
    """After kill -9 another watchdog starts with the same end."""
    box.boot(lifetime=100)
    began = (box.folder / "began").read_text()
    (first,) = box.watchdogs()
    first.kill()
    box.seconds_pass(50)
    wait(lambda: any(process.pid != first.pid for process in box.watchdogs()))
    box.seconds_pass(100)
    wait(box.said)
    assert (box.folder / "began").read_text() == began
