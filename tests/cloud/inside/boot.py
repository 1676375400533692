"""First process of an instance: boot, reaping of children, shutdown.

It runs with `python -I -S` in its own root, so it imports the standard library only. The first line
of standard input is the plan. The line "end" starts the shutdown, and so does the end of the input,
because then the cloud is gone. Events go to standard output, one JSON document per line, e.g.
``{"event": "sshd"}``.
"""

import base64
import contextlib
import json
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

Plan = dict[str, Any]

LOG = "/var/log/cloud-init-output.log"

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

GRACE_SECONDS = 1.0
"""Time between SIGTERM and SIGKILL at the shutdown."""

USER, USER_ID = "ubuntu", 1000
"""The image's default user."""

ROOT_KEY_OPTIONS = (
    "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,"
    f'command="echo \'Please login as the user \\"{USER}\\" rather than the user \\"root\\".\';'
    'echo;sleep 10;exit 142" '
)
"""Options that cloud-init's `disable_root` puts before each key of root."""


def tell(event: str, **more: str) -> None:
    """Write one event in a single write: several processes share this pipe."""
    os.write(1, (json.dumps({"event": event, **more}) + "\n").encode())


# ---- the boot ------------------------------------------------------------------------------------


class Boot:
    """The steps of the plan, in cloud-init's order."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.environment = {
            "PATH": SEARCH_PATH,
            "INSTANCE_ID": plan["instance_id"],
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": plan["metadata"],
        }

    def run(self) -> None:
        plan = self.plan
        early = plan["key_seconds"] > 0
        steps = [
            self.write_machine,
            self.bootcmd,
            self.make_user,
            self.write_host_keys,
            *([self.start_sshd, lambda: time.sleep(plan["key_seconds"])] if early else []),
            self.write_user_keys,
            *([] if early else [self.start_sshd]),
        ]
        for step in steps:
            step()
        Path("/var/lib/cloud/instance/boot-finished").write_text("finished\n")
        tell("finished")

    def run_command(self, words: list[str], name: str) -> None:
        """Run one step; as in cloud-init, a failure is reported and the boot continues."""
        with open(LOG, "ab") as log:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                check=False,
            )
        if done.returncode:
            tell("failed", step=name, why=f"exit {done.returncode}")

    def write_machine(self) -> None:
        """Write the files of the image: users, sudo, sshd's configuration, shutdown commands."""
        plan = self.plan
        socket.sethostname(plan["hostname"])
        Path("/etc/hostname").write_text(plan["hostname"] + "\n")
        with open("/etc/hosts", "a") as hosts:
            hosts.write(f"\n127.0.1.1 {plan['hostname']}\n")
        keep_system_users()
        for name in ("shutdown", "poweroff", "halt", "reboot"):
            put_program(f"/usr/sbin/{name}", Path("/run/instance/power.sh").read_text())
        put_program("/usr/bin/systemctl", Path("/run/instance/systemctl.sh").read_text())
        put_program("/usr/local/bin/python3", f'#!/bin/sh\nexec {plan["python"]} "$@"\n')
        Path("/etc/ssh/sshd_config").write_text(plan["sshd_config"])
        instance = Path("/var/lib/cloud/instances") / plan["instance_id"]
        instance.mkdir(parents=True)
        Path("/var/lib/cloud/instance").symlink_to(instance)
        user_data = instance / "user-data.txt"
        user_data.touch(mode=0o600)
        user_data.write_bytes(base64.b64decode(plan["user_data"]))
        Path("/var/log/cloud-init.log").write_text("")

    def bootcmd(self) -> None:
        if self.plan["bootcmd"] is None:
            return
        script = Path("/run/instance/bootcmd")
        script.write_text(self.plan["bootcmd"])
        self.run_command(["/bin/sh", str(script)], "bootcmd")

    def make_user(self) -> None:
        make_user()
        if Path("/run/instance/shared").exists():
            self.share_cache()

    def share_cache(self) -> None:
        """Link the environments that instances share; see `tests/ssh_runs.py`."""
        account = pwd.getpwnam(USER)
        folder = Path(account.pw_dir) / ".cache" / "skygrid"
        folder.mkdir(parents=True)
        for shared in Path("/run/instance/shared").iterdir():
            (folder / shared.name).symlink_to(shared)
        for path in (folder.parent, folder):
            os.chown(path, account.pw_uid, account.pw_gid)

    def write_host_keys(self) -> None:
        folder = Path("/etc/ssh")
        for old in folder.glob("ssh_host_*key*"):
            old.unlink()
        private = folder / "ssh_host_ed25519_key"
        if not self.plan["host_keys"]:
            self.run_command(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(private)], "ssh"
            )
            return
        private.touch(mode=0o600)
        private.write_text(self.plan["host_keys"]["ed25519_private"])
        public = private.with_name(f"{private.name}.pub")
        public.write_text(self.plan["host_keys"]["ed25519_public"])

    def write_user_keys(self) -> None:
        write_keys(USER, self.plan["keys"], "")
        write_keys("root", self.plan["keys"], ROOT_KEY_OPTIONS)

    def start_sshd(self) -> None:
        # sshd reads every host key in the default folder, as Ubuntu's does.
        self.run_command(["/usr/sbin/sshd"], "sshd")
        wait_for_listener(self.plan["address"])
        tell("sshd")


def put_program(path: str, text: str) -> None:
    # Replace the file: an existing one may be a link to another program.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    Path(path).write_text(text)
    os.chmod(path, 0o755)


def keep_system_users() -> None:
    """Remove this machine's user accounts, as a fresh image has none."""
    people = {account.pw_name for account in pwd.getpwall() if 1000 <= account.pw_uid < 60000}
    for name in ("passwd", "shadow", "group", "gshadow"):
        path = Path("/etc") / name
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(one for one in lines if one.split(":")[0] not in people))
    for old in Path("/etc/sudoers.d").glob("*"):
        if old.name != "README":
            old.unlink()


def make_user() -> None:
    home = f"/home/{USER}"
    append("/etc/passwd", f"{USER}:x:{USER_ID}:{USER_ID}::{home}:/bin/bash\n")
    # "!" would lock the account for keys too, because sshd runs without PAM.
    append("/etc/shadow", f"{USER}:*:19000:0:99999:7:::\n")
    append("/etc/group", f"{USER}:x:{USER_ID}:\n")
    os.mkdir(home, 0o750)
    os.chown(home, USER_ID, USER_ID)
    rules = Path("/etc/sudoers.d/90-cloud-init-users")
    rules.parent.mkdir(mode=0o755, exist_ok=True)
    rules.write_text(f"{USER} ALL=(ALL) NOPASSWD:ALL\n")
    rules.chmod(0o440)


def append(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


def write_keys(name: str, keys: list[str], options: str) -> None:
    account = pwd.getpwnam(name)
    folder = Path(account.pw_dir) / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "authorized_keys"
    path.touch(mode=0o600)
    path.write_text("".join(f"{options}{key.strip()}\n" for key in keys))
    for one in (folder, path):
        os.chown(one, account.pw_uid, account.pw_gid)


def wait_for_listener(address: str) -> None:
    for _ in range(2000):
        with socket.socket() as trial:
            if trial.connect_ex((address, 22)) == 0:
                return
        time.sleep(0.005)
    tell("failed", step="sshd", why="it does not listen")


# ---- the first process ---------------------------------------------------------------------------


class Init:
    """Waits for a shutdown request and reaps child processes."""

    def __init__(self) -> None:
        self.input = b""
        self.due: tuple[float, str] | None = None  # time and kind of a delayed shutdown
        self.power = os.open("/run/power", os.O_RDWR | os.O_NONBLOCK)
        self.sysrq = os.open("/run/sysrq", os.O_RDWR | os.O_NONBLOCK)
        self.wake, wake_write = os.pipe()
        for end in (self.wake, wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(ignored, lambda *_: None)

    def read_plan(self) -> Plan:
        while b"\n" not in self.input:
            data = os.read(0, 65536)
            if not data:
                raise SystemExit(0)
            self.input += data
        line, _, self.input = self.input.partition(b"\n")
        plan: Plan = json.loads(line)
        return plan

    def start_boot(self, plan: Plan) -> None:
        if os.fork() == 0:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            code = 0
            try:
                Boot(plan).run()
            except BaseException as error:
                tell("failed", step="boot", why=repr(error))
                code = 1
            os._exit(code)

    def run(self, plan: Plan) -> None:
        os.chdir("/")
        self.start_boot(plan)
        how = None
        while how is None:
            wait = max(0.0, self.due[0] - time.monotonic()) if self.due else None
            ready, _, _ = select.select([0, self.power, self.sysrq, self.wake], [], [], wait)
            reap()
            how = self.asked(ready)
        tell("down", how=how)
        end_all()

    def asked(self, ready: list[int]) -> str | None:
        """Return the kind of shutdown that is due, or None."""
        if self.wake in ready:
            os.read(self.wake, 4096)
        if 0 in ready:
            data = os.read(0, 65536)
            self.input += data
            if not data:
                return "orphaned"
            if b"end\n" in self.input:
                return "ended"
        if self.sysrq in ready:
            for letter in os.read(self.sysrq, 4096).decode():
                if how := {"o": "poweroff", "b": "reboot"}.get(letter):
                    return how
        if self.power in ready:
            for line in os.read(self.power, 4096).decode().splitlines():
                what, minutes = line.split()
                self.due = (time.monotonic() + 60 * int(minutes), what)
                if what == "cancel":
                    self.due = None
        if self.due and self.due[0] <= time.monotonic():
            return self.due[1]
        return None


def reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_all() -> None:
    """Send SIGTERM to everything, SIGKILL after a grace time, and exit last."""
    deadline = time.monotonic() + GRACE_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            break
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    sys.exit(0)


if __name__ == "__main__":
    init = Init()
    tell("up")
    init.run(init.read_plan())
