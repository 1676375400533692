"""Text of others, fit for a terminal."""

from __future__ import annotations


def printable(text: str, most: int = 2000) -> str:
    """What a node, a fit or a program said: no escape sequences, and not without end.

    Parameters
    ----------
    text : str
    most : int, default=2000
        Characters; the rest is left out, which three dots say.

    Returns
    -------
    text : str
        Line breaks and tabs are kept, other characters that are not for printing become ``?``.
    """
    cut = text if len(text) <= most else f"{text[:most]}..."
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in cut)
