"""The kit: one archive with all that a node needs to make its environment."""

from __future__ import annotations

import gzip
import io
import shlex
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import skygrid.worker
from skygrid.environment.records import KEY_LENGTH, Environment
from skygrid.errors import PreparationError
from skygrid.worker.keeper.code import code_digest

SCRIPT = Path(__file__).with_name("prepare.sh")
PACKAGE_MARK = b'"""On a node there is only skygrid.worker."""\n'


@dataclass(frozen=True, kw_only=True)
class Kit:
    """Files that prepare a node."""

    files: Mapping[str, bytes]
    """prepare.sh with its helpers, the worker's code, requirements, wheels and setup commands, by
    path."""

    environment_key: str
    """Key of the Python environment that the kit makes."""

    code_key: str
    """Key of the worker's code. It is separate because the code changes often and is cheap to
    replace."""

    @cached_property
    def data(self) -> bytes:
        """The files as a tar.gz, packed at first use."""
        return _archive(self.files)


def build_kit(environment: Environment) -> Kit:
    """Pack a kit; equal content gives equal bytes.

    Parameters
    ----------
    environment : Environment
        With its wheels built.

    Raises
    ------
    PreparationError
        If a wheel or a file of skygrid is missing.
    """
    try:
        code = {f"code/{name}": data for name, data in worker_code()}
        files = {**dict(_environment_files(environment)), **code}
    except OSError as error:
        raise PreparationError(f"cannot pack what a node needs: {error}") from error
    return Kit(
        files=files,
        environment_key=environment.key,
        code_key=code_digest(code)[:KEY_LENGTH],
    )


def worker_code() -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file of the package that nodes import."""
    yield "skygrid/__init__.py", PACKAGE_MARK
    folder = Path(skygrid.worker.__file__).parent
    for path in folder.rglob("*.py"):
        yield f"skygrid/worker/{path.relative_to(folder).as_posix()}", path.read_bytes()


def _environment_files(environment: Environment) -> Iterator[tuple[str, bytes]]:
    yield "prepare.sh", SCRIPT.read_bytes()
    for name in ("fetch_uv.py", "uv.txt"):
        yield name, SCRIPT.with_name(name).read_bytes()
    yield "environment", _variables(environment)
    yield "extra-index-urls.txt", _lines(environment.extra_index_url)
    if environment.lock is None:
        yield "requirements.txt", _lines(environment.requirements)
    else:
        yield "pylock.toml", environment.lock.encode()
    if environment.additions:
        yield "additions.txt", _lines(environment.additions)
    for wheel in environment.wheels:
        yield f"wheels/{wheel.path.name}", wheel.path.read_bytes()
    for number, command in enumerate(environment.setup, start=1):
        yield f"setup/{number:03}.sh", f"{command}\n".encode()


def _variables(environment: Environment) -> bytes:
    """Return the variables file that prepare.sh sources."""
    values = {
        "SKYGRID_PYTHON": environment.python,
        "SKYGRID_MINOR": environment.minor,
        "SKYGRID_INDEX_URL": environment.index_url or "",
    }
    return _lines(f"{name}={shlex.quote(value)}" for name, value in values.items())


def _lines(lines: Iterator[str] | tuple[str, ...]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _archive(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    # GNU format, because the node's tar may be busybox's.
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)  # no owner, time 0: equal content gives equal bytes
            entry.size, entry.mode = len(files[name]), 0o644
            archive.addfile(entry, io.BytesIO(files[name]))
    return gzip.compress(packed.getvalue(), compresslevel=6, mtime=0)
