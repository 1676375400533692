"""Records that describe an environment."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from skygrid.environment.credentials import masked

SCRIPT_VERSION = 1
"""Increase it when a change of prepare.sh requires new environments."""

KEY_LENGTH = 20


@dataclass(frozen=True, kw_only=True)
class LocalDistribution:
    """A distribution that no index has; the driver builds it and sends it as a wheel."""

    name: str
    version: str

    source: str
    """Source for pip to build or copy: a folder, an archive, a wheel or a ``git+file:`` address."""


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel to be sent to the node."""

    path: Path

    digest: str
    """SHA-256 of names and contents of its files, independent of the time of packing."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Complete description of a node's Python environment."""

    python: str
    """Minor version, full version, or absolute path on the node."""

    minor: str
    """The driver's minor version, which the environment must have too."""

    requirements: tuple[str, ...] = ()
    """Lines of a requirements.txt, with exact versions."""

    lock: str | None = None
    """Text of a pylock.toml, in place of requirements."""

    additions: tuple[str, ...] = ()
    """Requirements of skygrid that the user's file lacks. They are installed after it, because
    pip's hash mode would require hashes for them."""

    local: tuple[LocalDistribution, ...] = ()
    """Distributions for `build_wheels` to build."""

    wheels: tuple[Wheel, ...] = ()
    """Built wheels, one for each entry of `local`, in the same order."""

    index_url: str | None = None
    extra_index_url: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()

    notes: tuple[str, ...] = ()
    """Notes for the user; not part of the environment's identity."""

    @cached_property
    def key(self) -> str:
        """Hexadecimal digest of all that determines the content of the environment.

        Raises
        ------
        ValueError
            If the wheels of local distributions are not built yet.
        """
        if len(self.wheels) != len(self.local):
            raise ValueError("an environment has a key when its wheels are built")
        content = [
            SCRIPT_VERSION,
            [self.python, self.minor],
            self.requirements,
            self.lock,
            self.additions,
            [[wheel.path.name, wheel.digest] for wheel in self.wheels],
            [self.index_url, self.extra_index_url],
            self.setup,
        ]
        # Without credentials: a new password needs no new environment.
        return hashlib.sha256(masked(json.dumps(content)).encode()).hexdigest()[:KEY_LENGTH]
