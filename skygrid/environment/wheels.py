"""Building of wheels for distributions that no index has: projects, folders and archives."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from skygrid.environment.records import Environment, LocalDistribution, Wheel
from skygrid.errors import PreparationError

LOGGER = logging.getLogger(__name__)

FIRST_DAY_OF_ZIP = "315532800"
"""1980-01-01 in seconds since the epoch. A fixed time makes equal sources give equal wheels."""


def build_wheels(environment: Environment, folder: Path) -> Environment:
    """Build a wheel of each local distribution.

    Parameters
    ----------
    environment : Environment
    folder : Path
        Destination; each wheel gets a folder of its own. Created if missing.

    Returns
    -------
    environment : Environment
        The same with `wheels`, so that it has a key.

    Raises
    ------
    PreparationError
        If a build fails; the message names the distribution and ends with the build's output.
    """
    wheels = []
    for number, one in enumerate(environment.local):
        into = folder / str(number)
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        path = _build(one, into)
        LOGGER.info("%s %s goes to the nodes as %s", one.name, one.version, path.name)
        wheels.append(Wheel(path=path, digest=content_digest(path)))
    return replace(environment, wheels=tuple(wheels))


def content_digest(wheel: Path) -> str:
    """Return a digest of the names and contents of a wheel's files, independent of order and
    times."""
    with zipfile.ZipFile(wheel) as archive:
        parts = sorted(
            f"{name}\0{hashlib.sha256(archive.read(name)).hexdigest()}"
            for name in archive.namelist()
        )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _build(one: LocalDistribution, into: Path) -> Path:
    if one.source.endswith(".whl"):
        return Path(shutil.copy(one.source, into))
    said = []
    for command in _commands(one.source, into):
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env={**os.environ, "SOURCE_DATE_EPOCH": FIRST_DAY_OF_ZIP},
            check=False,
        )
        said.append(ended.stderr.strip() or ended.stdout.strip())
        found = sorted(into.glob("*.whl"))
        if ended.returncode == 0 and found:
            return found[0]
        LOGGER.debug("%s built no wheel: exit code %d", command[0], ended.returncode)
    what = f"{one.name} {one.version} is installed here from {one.source}, and no wheel of it"
    if not said:
        raise PreparationError(f"{what} can be built without pip or uv; install one of them")
    raise PreparationError(f"{what} could be built for the nodes:\n{said[0]}")


def _commands(source: str, into: Path) -> Iterator[list[str]]:
    # Environments made by uv have no pip; environments made by pip may lack uv.
    if importlib.util.find_spec("pip") is not None:
        quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
        pip = [sys.executable, "-m", "pip", "wheel", *quiet, "--no-deps"]
        yield [*pip, "--wheel-dir", str(into), source]
    # Also look beside this interpreter: an environment that is not activated is not on the PATH.
    uv = shutil.which("uv") or shutil.which("uv", path=sysconfig.get_path("scripts"))
    if uv is not None and not source.startswith("git+"):
        # No --quiet: it would hide the output of a failed build.
        yield [uv, "build", "--no-progress", "--wheel", "--out-dir", str(into), source]
