"""Slurm's own programs, run as child processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from skygrid.config import limits
from skygrid.errors import ConfigError, NodeError
from skygrid.util.terminal import printable

NEEDED = ("srun", "squeue", "scancel")


def require_programs() -> None:
    """Refuse a machine without Slurm's programs.

    Raises
    ------
    ConfigError
        Names the missing program.
    """
    for name in NEEDED:
        if shutil.which(name) is None:
            raise ConfigError(
                f"there is no {name} on the PATH: start skygrid on a login node of the cluster, "
                "after `module load slurm` where the site needs it"
            )


def ask(*command: str) -> str:
    """Return the output of a program of Slurm.

    Raises
    ------
    NodeError
        If it fails; the message has its last lines.
    """
    code, output, errors = run(command)
    if code:
        raise NodeError(f"{command[0]} failed (exit code {code}): {last_lines(errors or output)}")
    return output


def run(command: Sequence[str]) -> tuple[int, str, str]:
    """Run a program of Slurm; return exit code, output and errors.

    Raises
    ------
    NodeError
        If it cannot be started, or does not answer.
    """
    try:
        # In a session of its own: a Ctrl-C of the terminal must not stop the clean-up.
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limits.SLURM_ANSWER,
            check=False,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise NodeError(f"cannot run {command[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise NodeError(
            f"{command[0]} gave no answer within {limits.SLURM_ANSWER:g} s: Slurm's controller may "
            "be down; ask `scontrol ping`"
        ) from None
    return done.returncode, done.stdout, done.stderr


def last_lines(text: str, count: int = 3) -> str:
    """Return the last lines of a program's output as one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return printable("; ".join(lines[-count:]))
