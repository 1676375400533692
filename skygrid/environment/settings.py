"""What the user may say of the environment: the config file's ``[environment]`` table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Text = Annotated[str, Meta(min_length=1)]
"""Text that is not empty."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """How the Python environment of a node is made."""

    python: str | None = None
    """Python of the nodes: ``"3.12"``, or the absolute path of an interpreter there. None: the
    driver's minor version. Another minor version than the driver's is refused, as functions of the
    search file travel as bytecode."""

    packages: str | tuple[Text, ...] = "auto"
    """What is installed. ``"auto"``: the versions of this machine, of all that the search file
    imported. A tuple: these requirements. Any other text: the path of a requirements.txt or of a
    pylock.toml. What skygrid itself needs is added where it is missing."""

    index_url: str | None = None
    """The package index to use instead of the node's own configuration, by default PyPI."""

    extra_index_url: tuple[Text, ...] = ()
    """Further package indexes, which count as much as the first."""

    setup: tuple[Text, ...] = ()
    """Shell commands that are run once, in order, when the environment has been filled."""
