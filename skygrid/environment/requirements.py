"""Parsing and pinning of requirement strings and requirements files.

Source: pip's "Requirements File Format" and the packaging specification of dependency specifiers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from skygrid.errors import ConfigError

_OPTIONS_THAT_TRAVEL = (
    "--extra-index-url",
    "--index-url",
    "--no-binary",
    "--only-binary",
    "--pre",
    "--prefer-binary",
    "--require-hashes",
    "-i",
)
_HASH = re.compile(r"\s--hash[= ]\S+")
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True, kw_only=True)
class RequirementLine:
    """One logical line of a requirements file."""

    text: str
    """The line without comments, joined to one physical line."""

    where: str
    """File name and line number, for messages."""

    requirement: Requirement | None = None
    """None for an option that is passed on unchanged."""


def parse(text: str, where: str) -> Requirement:
    """Parse one requirement.

    Raises
    ------
    ConfigError
        If `text` is not a requirement.
    """
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"{where}: {text!r} is no requirement such as xgboost==2.1.1 ({reason})"
        ) from None


def read_lines(text: str, where: str) -> Iterator[RequirementLine]:
    """Parse a requirements file.

    Parameters
    ----------
    text : str
        Content of the file.
    where : str
        Name of the file, for messages.

    Raises
    ------
    ConfigError
        If a line is valid on this machine only, such as ``-r``, ``-e`` or a path.
    """
    for number, line in _logical_lines(text):
        place = f"{where}, line {number}"
        if line.startswith("-"):
            _check_option(line, place)
            yield RequirementLine(text=line, where=place)
        elif _is_path(line):
            raise ConfigError(
                f"{place}: {line} is a path of this machine, which a node does not have; install "
                "it here and write its name, and it travels as a wheel"
            )
        else:
            yield RequirementLine(
                text=line, where=place, requirement=parse(_HASH.sub("", line), place)
            )


def is_exact(requirement: Requirement) -> bool:
    """Return True if the requirement allows exactly one version."""
    if requirement.url is not None:
        return True
    return any(
        one.operator in ("==", "===") and not one.version.endswith(".*")
        for one in requirement.specifier
    )


def applies_here(requirement: Requirement) -> bool:
    """Return True if the requirement has no marker or its marker holds on this machine."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def pinned(requirement: Requirement, version: str) -> str:
    """Return the requirement with one exact version."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return f"{canonicalize_name(requirement.name)}{extras}=={version}{marker}"


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each logical line with the number of its first physical line, without comments."""
    start, parts = 0, list[str]()
    for number, physical in enumerate(text.splitlines(), start=1):
        start = start or number
        continued = physical.rstrip().endswith("\\") and not physical.lstrip().startswith("#")
        parts.append(_COMMENT.sub("", physical.rstrip().removesuffix("\\")).strip())
        if continued:
            continue
        line = " ".join(filter(None, parts))
        if line:
            yield start, line
        start, parts = 0, []
    if any(parts):
        yield start, " ".join(filter(None, parts))


def _check_option(line: str, where: str) -> None:
    name = re.split(r"[= ]", line, maxsplit=1)[0]
    if name not in _OPTIONS_THAT_TRAVEL:
        raise ConfigError(
            f"{where}: a node cannot follow {name}; write one file with all requirements, for "
            "example with: uv export --format requirements.txt --no-emit-project"
        )


def _is_path(line: str) -> bool:
    return line.startswith((".", "/", "~", "file:")) or line.partition(" ")[0].endswith(".whl")
