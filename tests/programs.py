"""Programs that tests use, and installation of missing ones.

``python -m tests.programs`` installs those of `make test`, as root, with apt-get.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OPENSSH = ("sshd", "ssh", "ssh-keygen", "ssh-agent", "ssh-add", "scp")
SHELLS = ("bash", "bsd-csh", "busybox", "dash", "fish", "ksh", "tcsh", "zsh")
"""Login shells that nodes may have."""

SLURM = ("srun", "squeue", "scancel", "sinfo")
"""Slurm's commands for users; tests that are marked `clusters` need them and its daemons."""

PACKAGES = {
    **dict.fromkeys(OPENSSH, "openssh-client"),
    "sshd": "openssh-server",
    **{shell: shell for shell in SHELLS},
    "bsd-csh": "csh",
    **dict.fromkeys(SLURM, "slurm-client"),
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "munged": "munge",
}
"""Package of Debian and Ubuntu for each program; other programs have the name of their package."""

SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/bin", "/bin"]
)

LOCK = Path("/run/skygrid-test-programs.lock")


class ProgramMissingError(AssertionError):
    """A test cannot run on this machine. It fails, because a skip would look like a pass."""


def find(name: str) -> str | None:
    """Return the path of a program; None if it is not installed."""
    return shutil.which(name, path=SEARCH_PATH)


def program(name: str) -> str:
    """Return the path of a program; install it if it is missing.

    Raises
    ------
    ProgramMissingError
        If it cannot be installed; the message says what to do.
    """
    if find(name) is None:
        install([name])
    path = find(name)
    assert path is not None
    return path


def install(names: list[str]) -> None:
    """Install those programs that are missing, without starting their services."""
    lacking = _lacking(names)
    if not lacking:
        return
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        raise ProgramMissingError(_advice(lacking, "only root can install them, with apt-get"))
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lacking = _lacking(names)  # another test process may have been first
        if lacking:
            _apt_get("update")
            # Ignore a failed update: the old index may still do.
            said = _apt_get("install", "--yes", "--no-install-recommends", *_packages(lacking))
            if _lacking(names):  # Slurm's packages depend on one another in a circle
                said = _apt_get("--fix-broken", "install", "--yes")
            if _lacking(names):
                raise ProgramMissingError(_advice(lacking, f"apt-get says: {said}"))


def _lacking(names: list[str]) -> list[str]:
    return [name for name in names if find(name) is None]


def _packages(names: list[str]) -> list[str]:
    return sorted({PACKAGES.get(name, name) for name in names})


def _advice(lacking: list[str], why: str) -> str:
    packages = " ".join(_packages(lacking))
    return (
        f"tests need {', '.join(lacking)}: {why}. As root: apt-get install {packages} "
        "(elsewhere: the packages of your system)"
    )


def _apt_get(*words: str) -> str:
    """Run apt-get; return the end of its output."""
    with _no_services_started():
        done = subprocess.run(
            ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *words],
            env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"),
            capture_output=True,
            text=True,
            check=False,
        )
    return (done.stderr or done.stdout).strip()[-400:]


@contextmanager
def _no_services_started() -> Iterator[None]:
    """Keep Debian from starting its own sshd, by the documented policy file."""
    policy = Path("/usr/sbin/policy-rc.d")
    before = policy.read_bytes() if policy.exists() else None
    mode = policy.stat().st_mode if before is not None else 0
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        if before is None:
            policy.unlink()
        else:
            policy.write_bytes(before)
            policy.chmod(mode)


if __name__ == "__main__":
    try:
        install([*OPENSSH, *SHELLS])
    except ProgramMissingError as error:
        sys.exit(str(error))
