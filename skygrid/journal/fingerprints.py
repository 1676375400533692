"""Comparison of a journal's fingerprint with that of the present search."""

from __future__ import annotations

import re
from collections.abc import Mapping

from skygrid.errors import FingerprintError

_DIGEST = re.compile(r"(\w+:)?[0-9a-f]{16,}")


def check_fingerprint(name: str, stored: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise unless both fingerprints are equal.

    Parameters
    ----------
    name
        The journal's name in messages.
    stored, now
        Part -> digest or version text.

    Raises
    ------
    FingerprintError
        Names every part that differs.
    """
    parts = [*stored, *(part for part in now if part not in stored)]
    differences = [
        _describe(part, stored.get(part), now.get(part))
        for part in parts
        if stored.get(part) != now.get(part)
    ]
    if differences:
        raise FingerprintError(
            f"{name} belongs to another search. Different: {'; '.join(differences)}. "
            "Resume with the search file, data and versions that the run was started with, "
            "or start a new run."
        )


def check_round(name: str, round: int, stored: str, now: str) -> None:
    """Raise unless the digests of a round's plan are equal.

    Raises
    ------
    FingerprintError
        The recorded round had another plan.
    """
    if stored != now:
        raise FingerprintError(
            f"{name} holds other candidates or splits for round {round} than the search gives "
            "now. Fix the random_state of the search and of its splitter and resume with the "
            "file the run was started with, or start a new run."
        )


def _describe(part: str, stored: str | None, now: str | None) -> str:
    if stored is None:
        return f"{part} (not recorded then)"
    if now is None:
        return f"{part} (missing now)"
    if _DIGEST.fullmatch(stored) or _DIGEST.fullmatch(now):
        return part
    return f"{part} ({stored} then, {now} now)"
