"""What a node's shell is asked to run, and what it answers when it is probed.

Each command is one constant script, kept in a file of its own beside this module, and values as its
arguments; so values are quoted once. The text reads the same in dash, bash, zsh and fish, whichever
of them is the login shell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from skygrid.errors import ConfigError, PreparationError

DEFAULT_ROOT = "~/.cache/skygrid"
"""Where everything of skygrid lies on a node.

``envs/KEY-SYSTEM-MACHINE/`` and ``code/KEY/`` hold a file ``ready``; beside them are ``blobs/``,
``agents/``, ``incoming/`` (kits being unpacked), ``tools/`` (uv and Pythons that were fetched) and
``uv-cache/``.
"""

NOT_READY_EXIT = 76
"""Exit status of `run_python` on a node that lacks the environment or the code."""

PROBE_BEGIN = "skygrid-probe-begin"
PROBE_END = "skygrid-probe-end"


def run_python(root: str, environment_key: str, code_key: str, arguments: Sequence[str]) -> str:
    """Return the command that runs the bridge in an environment.

    It replaces the shell, works in the folder `root` (so arguments name folders under it by
    relative paths), and has the environment's ``python`` first on the PATH. Where environment or
    code are not ready it ends with `NOT_READY_EXIT` and prints nothing.

    Parameters
    ----------
    root : str
        Absolute, or relative to the user's home, with or without ``~/``.
    environment_key, code_key : str
        Those of the `Kit`.
    arguments : sequence of str
        Of ``skygrid.worker.keeper.bridge``.

    Raises
    ------
    ConfigError
        `root` cannot be a folder of a node.
    """
    return _command("run.sh", _checked(root), environment_key, code_key, *arguments)


def unpack_and_prepare(root: str, environment_key: str, code_key: str) -> str:
    """Return the command that takes a kit on its stdin and makes what it describes.

    Its exit status is 0 when environment and code are ready. Otherwise the last line on stderr
    begins with ``skygrid:`` and says what failed and what to do. Nothing goes to stdout.

    Raises
    ------
    ConfigError
        `root` cannot be a folder of a node.
    """
    return _command("unpack.sh", _checked(root), environment_key, code_key)


def probe(root: str) -> str:
    """Return the command whose output `read_probe` reads; it changes nothing on the node.

    Raises
    ------
    ConfigError
        `root` cannot be a folder of a node.
    """
    return _command("probe.sh", _checked(root))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a node has."""

    root: str
    """The folder, absolute."""

    system: str
    machine: str

    libc: str
    """As ``glibc 2.36``; empty where there is another."""

    pythons: tuple[tuple[str, str], ...]
    """Version and path of each Python on the PATH."""

    uv: str | None
    """Version and path, None when there is none."""

    free_kib: int | None
    """KiB free under the root, None where not to be known."""

    memory_kib: int
    """0 where not to be known."""

    writable: bool
    """Whether the root is, or can be made."""


def read_probe(output: str) -> Probe:
    """Read what `probe` printed; what a login shell printed around it is left out.

    Raises
    ------
    PreparationError
        There is no complete answer in it.
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
        pythons=tuple(_two(value) for value in dict.fromkeys(v for k, v in pairs if k == "python")),
        uv=said.get("uv"),
        free_kib=int(free) if free.isdigit() else None,
        memory_kib=int(memory) if memory.isdigit() else 0,
        writable=said.get("writable") == "yes",
    )


def quoted(text: str) -> str:
    """Quote one word for dash, bash, zsh and fish alike.

    In single quotes fish reads a backslash before a quote or a backslash as an escape, and the
    others do not; in double quotes all of them read two backslashes as one.
    """
    inner = text.replace("\\", "\0").replace("'", "'\"'\"'").replace("\0", "'\"\\\\\"'")
    return f"'{inner}'"


def _command(script: str, *values: str) -> str:
    words = ["sh", "-c", _script(script), "skygrid", *values]
    return "exec " + " ".join([*words[:2], *map(quoted, words[2:])])


def _script(name: str) -> str:
    """Read a script, without the comments, which need not travel."""
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


def _two(value: str) -> tuple[str, str]:
    first, _, second = value.partition(" ")
    return first, second
