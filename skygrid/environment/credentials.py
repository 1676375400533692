"""Credentials in URLs, such as those of a private package index."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from skygrid.errors import ConfigError

MASK = "****"

_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#'\"<>]*)@")
"""Scheme and user information of a URL (RFC 3986, section 3.2.1). A token may stand alone as the
user; a password may hold an ``@``."""

_LOGIN_NAMES = ("git", "hg", "svn")
"""Users of version control, which are no secret."""


def masked(text: str) -> str:
    """Return text in which the credentials of each URL are replaced by `MASK`."""
    return _USER_INFO.sub(_mask, text) if "@" in text else text


def masked_bytes(data: bytes) -> bytes:
    """Do the same for the output of a program, in any encoding that contains ASCII."""
    return masked(data.decode("latin-1")).encode("latin-1") if b"@" in data else data


def separate(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate settings from the credentials in them.

    Parameters
    ----------
    settings : mapping of str to object
        JSON data; tables are mappings.

    Returns
    -------
    public, private : dict
        All settings with credentials masked; the original of each setting that was changed, by
        its name or ``table.name``.
    """
    public, private = dict[str, Any](), dict[str, Any]()
    for name, value in settings.items():
        if isinstance(value, Mapping):
            public[name], inner = separate(value)
            private |= {f"{name}.{key}": original for key, original in inner.items()}
        else:
            public[name] = _masked_value(value)
            if public[name] != value:
                private[name] = value
    return public, private


def reunite(public: Mapping[str, Any], private: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that `separate` was given."""
    settings = dict(public)
    for name, original in private.items():
        table, _, key = name.rpartition(".")
        if not table:
            settings[key] = original
        elif isinstance(settings.get(table), Mapping):
            settings[table] = {**settings[table], key: original}
    return settings


def refuse_masked(urls: Mapping[str, str | None]) -> None:
    """Refuse settings whose credentials are lost.

    Parameters
    ----------
    urls : mapping of str to str or None
        Settings of the ``[environment]`` table by name.

    Raises
    ------
    ConfigError
        If one has a mask in place of its credentials.
    """
    for name, url in urls.items():
        if url is not None and f"//{MASK}@" in url:
            raise ConfigError(
                f"{name} under [environment] is {url}: its credentials are no longer in the run's "
                "folder. Start a new run with the config file"
            )


def _masked_value(value: Any) -> Any:
    if isinstance(value, str):
        return masked(value)
    return [_masked_value(one) for one in value] if isinstance(value, list) else value


def _mask(match: re.Match[str]) -> str:
    return match[0] if match[2] in _LOGIN_NAMES else f"{match[1]}{MASK}@"


class MaskedLines:
    """Filter that masks credentials in a stream of bytes, line by line.

    A URL may be divided between two portions of the stream, so an unfinished line waits for its
    end.
    """

    LONGEST = 64 * 1024
    """Bytes of an unfinished line that wait."""

    def __init__(self) -> None:
        self._unfinished = b""

    def feed(self, data: bytes) -> bytes:
        """Return the lines that are complete."""
        whole, line_break, rest = (self._unfinished + data).rpartition(b"\n")
        self._unfinished = rest
        return masked_bytes(whole + line_break) + (self.end() if len(rest) > self.LONGEST else b"")

    def end(self) -> bytes:
        """Return the unfinished line."""
        rest, self._unfinished = self._unfinished, b""
        return masked_bytes(rest)
