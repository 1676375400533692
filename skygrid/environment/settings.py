"""Settings of a node's environment: the config file's ``[environment]`` table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Text = Annotated[str, Meta(min_length=1)]
"""Non-empty text."""

_ADDRESS = r"^([a-z][a-z0-9+.-]*://|/)\S+\Z"

IndexUrl = Annotated[
    str, Meta(pattern=_ADDRESS, description="an address with its scheme: https://pypi.org/simple")
]
IndexUrls = Annotated[
    tuple[Annotated[str, Meta(pattern=_ADDRESS)], ...],
    Meta(description='a list of addresses with their schemes: ["https://pypi.org/simple"]'),
]


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """Settings of the Python environment of the nodes."""

    python: str | None = None
    """Python of the nodes: ``"3.12"``, or the absolute path of an interpreter there. None: the
    driver's minor version. Another minor version is refused, because functions of the search
    file travel as bytecode."""

    packages: str | tuple[Text, ...] = "auto"
    """Packages to install. ``"auto"``: the driver's versions of all that the search file
    imported. A tuple: these requirements. Other text: path of a requirements.txt or pylock.toml.
    skygrid's own dependencies are added."""

    index_url: IndexUrl | None = None
    """Package index. None: the node's own configuration, by default PyPI."""

    extra_index_url: IndexUrls = ()
    """Further package indexes, with the same priority as the first."""

    setup: tuple[Text, ...] = ()
    """Shell commands that run once, in order, after the packages are installed."""
