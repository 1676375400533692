"""Fetch uv's wheel from a package index without pip, for hosts that have Python alone.

    SKYGRID_FETCH_FROM=INDEX_URL python3 fetch_uv.py UV_TXT FOLDER

writes ``FOLDER/bin/uv``. The URL is no argument because it may contain a password. ``UV_TXT`` is a
requirements file with one version and its hashes; a file with another hash is refused. Runs on
Python 3.7 and newer, with the standard library alone. The page of the index:
https://packaging.python.org/en/latest/specifications/simple-repository-api/
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import platform
import re
import sys
import urllib.parse
import urllib.request
import zipfile
from html.parser import HTMLParser
from typing import Iterable, List, Optional, Sequence, Set, Tuple  # noqa: UP035 - Python 3.7

SECONDS = 60
"""Limit of the wait for an answer of the index."""


def pinned(text: str) -> Tuple[str, Set[str]]:  # noqa: UP006 - Python 3.7
    """Return version and SHA-256 hashes of a requirements file with one requirement."""
    found = re.search(r"^uv==(\S+)", text, flags=re.MULTILINE)
    if found is None:
        raise ValueError("the requirements name no version of uv")
    return found[1], set(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))


def suits(tag: str, system: str, machine: str, glibc: Optional[Tuple[int, int]]) -> bool:  # noqa: UP006, UP045
    """Return True if a wheel with this platform tag runs on a host.

    Parameters
    ----------
    tag : str
        Such as ``manylinux_2_17_x86_64``.
    system, machine : str
        As of `platform.system` and `platform.machine`.
    glibc : (int, int) or None
        Version of the C library; None for another one.
    """
    if not tag.endswith("_" + machine):
        return False
    if system == "Darwin":
        return tag.startswith("macosx_")
    needed = re.match(r"manylinux_(\d+)_(\d+)_", tag)
    if needed is not None:
        return glibc is not None and (int(needed[1]), int(needed[2])) <= glibc
    # uv's wheels for musl are static, so they run with every C library.
    return system == "Linux" and tag.startswith("musllinux_")


def choose(
    names: Iterable[str],
    version: str,
    system: str,
    machine: str,
    glibc: Optional[Tuple[int, int]],  # noqa: UP006, UP045
) -> Optional[str]:  # noqa: UP045
    """Return the wheel of a version for a host, one for its C library first; None without one."""
    begin = "uv-" + version + "-py3-none-"
    fitting = [
        name
        for name in sorted(names)
        if name.startswith(begin)
        and name.endswith(".whl")
        and any(
            suits(tag, system, machine, glibc) for tag in name[len(begin) : -len(".whl")].split(".")
        )
    ]
    return min(fitting, key=lambda name: "musllinux" in name, default=None)


class _Links(HTMLParser):
    """Collector of the targets of links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: List[str] = []  # noqa: UP006 - Python 3.7

    def handle_starttag(self, tag: str, attrs: Sequence[Tuple[str, Optional[str]]]) -> None:  # noqa: UP006, UP045
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def get(url: str) -> Tuple[str, bytes]:  # noqa: UP006 - Python 3.7
    """Return the final address and the content of a page; credentials may stand in the URL."""
    parts = urllib.parse.urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=place)))
    request.add_header("Accept", "application/vnd.pypi.simple.v1+html, text/html;q=0.5, */*;q=0.1")
    if at:
        token = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        # Not sent to another host that the index redirects to.
        request.add_unredirected_header("Authorization", "Basic " + token)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return answer.geturl(), answer.read()


def fetch(requirements: str, index: str, folder: str) -> None:
    """Write ``bin/uv`` into a folder.

    Raises
    ------
    ValueError
        If the index has no wheel for this host, or one with another hash.
    OSError
        If the index does not answer, or the folder cannot be written.
    """
    version, hashes = pinned(requirements)
    page, content = get(index.rstrip("/") + "/uv/")
    links = _Links()
    links.feed(content.decode("utf-8", "replace"))
    targets = {}
    for link in links.found:
        target = urllib.parse.urldefrag(urllib.parse.urljoin(page, link)).url
        targets[urllib.parse.unquote(target.rpartition("/")[2])] = target
    name = choose(targets, version, platform.system(), platform.machine(), own_glibc())
    if name is None:
        raise ValueError("the index has no wheel of uv " + version + " for this host")
    data = get(_with_user(targets[name], index))[1]
    if hashlib.sha256(data).hexdigest() not in hashes:
        raise ValueError(name + " of the index has another hash than the one that skygrid expects")
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        program = wheel.read("uv-" + version + ".data/scripts/uv")
    os.makedirs(os.path.join(folder, "bin"), exist_ok=True)
    path = os.path.join(folder, "bin", "uv")
    with open(path, "wb") as file:
        file.write(program)
    os.chmod(path, 0o755)


def _with_user(target: str, index: str) -> str:
    """Return the target with the index' credentials if it is on the same host."""
    user, at, place = urllib.parse.urlsplit(index).netloc.rpartition("@")
    parts = urllib.parse.urlsplit(target)
    same = at and parts.netloc == place
    return urllib.parse.urlunsplit(parts._replace(netloc=user + at + place)) if same else target


def own_glibc() -> Optional[Tuple[int, int]]:  # noqa: UP006, UP045
    """Return the version of this host's C library; None for another one than glibc."""
    kind, version = platform.libc_ver()
    numbers = version.split(".")
    return (int(numbers[0]), int(numbers[1])) if kind == "glibc" else None


def main(arguments: Sequence[str]) -> int:
    """Fetch uv; return the exit status."""
    requirements, folder = arguments
    try:
        with open(requirements, encoding="utf-8") as file:
            text = file.read()
        fetch(text, os.environ["SKYGRID_FETCH_FROM"], folder)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        sys.stderr.write("uv could not be fetched without pip: " + str(error) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
