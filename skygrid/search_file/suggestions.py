"""Suggestions for a parameter that does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skygrid.user_code.source import did_you_mean

_MOST_LISTED = 8


def remedy_for(name: str, known: Mapping[str, Any], *, parent: str, swapped: Sequence[Any]) -> str:
    """Return the remedy for a misspelt or misplaced parameter.

    Parameters
    ----------
    name : str
        The parameter that does not exist.
    known : mapping
        The parameters that do exist, by full name.
    parent : str
        The innermost existing component of `name`, empty for the estimator itself.
    swapped : sequence
        The values that the grid swaps in for `parent`, if any.
    """
    own = name.removeprefix(f"{parent}__") if parent else name
    if any(own in _names_of(value) for value in swapped):
        return f"give each {parent!r} a dict of its own, with its own parameters"
    close = _closest(name, own, known, parent)
    if close:
        return f"did you mean {' or '.join(repr(name) for name in close)}?"
    return _listing(known, parent)


def _closest(name: str, own: str, known: Mapping[str, Any], parent: str) -> list[str]:
    """Return the likeliest names, best first: same leaf elsewhere, then near misses."""
    leaf = name.rpartition("__")[2]
    same_leaf = [candidate for candidate in known if _leaf(candidate) == leaf]
    if same_leaf and len(same_leaf) <= 3:
        return same_leaf
    prefix = f"{parent}__" if parent else ""
    siblings = {n.removeprefix(prefix): n for n in known if n.startswith(prefix)}
    beside = did_you_mean(own, siblings, cutoff=0.7)
    if beside is not None:
        return [siblings[beside]]
    whole = did_you_mean(name, known, cutoff=0.75)
    if whole is not None:
        return [whole]
    near_leaf = did_you_mean(leaf, {_leaf(candidate) for candidate in known}, cutoff=0.8)
    return [candidate for candidate in known if _leaf(candidate) == near_leaf][:3]


def _listing(known: Mapping[str, Any], parent: str) -> str:
    prefix = f"{parent}__" if parent else ""
    names = [name for name in known if name.startswith(prefix) and "__" not in name[len(prefix) :]]
    if not names:
        return "delete it"
    more = ", ..." if len(names) > _MOST_LISTED else ""
    return f"it has {', '.join(sorted(names)[:_MOST_LISTED])}{more}"


def _leaf(name: str) -> str:
    return name.rpartition("__")[2]


def _names_of(value: Any) -> Iterable[str]:
    if not hasattr(value, "get_params") or isinstance(value, type):
        return ()
    names: Iterable[str] = value.get_params(deep=True)
    return names
