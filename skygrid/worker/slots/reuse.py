"""Where the slots of a round come from: started for it, or those of the last round.

To fork a slot takes milliseconds, to spawn one a second: as long as a short search, or a round of
halving, takes altogether. Slots that came through their round therefore stay for the next one, and
load it by themselves. Forked ones do so where that took the agent next to nothing; else new ones
are forked, which share what it has loaded.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import IO

from skygrid.worker.errors import UnableError
from skygrid.worker.machine import machine
from skygrid.worker.machine.thread_pools import ThreadPools

from .loop import BLOBS, RoundOrder
from .pool import SlotPool, Starter, forking, spawning
from .work import load_round

LIGHT_BYTES = 1 << 20
"""Blobs of a round together, up to which forked slots may each load it by themselves."""

LIGHT_SECONDS = 0.01
"""Processor time that it took the agent, up to which they may: what takes longer, an import for
one, may take much memory, too."""

HELD_BYTES = 64 << 20
"""Memory of a slot, beyond its agent's, up to which it may stay when no round is open."""

JUDGED_SECONDS = 0.5
"""After a round's end: by then its slots have let go of it."""

Files = Mapping[str, tuple[IO[bytes], int]]
"""A round's blobs, by the names of `BLOBS`: each as (file, size in bytes)."""


class NodeSlots:
    """Gives each round its slots, and takes them back.

    Parameters
    ----------
    count : int
        Fits at a time.
    threads : int
        BLAS and OpenMP threads for each slot.
    pools : ThreadPools
        Those of the agent.
    close_in_child : callable
        Closes what belongs to the agent alone, in a slot that was just forked.
    say : callable
        Tells the driver something about this node.
    """

    def __init__(
        self,
        count: int,
        threads: int,
        pools: ThreadPools,
        close_in_child: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._count, self._threads = count, threads
        self._pools = pools
        self._close_in_child = close_in_child
        self._say = say
        self._own_threads = 1
        self._pool: SlotPool | None = None
        self._spawned = False
        """Whether the slots of the pool were; they share nothing with the agent."""

        self._light = False
        """Whether the open round is small: forked slots that stay hold what they had of it."""

        self._judge_at: float | None = None

    def prepare(self) -> None:
        """Called when the agent has imported what it needs, before the first round."""
        self._own_threads = machine.threads()

    # -- a round begins

    def open(
        self, round: int, files: Files, folder: str | None, method: str
    ) -> tuple[SlotPool, bool]:
        """The slots for a round, of which some or all may be still to be started.

        Parameters
        ----------
        round : int
        files : mapping
            They stay open until the round ends.
        folder : str or None
            Where slots keep what they share.
        method : {"auto", "fork", "spawn"}
            The same for all rounds of a driver.

        Returns
        -------
        pool : SlotPool
        loaded : bool
            Whether slots have the search as soon as they are there.

        Raises
        ------
        UnableError
            If the search cannot be loaded.
        """
        self._judge_at = None
        sizes = tuple(files[name][1] for name in BLOBS)
        order = RoundOrder(round=round, slots=self._count, folder=folder, sizes=sizes)
        begin = time.process_time()
        starter, spawns = self._starter(order, files, method)
        seconds = time.process_time() - begin
        self._light = sum(sizes) <= LIGHT_BYTES
        pool = self._pool
        able = spawns or (self._light and seconds <= LIGHT_SECONDS)
        if (
            pool is None
            or self._spawned != spawns
            or not able
            or not self._told(pool, order, files)
        ):
            self.close()
            pool = self._pool = SlotPool(self._count, round, starter)
        pool.starter, self._spawned = starter, spawns
        return pool, not spawns

    def _told(self, pool: SlotPool, order: RoundOrder, files: Files) -> bool:
        """Whether the slots of the last round could be told of this one."""
        told = [files[name][0] for name in BLOBS]
        return self._worth_keeping(pool) and pool.open_round(order, told)

    def _starter(self, order: RoundOrder, files: Files, method: str) -> tuple[Starter, bool]:
        """What starts slots for a round, and whether it spawns them."""
        spawn = spawning(self._count, self._threads, files, order.folder)
        if method == "spawn" or (method == "auto" and sys.platform != "linux"):
            return spawn, True
        data, search, plan = (files[name] for name in BLOBS)
        try:
            work = load_round(data, search, plan, order.folder, self._count)
        except BaseException as error:  # a module of the user's that calls sys.exit, for one
            text = f"the search cannot be loaded on this node:\n{traceback.format_exc()}"
            raise UnableError(text) from error
        self._pools.look()
        if method == "auto" and machine.threads() > self._own_threads:
            # Their locks, copied while held, could stop a forked slot for good.
            self._say("loading the search started threads: slots are spawned")
            return spawn, True
        return forking(work, self._pools, self._close_in_child), False

    # -- and is over

    def leave(self, *, free: bool) -> None:
        """The round is over.

        Parameters
        ----------
        free : bool
            Whether all of its slots are there, and none of them has anything in hand.
        """
        pool = self._pool
        stays = free and (self._spawned or self._light)
        if pool is None or not stays or not pool.end_round():
            self.close()
        else:
            self._judge_at = time.monotonic() + JUDGED_SECONDS

    def turn(self, now: float) -> None:
        """End slots of which one has ended, or holds much, though no round is open."""
        if self._judge_at is not None and now >= self._judge_at:
            self._judge_at = None
            if self._pool is not None and not self._worth_keeping(self._pool):
                self.close()

    def _worth_keeping(self, pool: SlotPool) -> bool:
        if not pool.well():
            return False
        own = machine.resident_private_bytes(os.getpid())
        return all(held - own <= HELD_BYTES for held in pool.private_bytes().values())

    def close(self) -> None:
        """End all slots, whatever they run."""
        self._judge_at = None
        if self._pool is not None:
            self._pool.close()
            self._pool = None
