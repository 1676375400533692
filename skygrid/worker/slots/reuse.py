"""Starting the slots of a node: forked from the agent, or spawned where a fork is unsafe.

Slots stay from round to round (`pool.SlotPool`); only missing ones are started. The agent loads a
round when it forks the first slot for it, and forked slots share the loaded round. Slots that
stayed load it themselves.
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
from skygrid.worker.slots.loop import SlotEnds, SlotLoop, become_slot
from skygrid.worker.slots.orders import BLOBS
from skygrid.worker.slots.work import SlotWork, load_round
from skygrid.worker.user_code.module_values import forget_values
from skygrid.worker.wire.blobs import any_mapped

Files = Mapping[str, tuple[IO[bytes], int]]
"""Blobs of a round by the names in `BLOBS`, each as (file, size in bytes)."""


class SlotStarter:
    """Starts slots for the open round.

    Parameters
    ----------
    count : int
        Slots of the node.
    threads : int
        BLAS and OpenMP threads for each slot.
    pools : ThreadPools
        Thread pools of the agent.
    close_in_child : callable
        Closes the agent's descriptors in a slot that was just forked.
    say : callable
        Sends a message to the driver's log.
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
        self._started_with: Mapping[str, str] = {}
        self._environment: dict[str, str | None] = {}
        self._work: SlotWork | None = None

    def prepare(self) -> None:
        """Find the thread pools and count the threads of this process, before the first round."""
        # Forked slots inherit the result.
        self._pools.look()
        self._own_threads = machine.threads()
        self._started_with = dict(os.environ)

    def open(
        self,
        files: Files,
        folder: str | None,
        method: str,
        environment: Mapping[str, str | None] | None = None,
    ) -> bool:
        """Start slots for this round from now on.

        Parameters
        ----------
        files : mapping
            Files that stay open until the round ends.
        folder : str or None
            Folder that the slots share.
        method : {"auto", "fork", "spawn"}
        environment : mapping of str to str, optional
            Environment variables that libraries read when they are imported. If this process was
            started with others, slots are spawned, because it has imported the libraries.

        Returns
        -------
        fresh : bool
            True if slots of earlier rounds lack these variables and cannot be used.
        """
        self._files, self._folder, self._method = files, folder, method
        known = self._environment
        self._environment = {
            name: text
            for name, text in (environment or {}).items()
            if self._started_with.get(name) != text
        }
        return known != self._environment

    def close(self) -> None:
        """Drop the round."""
        self._files, self._work = {}, None
        forget_values()
        # Objects that `_load` froze may be garbage now.
        gc.unfreeze()
        if any_mapped():
            # An idle agent collects no garbage by itself, and this one holds the data.
            gc.collect()

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
        forks = self._method == "fork" or (self._method == "auto" and sys.platform == "linux")
        if forks and not self._environment:
            self._load()
            # A lock that another thread holds during the fork is never released in the slot.
            if self._method == "fork" or machine.threads() <= self._own_threads:
                return self._fork(ends)
        return self._spawn(ends)

    def _load(self) -> None:
        if self._work is not None:
            return
        data, search, plan = (self._files[name] for name in BLOBS)
        try:
            self._work = load_round(data, search, plan, self._folder, self._count)
        except BaseException as error:  # a user's module may call sys.exit
            text = f"the search cannot be loaded on this node:\n{traceback.format_exc()}"
            raise UnableError(text) from error
        self._pools.look()
        if self._method == "auto" and machine.threads() > self._own_threads:
            self._say("loading the search started threads: slots are spawned")
        # The garbage collector of forked slots skips frozen objects, so their pages stay shared.
        # Garbage among them stays until the round ends: collecting it first would take longer
        # than starting the slots.
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
            self._work.prepare_process(self._pools)
            loop = SlotLoop(ends, self._work, self._pools)
            # The loop must hold the only reference to the round, to free it at its end.
            self._work = None
            loop.run()
        finally:
            # Not sys.exit: the agent's cleanup must not run in the slot.
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
            command,
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            process_group=0,
            env=self._spawned_environment(),
        )
        # The pool reaps by process id; the Popen object must not try to.
        process.returncode = 0
        return int(process.pid)

    def _spawned_environment(self) -> dict[str, str]:
        merged = {**os.environ, **self._environment}
        return {name: text for name, text in merged.items() if text is not None}


def _report_crash() -> int:
    sys.excepthook(*sys.exc_info())
    sys.stderr.flush()
    return 1
