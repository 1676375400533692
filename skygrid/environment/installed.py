"""Snapshot of the distributions installed for this interpreter."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.utils import canonicalize_name

_TOP_LEVEL = re.compile(r'^"?([^/\n,"]+)(?:/[^\n,]*)?(?<=\.py)"?,', re.MULTILINE)
"""The top-level part of each path in a RECORD that ends in ``.py``."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One installed distribution."""

    name: str
    version: str

    direct_url: Mapping[str, Any] | None = None
    """Origin of a distribution that did not come from an index.

    Source: the packaging specification "Recording the Direct URL Origin of installed distributions"
    (PEP 610).
    """

    installer: str = ""
    """Name of the tool that installed it: pip, uv, conda."""

    requires: tuple[str, ...] = ()
    """Dependencies, as in its metadata."""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """All facts about the driver's interpreter that determine a node's environment."""

    python: str
    """Minor version of Python, as ``3.12``."""

    distributions: Mapping[str, Distribution]
    """Distributions by canonical name."""

    providers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Canonical names of the distributions that provide a top-level module, by module."""

    files: Mapping[str, Path] = field(default_factory=dict)
    """File or folder of each loaded top-level module; built-in modules are missing."""


def read_installed() -> Installed:
    """Return a snapshot of the running interpreter."""
    found: dict[str, Distribution] = {}
    providers: dict[str, set[str]] = {}
    for one in metadata.distributions():
        headers = _headers(one)
        name = headers["Name"]
        # Metadata of a broken installation has no name.
        if not name:
            continue
        key = str(canonicalize_name(name))
        # Imports use the first match on the path.
        if key not in found:
            found[key] = _distribution(one, headers)
        for module in _modules(one):
            providers.setdefault(module, set()).add(key)
    files = dict(_loaded_files())
    return Installed(
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        distributions=found,
        providers={
            **_editable_providers(found.values(), files),
            **{module: tuple(sorted(names)) for module, names in providers.items()},
        },
        files=files,
    )


def local_path(direct_url: Mapping[str, Any]) -> Path | None:
    """Return the path of a ``file:`` URL, None for any other URL."""
    parts = urlsplit(str(direct_url.get("url", "")))
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


# Read METADATA and RECORD directly: importlib.metadata parses the whole metadata, description
# included, on each access and makes a path of every line of RECORD. Direct reading takes a quarter
# of the time with a hundred distributions, and every run over SSH waits for it.


def _headers(found: metadata.Distribution) -> Message:
    """Return the metadata of a distribution without its description."""
    text = found.read_text("METADATA")
    if text is None:
        return found.metadata  # type: ignore[return-value]  # typed as less than it is
    return HeaderParser().parsestr(text.partition("\n\n")[0])


def _distribution(found: metadata.Distribution, headers: Message) -> Distribution:
    text = found.read_text("direct_url.json")
    requires = headers.get_all("Requires-Dist")
    if requires is None and found.read_text("requires.txt"):
        requires = found.requires  # from an .egg-info
    return Distribution(
        name=headers["Name"],
        version=headers["Version"],
        direct_url=json.loads(text) if text else None,
        installer=(found.read_text("INSTALLER") or "").strip(),
        requires=tuple(requires or ()),
    )


def _modules(found: metadata.Distribution) -> set[str]:
    """Return top-level modules as `importlib.metadata.packages_distributions` does.

    Source: the packaging specification "Recording installed projects", section on ``RECORD``.
    """
    declared = found.read_text("top_level.txt")
    if declared and declared.split():
        return set(declared.split())
    record = found.read_text("RECORD")
    if record is None:
        paths = [str(path) for path in found.files or ()]
        record = "".join(f"{path},\n" for path in paths)
    return {top.removesuffix(".py") for top in _TOP_LEVEL.findall(record)}


def _loaded_files() -> Iterable[tuple[str, Path]]:
    for name, module in list(sys.modules.items()):
        if "." in name:
            continue
        own = getattr(module, "__dict__", {})  # lazy modules may define __getattr__
        path = own.get("__file__")
        if path is None and "__path__" in own:
            path = next(iter(own["__path__"]), None)
        if isinstance(path, str):
            yield name, Path(path)


def _editable_providers(
    distributions: Iterable[Distribution], files: Mapping[str, Path]
) -> dict[str, tuple[str, ...]]:
    """Find modules of editable projects by their location, because their records list none."""
    found: dict[str, tuple[str, ...]] = {}
    for one in distributions:
        folder = local_path(one.direct_url) if one.direct_url else None
        if folder is None or not _is_editable(one):
            continue
        for module, path in files.items():
            if path.is_relative_to(folder) and "site-packages" not in path.parts:
                found[module] = (str(canonicalize_name(one.name)),)
    return found


def _is_editable(one: Distribution) -> bool:
    return bool(one.direct_url and one.direct_url.get("dir_info", {}).get("editable"))
