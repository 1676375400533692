"""The calls of a cluster: one round of the engine after another, opened when calls come."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from skygrid.engine.calls import CallRound
from skygrid.engine.engine import PullEngine
from skygrid.engine.round import RoundBlobs
from skygrid.joblib_backend.payload import BlobStore
from skygrid.queue.policies import QueuePolicies
from skygrid.run.rounds import too_large_note
from skygrid.user_code.pickled_values import packed_values
from skygrid.user_code.program_needs import code_of_program, needs_of_program
from skygrid.user_code.sendable_values import values_to_send
from skygrid.user_code.sources import files_in_place, files_to_send
from skygrid.worker.evaluation.contents import CallSetup
from skygrid.worker.evaluation.joblib_backend import context_of_calls
from skygrid.worker.machine import machine
from skygrid.worker.user_code import process_state
from skygrid.worker.user_code.references import node_pickler
from skygrid.worker.wire.blobs import Blob

LOGGER = logging.getLogger(__name__)

IDLE_SECONDS = 10.0
"""Time without calls after which nodes free what calls have left there."""

STORE_SHARE = 8
"""Large arguments of recent calls take up to this fraction of this machine's memory."""


@dataclass(frozen=True, kw_only=True)
class PackedSetup:
    """Modules, globals and settings that every call needs, ready to send."""

    blob: Blob
    """A `CallSetup`."""

    environment: Mapping[str, str | None]
    """As in `RoundBlobs`."""


class CallPool:
    """Runs calls on the nodes of an engine. Safe for use from several threads.

    Parameters
    ----------
    engine : PullEngine
    policies : QueuePolicies
    """

    def __init__(self, engine: PullEngine, policies: QueuePolicies) -> None:
        self.engine = engine
        self._policies = policies
        self._lock = threading.Lock()
        self._round: CallRound | None = None
        self._setup: PackedSetup | None = None
        """Setup of the open round."""

        self._nothing = (Blob(None), Blob(None))
        self.used = False
        """True once a loop has asked for the nodes."""

        self.blobs = BlobStore(machine.memory_bytes() // STORE_SHARE)

    @property
    def shares_files(self) -> bool:
        """True if nodes are processes of this machine."""
        return self.engine.shares_modules

    def setup(self) -> PackedSetup:
        """Return what every call needs, as it is now: modules with their globals, and settings.

        Calls get their arguments by value, also those that are globals: a loop may change them
        between two calls.
        """
        here = self.engine.shares_modules
        code = code_of_program(shares_modules=here)
        if not here:
            self.engine.set_modules(needs_of_program(code))
        process = process_state.changes(
            process_state.START, process_state.taken(), shares_modules=here
        )
        found = values_to_send(code, {}, shares_modules=here)
        values, too_large = packed_values(found, None)
        for name in too_large:
            LOGGER.warning("%s", too_large_note(name))
        setup = CallSetup(
            process=process,
            modules=files_in_place(code) if here else files_to_send(code),
            values=values,
            joblib=context_of_calls(),
        )
        return PackedSetup(
            blob=Blob(setup, functools.partial(node_pickler, references=found.references)),
            environment=process_state.read_at_import(process.environment),
        )

    def round(self, setup: PackedSetup) -> CallRound:
        """Return an open round whose slots have this setup."""
        self.used = True
        with self._lock:
            current = self._round
            if current is not None and current.accepts and self._setup is not None:
                if self._setup.blob.digest == setup.blob.digest:
                    return current
                current.close()
            data, plan = self._nothing
            self._setup = setup
            self._round = CallRound(
                RoundBlobs(data=data, search=setup.blob, plan=plan, environment=setup.environment),
                self._policies,
                self.engine.wake,
                IDLE_SECONDS,
            )
            _in_thread(self._run, self._round)
            return self._round

    def _run(self, calls: CallRound) -> None:
        """Run a round; free the memory of its arguments if no other one follows."""
        self.engine.run_calls(calls)
        with self._lock:
            if self._round is calls:
                self._round = self._setup = None
                self.blobs.clear()

    def slots(self) -> int:
        """Return the number of slots of the cluster, once its first nodes are ready.

        Raises
        ------
        SkygridError
            If nodes cannot be had.
        """
        with self._lock:
            current = self._round
        if current is None or not current.accepts:
            current = self.round(self.setup())
        return current.slots()

    def release(self) -> None:
        """End the round once its calls have ended, so that nodes free their memory."""
        with self._lock:
            if self._round is not None:
                self._round.close()


def _in_thread(target: Callable[[CallRound], None], calls: CallRound) -> None:
    threading.Thread(target=target, args=(calls,), name="skygrid-calls", daemon=True).start()
