"""Safe display of untrusted text in a terminal."""

from __future__ import annotations


def printable(text: str, most: int = 2000) -> str:
    """Return text without escape sequences, cut to a maximum length.

    Parameters
    ----------
    text : str
        Text from a node, a fit or a program.
    most : int, default=2000
        Maximum number of characters; three dots replace the rest.

    Returns
    -------
    text : str
        Line breaks and tabs are kept; other unprintable characters become ``?``.
    """
    cut = text if len(text) <= most else f"{text[:most]}..."
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in cut)
