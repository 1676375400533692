"""Starting the slots of a node: forked from the agent, or spawned where that is not safe.

Slots stay from round to round, see `slots.SlotPool`; only those that are missing are started. The
agent loads a round when it forks the first slot for it: the slots that it forks share what it has
loaded, those that stayed load the round by themselves.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any

from skygrid.worker.errors import UnableError
from skygrid.worker.machine import machine
from skygrid.worker.machine.thread_pools import ThreadPools
from skygrid.worker.slots.loop import BLOBS, SlotEnds, SlotLoop, become_slot
from skygrid.worker.slots.work import RoundWork, load_round

Files = Mapping[str, tuple[IO[bytes], int]]
"""Blobs of a round, by the names of `BLOBS`: each as (file, size in bytes)."""


class SlotStarter:
    """Starts slots for the round that is open.

    Parameters
    ----------
    count : int
        Slots of the node.
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
        self._files: Files = {}
        self._folder: str | None = None
        self._method = "auto"
        self._work: RoundWork | None = None

    def prepare(self) -> None:
        """Look at this process, which has imported what it needs, before the first round."""
        # Forked slots have what is found out here.
        self._pools.look()
        self._own_threads = machine.threads()

    def open(self, files: Files, folder: str | None, method: str) -> None:
        """Start slots for this round from now on.

        Parameters
        ----------
        files : mapping
            They stay open until the round ends.
        folder : str or None
            Where slots keep what they share.
        method : {"auto", "fork", "spawn"}
        """
        self._files, self._folder, self._method = files, folder, method

    def close(self) -> None:
        """Let go of the round."""
        self._files, self._work = {}, None
        # What was frozen for its slots may be garbage now.
        gc.unfreeze()

    def __call__(self, ends: SlotEnds) -> int:
        """Start one slot.

        Returns
        -------
        pid : int

        Raises
        ------
        UnableError
            If the search cannot be loaded.
        """
        if self._method != "spawn" and (self._method == "fork" or sys.platform == "linux"):
            self._load()
            # Locks of other threads, copied while held, could stop a forked slot for good.
            if self._method == "fork" or machine.threads() <= self._own_threads:
                return self._fork(ends)
        return self._spawn(ends)

    def _load(self) -> None:
        if self._work is not None:
            return
        data, search, plan = (self._files[name] for name in BLOBS)
        try:
            self._work = load_round(data, search, plan, self._folder, self._count)
        except BaseException as error:  # a module of the user's that calls sys.exit, for one
            text = f"the search cannot be loaded on this node:\n{traceback.format_exc()}"
            raise UnableError(text) from error
        self._pools.look()
        if self._method == "auto" and machine.threads() > self._own_threads:
            self._say("loading the search started threads: slots are spawned")
        # The collector of a forked slot leaves alone what there is by now, so its pages stay
        # shared. Garbage among it stays until the round ends: to look for it would take longer
        # than to start the slots.
        gc.freeze()

    def _fork(self, ends: SlotEnds) -> int:
        agent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setpgid(0, 0)
            self._close_in_child()
            become_slot(agent)
            assert self._work is not None
            self._work.evaluator.prepare_process(self._pools)
            loop = SlotLoop(ends, self._work, self._pools)
            # The loop alone holds the round, and lets go of it when it is over.
            self._work = None
            loop.run()
        finally:
            # Not sys.exit: nothing of the agent's may run in its copy.
            os._exit(0 if sys.exc_info()[0] is None else _report_crash())

    def _spawn(self, ends: SlotEnds) -> int:
        inherited = {
            "tasks": ends.tasks,
            "news": ends.news,
            "orders": ends.orders.fileno(),
            "status": ends.status.file.fileno(),
        }
        numbers = {
            "index": ends.index,
            "slots": self._count,
            "agent": os.getpid(),
            "round": ends.round,
            "threads": self._threads,
            **inherited,
        }
        command = [sys.executable, "-P", "-m", f"{__package__}.loop"]
        for name, number in numbers.items():
            command += [f"--{name}", str(number)]
        for name, (file, size) in self._files.items():
            command += [f"--{name}", str(file.fileno()), str(size)]
        if self._folder is not None:
            command += ["--folder", self._folder]
        passed = [*inherited.values(), *(file.fileno() for file, _ in self._files.values())]
        process: Any = subprocess.Popen(
            command, pass_fds=passed, stdin=subprocess.DEVNULL, process_group=0
        )
        # The pool reaps by process id; the Popen object must not try to.
        process.returncode = 0
        return int(process.pid)


def _report_crash() -> int:
    sys.excepthook(*sys.exc_info())
    sys.stderr.flush()
    return 1
