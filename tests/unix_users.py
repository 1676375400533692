"""Real users of this machine with a login shell of their own; only root can make them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.programs import program


@dataclass(frozen=True)
class UnixUser:
    """A user with an empty home folder."""

    name: str
    home: Path

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        """Write a file below the home folder, as the user's own."""
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        for one in (file, *file.parents):
            if self.home in (one, *one.parents):
                shutil.chown(one, self.name, self.name)
        return file

    def change_shell(self, shell: str) -> None:
        """Give the user another login shell."""
        subprocess.run([program("usermod"), "--shell", shell, self.name], check=True)

    def pids(self) -> list[int]:
        """Return the user's processes."""
        number = pwd.getpwnam(self.name).pw_uid
        found = []
        for process in psutil.process_iter(["uids"]):
            uids = process.info["uids"]
            if uids is not None and uids.real == number:
                found.append(process.pid)
        return found

    def end_processes(self) -> None:
        """Kill all processes of the user."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def unix_user(shell: str, *, home_options: str | None = None) -> Iterator[UnixUser]:
    """Make a user, and remove it at the end.

    Parameters
    ----------
    shell
        Absolute path, which need not be in /etc/shells.
    home_options
        The home folder is a tmpfs with these mount options.
    """
    if os.getuid() != 0:
        pytest.fail("only root can make users for a test", pytrace=False)
    name = f"sg{uuid.uuid4().hex[:10]}"
    folder = Path(tempfile.mkdtemp(prefix="u", dir="/tmp"))
    folder.chmod(0o755)
    home = folder / "home"
    # "*" is no password; "!" would lock the account for sshd, too.
    words = ["--shell", shell, "--home-dir", str(home), "--create-home", "--skel", "/dev/null"]
    subprocess.run(
        [program("useradd"), *words, "--password", "*", "--user-group", name],
        check=True,
        capture_output=True,
    )
    user = UnixUser(name, home)
    try:
        if home_options is not None:
            _mount(["-t", "tmpfs", "-o", home_options, "tmpfs"], home)
            shutil.chown(home, name, name)
        yield user
    finally:
        user.end_processes()
        subprocess.run(["umount", "--lazy", str(home)], check=False, capture_output=True)
        subprocess.run([program("userdel"), "--force", name], check=False, capture_output=True)
        shutil.rmtree(folder)


@contextmanager
def python_for_all() -> Iterator[str]:
    """Provide this Python's interpreter at a path that every user can reach."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    path = Path(base).resolve()
    if all(one.stat().st_mode & 0o001 for one in (path, *path.parents)):
        yield str(path)
        return
    # It lies in root's home, as those of pyenv do.
    folder = Path(tempfile.mkdtemp(prefix="p", dir="/tmp"))
    folder.chmod(0o755)
    _mount(["--bind", sys.base_prefix], folder)
    try:
        yield str(folder / path.relative_to(Path(sys.base_prefix).resolve()))
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
        folder.rmdir()


def _mount(words: list[str], place: Path) -> None:
    done = subprocess.run(
        ["mount", *words, str(place)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.fail(f"the test needs root that may mount: {done.stderr.strip()}", pytrace=False)
