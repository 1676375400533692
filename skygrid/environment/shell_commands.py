"""Scripts for a node, the command line that runs one, and the reader of the probe's output.

Each script is a constant text in a file beside this module, with values as its arguments, so each
value is quoted once. Scripts are POSIX sh; `for_login_shell` makes a command line that every login
shell reads alike.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skygrid.errors import ConfigError, PreparationError
from skygrid.worker.keeper.code import NOT_READY_EXIT

__all__ = [
    "NOT_READY_EXIT",
    "Probe",
    "for_login_shell",
    "probe",
    "read_probe",
    "run_python",
    "unpack_and_prepare",
]

DEFAULT_ROOT = "~/.cache/skygrid"
"""Default folder of skygrid on a node.

``envs/KEY-SYSTEM-MACHINE/`` and ``code/KEY/`` hold a file ``ready``; beside them are ``blobs/``,
``agents/``, ``incoming/`` (kits being unpacked), ``tools/`` (downloaded uv and Pythons) and
``uv-cache/``.
"""

CHECKED = ("probe.sh", "run.sh", "unpack.sh")
"""Scripts that execute files under the root; they begin with the functions of ``trusted.sh``."""

SHELL_MARK = "skygrid-shell-1"
"""Line that `for_login_shell` prints before the script runs; start files may print text before."""

WORD_CHARACTERS = 800
"""Longest word of a command line, in characters; csh reads words of up to 1024."""

PROBE_BEGIN = "skygrid-probe-begin"
PROBE_END = "skygrid-probe-end"


def run_python(root: str, environment_key: str, code_key: str, arguments: Sequence[str]) -> str:
    """Return the script that runs the bridge in an environment.

    The script replaces the shell and works in the folder `root`, so arguments can name folders
    under it by relative paths. The environment's ``python`` is first on the PATH. If environment or
    code are not ready, it exits with `NOT_READY_EXIT` and prints nothing.

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


def unpack_and_prepare(
    root: str, environment_key: str, code_key: str, *, repair: bool = False
) -> str:
    """Return the script that reads a kit from stdin and installs it.

    With `repair`, code that is ready is replaced, and so is an environment that cannot import what
    the worker needs.

    Exit status 0 means that environment and code are ready. Otherwise the last line on stderr
    begins with ``skygrid:`` and names the failure and the next step. Nothing goes to stdout.

    Raises
    ------
    ConfigError
        If `root` is not a valid folder name for a node.
    """
    mode = ("repair",) if repair else ()
    return _command("unpack.sh", _checked(root), environment_key, code_key, *mode)


def probe(root: str) -> str:
    """Return the script whose output `read_probe` reads; it changes nothing on the node.

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

    memory_limit_kib: int = 0
    """Least memory limit of the control groups of a login in KiB, 0 if there is none."""

    gets_uv: bool = False
    """True if the host has a program that can install uv."""

    executable: bool = True
    """False if the disk of the root is mounted with noexec."""


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
    return Probe(
        root=said.get("root", ""),
        system=said.get("system", ""),
        machine=said.get("machine", ""),
        libc=said.get("libc", ""),
        pythons=tuple(
            _split_pair(value) for value in dict.fromkeys(v for k, v in pairs if k == "python")
        ),
        uv=said.get("uv"),
        free_kib=_kib(said.get("free_kib", "")),
        memory_kib=_kib(said.get("memory_kib", "")) or 0,
        writable=said.get("writable") == "yes",
        foreign=said.get("foreign"),
        memory_limit_kib=_kib(said.get("memory_limit_kib", "")) or 0,
        gets_uv=said.get("gets_uv") == "yes",
        executable=said.get("executable") != "no",
    )


def _kib(text: str) -> int | None:
    """Return a size in KiB; None for what is no size of a disk or a memory."""
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None


def for_login_shell(script: str) -> str:
    """Return the command line that runs a POSIX sh script in any login shell.

    sshd passes the line to the user's login shell, which may be fish or csh. Between single quotes
    shells differ only in backslashes, quotes, exclamation marks and line breaks, so these travel as
    octal escapes of ``printf %b``, and sh decodes them. The script starts after a line `SHELL_MARK`
    on stdout, with the usual folders on the PATH if a start file has emptied it.
    """
    words = (f"'{word}'" for word in _escaped_words(_PRELUDE + script))
    return " ".join(["exec /bin/sh -c", """'eval "$(printf %b "$@")"'""", "skygrid", *words])


_PRELUDE = f"""printf '\\n%s\\n' {SHELL_MARK}
command -v mkdir >/dev/null 2>&1 || PATH=${{PATH:+$PATH:}}/usr/local/bin:/usr/bin:/bin; export PATH
"""


def _escaped_words(text: str) -> Iterator[str]:
    word = ""
    for byte in text.encode():
        plain = 32 <= byte < 127 and byte not in b"\\'!"
        escaped = chr(byte) if plain else f"\\0{byte:03o}"
        if len(word) + len(escaped) > WORD_CHARACTERS:
            yield word
            word = ""
        word += escaped
    yield word


def _command(script: str, *values: str) -> str:
    text = _script(script)
    if script in CHECKED:
        text = f"{_script('trusted.sh')}\n{text}"
    return "exec " + shlex.join(["sh", "-c", text, "skygrid", *values])


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
