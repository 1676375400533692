"""Examination of hosts: can they be reached, what do they have, and what do they lack."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from skygrid.config import RunConfig, limits
from skygrid.environment.shell_commands import Probe, probe, read_probe
from skygrid.errors import SkygridError
from skygrid.nodes.records import Finding
from skygrid.util.terminal import printable

from .channel import read_output
from .connection import Connection
from .provider import find_targets
from .targets import Target

AT_ONCE = 8
"""Hosts that are looked at together."""

ENOUGH_DISK = 2 * 2**30
"""Bytes that an environment and its packages take, with something to spare."""


def examine_hosts(config: RunConfig) -> list[Finding]:
    """Look at the hosts of a configuration; changes nothing there.

    Raises
    ------
    ConfigError
        If a host's spelling or the SSH configuration cannot be understood.
    """
    targets = find_targets(config)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looks = pool.map(lambda name: examine_host(name, targets[name], config), targets)
        return list(looks)


def look_at(target: Target, root: str) -> tuple[Probe, float]:
    """Connect to a host and probe it; nothing is changed there.

    Parameters
    ----------
    target : Target
    root : str
        Folder for skygrid on the host.

    Returns
    -------
    probe : Probe
    seconds : float
        Time to connect.

    Raises
    ------
    NodeError
        If the host cannot be used without a change, or its answer cannot be parsed.
    OSError
        If the connection fails for a reason that may pass.
    """
    begin = time.monotonic()
    connection = Connection(target)
    try:
        connected = time.monotonic() - begin
        output = read_output(connection, probe(root), limits.SSH_PROBE)
        found = read_probe(printable(output.decode(errors="replace"), len(output)))
        return found, connected
    finally:
        connection.close()


def examine_host(name: str, target: Target, config: RunConfig) -> Finding:
    """Look at one host; a host that cannot be reached or used is a finding with a problem."""
    try:
        probe, seconds = look_at(target, config.ssh.folder)
    except (SkygridError, OSError) as error:
        return Finding(name=name, problems=(str(error),))
    pythons = ", ".join(sorted({version for version, _ in probe.pythons})) or "none"
    tools = [f"Python {pythons}"]
    if probe.uv is not None:
        tools.append(" ".join(probe.uv.split()[:2]))
    sizes = [_memory(probe)]
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


def _memory(probe: Probe) -> str:
    if 0 < probe.memory_limit_kib < probe.memory_kib:
        return (
            f"{probe.memory_limit_kib / 2**20:.1f} GiB of memory by its control group "
            f"(the host has {probe.memory_kib / 2**20:.1f} GiB)"
        )
    return f"{probe.memory_kib / 2**20:.1f} GiB of memory"


def problems_of(probe: Probe) -> Iterator[str]:
    """What keeps a host from being prepared."""
    if not probe.writable:
        yield f"cannot write to {probe.root}: set folder under [ssh] to one that you may write to"
    elif probe.free_kib is not None and probe.free_kib * 1024 < ENOUGH_DISK:
        yield (
            f"{probe.free_kib / 2**20:.1f} GiB of disk left under {probe.root}, and an environment "
            "takes about 1 GiB: free some, or set folder under [ssh] to a larger disk"
        )
    if probe.foreign is not None:
        path = probe.root if probe.foreign == "." else f"{probe.root}/{probe.foreign}"
        yield (
            f"{path} belongs to another user or can be changed by one, who could put programs "
            "there: make it yours alone (chmod go-rwx), or set folder under [ssh] to one that is"
        )
    if not probe.executable:
        yield (
            f"the disk of {probe.root} is mounted with noexec, so no program can run there: set "
            "folder under [ssh] to one on another disk"
        )
    if probe.uv is None and not probe.gets_uv:
        yield (
            "no uv, and no python3 (3.7 or newer) to fetch it with: install uv there "
            "(https://docs.astral.sh/uv)"
        )


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
