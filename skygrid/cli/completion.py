"""Completion of command lines in bash, zsh and fish."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from skygrid.nodes.registry import PLACES

VARIABLE = "_SKYGRID_COMPLETE"
"""Environment variable by which a shell asks for completions."""


class Shell(StrEnum):
    """A shell with completion."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def prepare_completion() -> None:
    """Load what answers a shell, if a shell asks."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the script that completes commands, options and names of runs in a shell."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    from .output import write_result

    script = get_completion_script(prog_name="skygrid", complete_var=VARIABLE, shell=shell.value)
    write_result(script.strip() + "\n")


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of runs that begin so, the newest first."""
    from skygrid.config import load_config

    from .run_names import run_folders

    try:
        said = {"runs_dir": ctx.params.get("runs_dir")}
        folders = run_folders(load_config(said, os.environ, cwd=Path.cwd()).runs_dir)
        folders.sort(key=lambda folder: -folder.stat().st_mtime)
    except Exception:  # noqa: BLE001  # a message would appear in the middle of the user's line
        return []
    return _starting([folder.name for folder in folders], incomplete)


def complete_place(incomplete: str) -> list[str]:
    """Return the values of ``--on`` that begin so."""
    return [name for name in PLACES if name.startswith(incomplete)]


def complete_node(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the nodes of a run whose logs are there."""
    from skygrid.config import load_config

    from .run_names import find_run

    # Arguments before an option whose value is completed are not parsed yet.
    values: dict[str, Any] = ctx.params
    run = str(values.get("run") or next(iter(ctx.args), ""))
    try:
        said = {"runs_dir": values.get("runs_dir")}
        folder = find_run(run, load_config(said, os.environ, cwd=Path.cwd()).runs_dir)
        names = sorted(path.stem for path in (folder / "logs").glob("*.log"))
    except Exception:  # noqa: BLE001  # as in `complete_run`
        return []
    return _starting(names, incomplete)


_PLAIN = re.compile(r"[A-Za-z0-9][\w.@+-]*")


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    """Return the names that begin so and need no quotes.

    bash and zsh put a completion into the line as it is: a folder of someone else that is called
    ``$(command)`` would be executed with it.
    """
    return [name for name in names if name.startswith(incomplete) and _PLAIN.fullmatch(name)]
