"""Commands for a node's shell, and the reader of the probe's output.

Each command is a constant script in a file beside this module, with values as its arguments, so
each value is quoted once. The text works in dash, bash, zsh and fish as login shells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from skygrid.errors import ConfigError, PreparationError

DEFAULT_ROOT = "~/.cache/skygrid"
"""Default folder of skygrid on a node.

``envs/KEY-SYSTEM-MACHINE/`` and ``code/KEY/`` hold a file ``ready``; beside them are ``blobs/``,
``agents/``, ``incoming/`` (kits being unpacked), ``tools/`` (downloaded uv and Pythons) and
``uv-cache/``.
"""

NOT_READY_EXIT = 76
"""Exit status of `run_python` on a node without the environment or the code."""

CHECKED = ("probe.sh", "run.sh", "unpack.sh")
"""Scripts that execute files under the root; they begin with the functions of ``trusted.sh``."""

PROBE_BEGIN = "skygrid-probe-begin"
PROBE_END = "skygrid-probe-end"


def run_python(root: str, environment_key: str, code_key: str, arguments: Sequence[str]) -> str:
    """Return the command that runs the bridge in an environment.

    The command replaces the shell and works in the folder `root`, so arguments can name folders
    under
    it by relative paths. The environment's ``python`` is first on the PATH. If environment or code
    are
    not ready, it exits with `NOT_READY_EXIT` and prints nothing.

    Parameters
    ----------
    root : str
        Absolute, or relative to the user's home, with or without ``~/``.
    environment_key, code_key : str
        Keys of the `Kit`.
    arguments : sequence of str
        Arguments of ``skygrid.worker.keeper.bridge``.

    Raises
    ------
    ConfigError
        If `root` is not a valid folder name for a node.
    """
    return _command("run.sh", _checked(root), environment_key, code_key, *arguments)


def unpack_and_prepare(root: str, environment_key: str, code_key: str) -> str:
    """Return the command that reads a kit from stdin and installs it.

    Exit status 0 means that environment and code are ready. Otherwise the last line on stderr
    begins
    with ``skygrid:`` and names the failure and the next step. Nothing goes to stdout.

    Raises
    ------
    ConfigError
        If `root` is not a valid folder name for a node.
    """
    return _command("unpack.sh", _checked(root), environment_key, code_key)


def probe(root: str) -> str:
    """Return the command whose output `read_probe` reads; it changes nothing on the node.

    Raises
    ------
    ConfigError
        If `root` is not a valid folder name for a node.
    """
    return _command("probe.sh", _checked(root))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Facts about a node."""

    root: str
    """Absolute path of the folder."""

    system: str
    machine: str

    libc: str
    """As ``glibc 2.36``; empty for another libc."""

    pythons: tuple[tuple[str, str], ...]
    """Version and path of each Python on the PATH."""

    uv: str | None
    """Version and path of uv, None if it is missing."""

    free_kib: int | None
    """Free space under the root in KiB, None if unknown."""

    memory_kib: int
    """Physical memory in KiB, 0 if unknown."""

    writable: bool
    """True if the root is writable or can be created."""

    foreign: str | None = None
    """A folder under the root, or ``.`` for the root, that other users own or can change."""


def read_probe(output: str) -> Probe:
    """Parse the output of `probe`, ignoring text that the login shell prints around it.

    Raises
    ------
    PreparationError
        If the answer is incomplete.
    """
    lines = [line.strip() for line in output.splitlines()]
    if PROBE_BEGIN not in lines or PROBE_END not in lines:
        raise PreparationError(
            "the node did not answer the probe; its login shell has to run: exec sh -c '...'"
        )
    inner = lines[lines.index(PROBE_BEGIN) + 1 : lines.index(PROBE_END)]
    pairs = [(key, value) for key, _, value in (line.partition("=") for line in inner)]
    said = dict(pairs)
    free, memory = said.get("free_kib", ""), said.get("memory_kib", "")
    return Probe(
        root=said.get("root", ""),
        system=said.get("system", ""),
        machine=said.get("machine", ""),
        libc=said.get("libc", ""),
        pythons=tuple(
            _split_pair(value) for value in dict.fromkeys(v for k, v in pairs if k == "python")
        ),
        uv=said.get("uv"),
        free_kib=int(free) if free.isdigit() else None,
        memory_kib=int(memory) if memory.isdigit() else 0,
        writable=said.get("writable") == "yes",
        foreign=said.get("foreign"),
    )


def quoted(text: str) -> str:
    """Quote one word for dash, bash, zsh and fish.

    In single quotes only fish reads a backslash before a quote or a backslash as an escape. In
    double
    quotes all four read two backslashes as one.
    """
    inner = text.replace("\\", "\0").replace("'", "'\"'\"'").replace("\0", "'\"\\\\\"'")
    return f"'{inner}'"


def _command(script: str, *values: str) -> str:
    text = _script(script)
    if script in CHECKED:
        text = f"{_script('trusted.sh')}\n{text}"
    words = ["sh", "-c", text, "skygrid", *values]
    return "exec " + " ".join([*words[:2], *map(quoted, words[2:])])


def _script(name: str) -> str:
    """Read a script without its comments and indentation, which need not travel."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return "\n".join(_code(text.splitlines()))


def _code(lines: Iterable[str]) -> Iterable[str]:
    return (line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _checked(root: str) -> str:
    wrong = not root or any(one in root for one in ":\n\r\0")
    if wrong or (root.startswith("~") and root != "~" and not root.startswith("~/")):
        raise ConfigError(
            f"{root!r} cannot be the folder on a node: give an absolute path or one under the "
            f"user's home, without colons and line breaks, such as {DEFAULT_ROOT}"
        )
    return root


def _split_pair(value: str) -> tuple[str, str]:
    first, _, second = value.partition(" ")
    return first, second
