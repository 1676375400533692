"""One instance as a machine: real processes in their own namespaces.

Needs root, `unshare`, overlayfs and tmpfs. All mounts are in the machine's own mount namespace, so
the kernel removes them when its first process ends.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cloud.user_data import BootPlan

INSIDE = Path(__file__).parent / "inside"

END_SECONDS = 4.0
"""Time for the first process to end the others before it is killed."""

LAST_SECONDS = 5.0
"""Time for the kernel to end a namespace after its first process."""

SSHD_CONFIG = """\
ListenAddress {address}
PidFile /run/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
AcceptEnv LANG LC_*
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin {variables}
Subsystem sftp internal-sftp
LogLevel VERBOSE
{more}
"""


@dataclass(frozen=True, kw_only=True)
class MachineSpec:
    """Properties that differ between machines."""

    instance_id: str
    address: str
    """Address of its sshd, behind the firewall."""

    hostname: str
    metadata: str
    """URL of its metadata service."""

    user_data: bytes
    plan: BootPlan
    key_seconds: float = 0.0
    """Time between the start of sshd and the installation of the users' keys."""

    shared: Path | None = None
    """Environments to share with other machines, or None."""

    mounts: tuple[str, ...] = ()
    """Folders of this machine to mount at the same path."""

    sshd_settings: tuple[str, ...] = ()


class Machine:
    """A machine that starts when it is created.

    Parameters
    ----------
    spec : MachineSpec
    folder : Path
        An empty folder for this machine only.
    tell : callable
        Called in a separate thread with each event: ``sshd``, ``finished``, ``failed``, ``down``
        and, last and exactly once, ``gone``.
    """

    def __init__(
        self, spec: MachineSpec, folder: Path, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self.spec = spec
        self.console_file = folder / "console"
        self.console_file.touch()
        self._root = folder / "root"
        self._root.mkdir()
        self._tell = tell
        self._ending = threading.Lock()
        base: str = getattr(sys, "_base_executable", sys.executable)
        self._python = os.path.realpath(base)
        self._process = self._start()
        self.namespace = ""
        """Name of its pid namespace; empty before it exists and after it ends."""

        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        shared = str(self.spec.shared) if self.spec.shared else "-"
        script = str(INSIDE / "machine.sh")
        words = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        words += ["--propagation", "private", "--", "/bin/sh", script, str(self._root)]
        words += [self._python, sys.base_prefix, shared, str(self.console_file), str(INSIDE)]
        words += self.spec.mounts
        with self.console_file.open("ab") as console:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                start_new_session=True,
            )
        assert process.stdin is not None
        process.stdin.write(self._plan().encode() + b"\n")
        process.stdin.flush()
        return process

    def _plan(self) -> str:
        spec = self.spec
        plan = dataclasses.asdict(spec.plan)
        plan.update(
            instance_id=spec.instance_id,
            address=spec.address,
            hostname=spec.hostname,
            metadata=spec.metadata,
            key_seconds=spec.key_seconds,
            python=self._python,
            user_data=base64.b64encode(spec.user_data).decode(),
            sshd_config=self._sshd_config(),
        )
        return json.dumps(plan)

    def _sshd_config(self) -> str:
        return SSHD_CONFIG.format(
            address=self.spec.address,
            variables=f"AWS_EC2_METADATA_SERVICE_ENDPOINT={self.spec.metadata}",
            more="\n".join([*_penalties(), *self.spec.sshd_settings]),
        )

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not self.namespace:
                self.namespace = self._find_namespace()
            self._tell(json.loads(line))
        self._process.wait()
        # `unshare` can exit before the kernel has ended the other processes.
        deadline = time.monotonic() + LAST_SECONDS
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.002)
        # The kernel may reuse the number for another namespace.
        self.namespace = ""
        self._tell({"event": "gone"})

    def _find_namespace(self) -> str:
        try:
            return os.readlink(f"/proc/{self._process.pid}/ns/pid_for_children")
        except OSError:
            return ""

    @property
    def is_running(self) -> bool:
        """True while its first process runs."""
        return self._process.poll() is None

    def console(self) -> str:
        """Return the output of the boot."""
        return self.console_file.read_text(errors="replace")

    def processes(self) -> list[str]:
        """Return the command lines of its processes."""
        return [command for _, command in processes_in({self.namespace} - {""})]

    def end(self) -> None:
        """Shut down: ask the first process, then kill it after `END_SECONDS`."""
        with self._ending:
            if self.is_running:
                assert self._process.stdin is not None
                try:
                    self._process.stdin.write(b"end\n")
                    self._process.stdin.flush()
                    self._process.wait(END_SECONDS)
                except (BrokenPipeError, subprocess.TimeoutExpired):
                    self._kill()
        self.wait()

    def pull_plug(self) -> None:
        """Kill all processes at once."""
        self._kill()
        self.wait()

    def wait(self) -> None:
        """Return when all processes have ended and the last event was reported."""
        self._process.wait()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _kill(self) -> None:
        # --kill-child: with `unshare` the kernel kills the first process and so the namespace.
        self._process.kill()


def processes_in(namespaces: set[str]) -> list[tuple[int, str]]:
    """Return pids and command lines of the processes in these pid namespaces."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "ns" / "pid") in namespaces:
                    words = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                    found.append((int(entry.name), b" ".join(words).decode(errors="replace")))
            except OSError:
                continue  # the process has just ended
    return found


def _penalties() -> list[str]:
    from tests.sshd import openssh_version

    # All clients share one address, so refusals in one test would lock out the next.
    return ["PerSourcePenalties no"] if openssh_version() >= (9, 8) else []
