"""``skygrid doctor``: what works where a search is to run, what does not, and what to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from skygrid.config import RunConfig
from skygrid.errors import SkygridError
from skygrid.nodes.interface import Finding
from skygrid.worker.machine import machine

if TYPE_CHECKING:
    from skygrid.environment.shell_commands import Probe
    from skygrid.nodes.ssh.targets import Target

AT_ONCE = 8
"""Hosts that are looked at together."""

ENOUGH_DISK = 2 * 2**30
"""Bytes that an environment and its packages take, with something to spare."""

GIB = 2**30


def examine(config: RunConfig) -> list[Finding]:
    """Look at this machine and at where a configuration's nodes are; changes nothing anywhere.

    Raises
    ------
    ConfigError
        If a host's spelling or the SSH configuration cannot be understood.
    """
    found = [_here(config.runs_dir)]
    if config.on == "aws":
        # boto3 takes a third of a second to import.
        from skygrid.nodes.ec2.doctor.examine import examine_account

        return found + examine_account(config)
    if config.on != "ssh":
        return found
    from skygrid.nodes.ssh.provider import find_targets

    targets = find_targets(config)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return found + list(pool.map(lambda name: _host(name, targets[name], config), targets))


def _here(runs_dir: Path) -> Finding:
    versions = machine.versions()
    packages = ", ".join(f"{name} {text}" for name, text in versions.items() if name != "python")
    there = next(folder for folder in (runs_dir.absolute(), *runs_dir.absolute().parents) if
                 folder.exists())  # fmt: skip
    free = shutil.disk_usage(there).free
    problems = []
    if not os.access(there, os.W_OK | os.X_OK):
        problems.append(f"cannot write to {there}: choose another --runs-dir")
    return Finding(
        name="this machine",
        facts=(
            f"{platform.system()} {platform.machine()}, Python {versions['python']}",
            packages,
            ", ".join(
                (
                    f"{machine.vcpus()} vCPUs",
                    f"{machine.memory_bytes() / GIB:.1f} GiB of memory",
                    f"{free / GIB:.1f} GiB of disk for runs",
                )
            ),
        ),
        problems=tuple(problems),
    )


def _host(name: str, target: Target, config: RunConfig) -> Finding:
    from skygrid.nodes.ssh.doctor import look_at

    try:
        probe, seconds = look_at(target, config.ssh.folder)
    except (SkygridError, OSError) as error:
        return Finding(name=name, problems=(str(error),))
    pythons = ", ".join(sorted({version for version, _ in probe.pythons})) or "none"
    tools = [f"Python {pythons}"]
    if probe.uv is not None:
        tools.append(" ".join(probe.uv.split()[:2]))
    sizes = [f"{probe.memory_kib / 2**20:.1f} GiB of memory"]
    if probe.free_kib is not None:
        sizes.append(f"{probe.free_kib / 2**20:.1f} GiB of disk under {probe.root}")
    return Finding(
        name=name,
        facts=(
            f"{target.user}@{target.host}:{target.port}, connected in {seconds:.1f} s",
            f"{probe.system} {probe.machine} {probe.libc}".rstrip() + ", " + ", ".join(tools),
            ", ".join(sizes),
        ),
        notes=tuple(notes_on(probe, config.environment.python)),
        problems=tuple(problems_of(probe)),
    )


def problems_of(probe: Probe) -> Iterator[str]:
    """What keeps a host from being prepared."""
    if not probe.writable:
        yield f"cannot write to {probe.root}: set folder under [ssh] to one that you may write to"
    elif probe.free_kib is not None and probe.free_kib * 1024 < ENOUGH_DISK:
        yield (
            f"{probe.free_kib / 2**20:.1f} GiB of disk left under {probe.root}, and an environment "
            "takes about 1 GiB: free some, or set folder under [ssh] to a larger disk"
        )
    if probe.uv is None and not probe.pythons:
        yield "no Python and no uv: install one of them there (https://docs.astral.sh/uv)"


def notes_on(probe: Probe, wanted: str | None) -> Iterator[str]:
    """What makes a host differ from this machine in a way that a search may feel."""
    minor = wanted or f"{sys.version_info.major}.{sys.version_info.minor}"
    has = any(version == minor or version.startswith(f"{minor}.") for version, _ in probe.pythons)
    if probe.pythons and not has and not minor.startswith("/"):
        yield (
            f"no Python {minor} on its PATH: uv will look elsewhere, or download it if the host "
            "may reach GitHub"
        )
    here = (platform.system(), platform.machine())
    if (probe.system, probe.machine) != here:
        yield (
            f"it is {probe.system} {probe.machine} and this machine {' '.join(here)}: scores may "
            "differ in their last bits"
        )
