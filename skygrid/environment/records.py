"""What an environment is made of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

SCRIPT_VERSION = 1
"""Raised when a change of prepare.sh means that environments have to be made anew."""

KEY_LENGTH = 20


@dataclass(frozen=True, kw_only=True)
class LocalDistribution:
    """A distribution that no index has: it is built on the driver and travels as a wheel."""

    name: str
    version: str

    source: str
    """What pip can build or copy: a folder, an archive, a wheel or a ``git+file:`` address."""


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel that travels to the node."""

    path: Path

    digest: str
    """SHA-256 of its files' names and contents, but not of when they were zipped."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A node's Python environment, described completely."""

    python: str
    """Minor version, full version, or absolute path on the node."""

    minor: str
    """The driver's minor version, which the environment must have in any case."""

    requirements: tuple[str, ...] = ()
    """Lines of a requirements.txt, with exact versions."""

    lock: str | None = None
    """Text of a pylock.toml, in place of requirements."""

    additions: tuple[str, ...] = ()
    """Requirements that skygrid has and the user's own file has not; installed after it, as pip's
    hash mode would want hashes for them too."""

    local: tuple[LocalDistribution, ...] = ()
    """What `build_wheels` has to build."""

    wheels: tuple[Wheel, ...] = ()
    """One for each of `local`, in the same order, once they are built."""

    index_url: str | None = None
    extra_index_url: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()

    notes: tuple[str, ...] = ()
    """Sentences that the user should read; no part of the environment's identity."""

    @cached_property
    def key(self) -> str:
        """Hexadecimal digest of all that decides what the environment holds.

        Raises
        ------
        ValueError
            The wheels of local distributions are not built yet.
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
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:KEY_LENGTH]
