"""What the cloud needs of this machine: OpenSSH and sudo."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import sshd

LOCK = Path("/run/skygrid-test-cloud.lock")


class CloudMissingError(RuntimeError):
    """This machine cannot hold the cloud."""


def install_all() -> None:
    """Have everything there; raises `CloudMissingError` with what to do."""
    if sys.platform != "linux" or os.getuid() != 0:
        raise CloudMissingError(
            "the cloud for tests needs root on Linux: its instances live in namespaces "
            "(a container needs --privileged, or --cap-add SYS_ADMIN)"
        )
    try:
        sshd.find_or_install_sshd()
    except sshd.SshdMissingError as error:
        raise CloudMissingError(str(error)) from error
    lacking = [name for name in ("unshare", "mount", "chroot") if shutil.which(name) is None]
    if lacking:
        raise CloudMissingError(f"the cloud for tests needs {', '.join(lacking)} (util-linux)")
    if shutil.which("sudo") is None:
        install("sudo")


def install(package: str) -> None:
    """Install a package of Debian or Ubuntu and start none of its services."""
    if shutil.which("apt-get") is None:
        raise CloudMissingError(f"the cloud for tests needs {package}: install it")
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if shutil.which(package) is not None:
            return  # another test process was first
        with sshd._no_services_started():
            for command in (["update"], ["install", "--yes", "--no-install-recommends", package]):
                done = subprocess.run(
                    ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *command],
                    env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"),
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode and command[0] == "install":
                    said = (done.stderr or done.stdout).strip()[-400:]
                    raise CloudMissingError(f"apt-get install {package} failed: {said}")


if __name__ == "__main__":
    try:
        install_all()
    except CloudMissingError as error:
        sys.exit(str(error))
