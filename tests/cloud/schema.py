"""Validation of user-data with cloud-init's own schema command.

Debian's package is unpacked, not installed: an installed cloud-init would run at this machine's
next boot. Its other dependencies are in the project's environment.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.programs import ProgramMissingError

FOLDER = Path(__file__).parents[2] / ".pytest_cache" / "cloud-init"


def check_user_data(raw: bytes) -> None:
    """Fail with cloud-init's message if it rejects this ``#cloud-config``.

    Parameters
    ----------
    raw : bytes
        Uncompressed user-data, as for `read_user_data`.
    """
    packages = ensure_cloud_init()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "user-data"
        file.write_bytes(raw)
        done = subprocess.run(
            [sys.executable, "-m", "cloudinit.config.schema", "--config-file", str(file)],
            env={**os.environ, "PYTHONPATH": str(packages)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Valid cloud-config" in said, said


def ensure_cloud_init() -> Path:
    """Return the folder of cloud-init's Python packages; download them if necessary.

    Raises
    ------
    ProgramMissingError
        If the download fails; the message says what to do.
    """
    packages = FOLDER / "usr" / "lib" / "python3" / "dist-packages"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (packages / "cloudinit").exists():
            _fetch()
    return packages


def _fetch() -> None:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise ProgramMissingError(f"cloud-init's check needs {program}: Debian or Ubuntu")
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        done = subprocess.run(
            ["apt-get", "-qq", "download", "cloud-init"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        found = list(Path(folder).glob("*.deb"))
        if not found:
            raise ProgramMissingError(
                f"apt-get download cloud-init failed: {done.stderr.strip()[-400:]} "
                "(apt-get update may help)"
            )
        subprocess.run(["dpkg-deb", "-x", str(found[0]), str(FOLDER)], check=True)
