"""Providers, where nodes come from, and findings of a look at one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from skygrid.nodes.transport import Transport, Watcher


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One place where searches may run, or one part of it, as `skygrid doctor` finds it."""

    name: str
    problems: tuple[str, ...] = ()
    """Reasons why a search cannot run there; each says what to do."""

    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Findings that may be worth knowing and prevent nothing."""


class Provider(Protocol):
    """Names the nodes of a run and makes the channel to each."""

    at_hand: bool
    """Whether nodes are processes of this machine and may import whatever this one may."""

    def names(self) -> Sequence[str]:
        """The nodes' names, one for each node of the run."""

    def equip(self, imported: Collection[str]) -> None:
        """The search was loaded and has imported these modules: nodes can be told what they need.

        Nodes may be reached before; they are not made ready to work before this was called.
        """

    def transport(self, name: str, watcher: Watcher) -> Transport:
        """A channel to a fresh agent on this node, not started yet."""

    def successor(self, name: str) -> str | None:
        """Under which name the place of a node is taken that was lost, or is about to be.

        Must answer at once: it is asked on the thread that drives the run.

        Returns
        -------
        successor : str or None
            The node's own name where a new agent can be had on the same machine; another name,
            never used before, for another machine; None when nobody can take its place.
        """

    def close(self) -> None:
        """The run is over and no channel is open any more: end what was had for it.

        Called once, by whoever made the provider, however the run ended.

        Raises
        ------
        SkygridError
            If something of it is left.
        """
