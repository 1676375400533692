"""Findings of ``skygrid doctor`` about this machine and the place of the nodes."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from skygrid.config import RunConfig
from skygrid.nodes.records import Finding
from skygrid.nodes.registry import place_of
from skygrid.worker.machine import machine

GIB = 2**30


def examine(config: RunConfig) -> list[Finding]:
    """Examine this machine and the place of a configuration's nodes; change nothing.

    Raises
    ------
    ConfigError
        If a host's spelling or the SSH configuration cannot be understood.
    """
    return [_here(config.runs_dir), *place_of(config).examine(config)]


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
