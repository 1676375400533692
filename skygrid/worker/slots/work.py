"""The work of one round in a slot: tasks to results."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from skygrid.worker.evaluation.calls import CallRunner
from skygrid.worker.evaluation.contents import (
    CallSetup,
    JointData,
    RoundTasks,
    SearchData,
    SearchWork,
    Sharing,
)
from skygrid.worker.evaluation.evaluator import Evaluator
from skygrid.worker.evaluation.shared_samples import share_samples
from skygrid.worker.machine.thread_pools import ThreadPools
from skygrid.worker.sharing.shared_fits import SharedFits
from skygrid.worker.user_code.module_values import put_data
from skygrid.worker.wire.blobs import open_blob
from skygrid.worker.wire.messages.results import FitResult


class RoundWork:
    """Evaluates the tasks of a round, one candidate or several together.

    Parameters
    ----------
    evaluator : Evaluator
    sharing : Sharing
        Work that fits of the round share.
    folder : str, optional
        Folder that the slots of this node share.
    """

    def __init__(self, evaluator: Evaluator, sharing: Sharing, folder: str | None = None) -> None:
        self.evaluator = evaluator
        self._shared = SharedFits(evaluator, sharing, folder)
        self._prefixes = sharing.prefixes
        self._groups: dict[int, Sequence[int]] = {
            member: group.members for group in sharing.groups for member in group.members
        }

    def prepare_process(self, pools: ThreadPools) -> None:
        """Make this process a slot for the round; see `Evaluator.prepare_process`."""
        self.evaluator.prepare_process(pools)

    def leave_process(self) -> None:
        """Drop what refers to the round's data; see `Evaluator.leave_process`."""
        self.evaluator.leave_process()

    def members(self, candidate: int, members: bytes) -> tuple[int, ...]:
        """Return the candidates of a task; see `to_agent.Lease.members`."""
        bits = int.from_bytes(members, "little")
        if not bits:
            return (candidate,)
        group = self._groups[candidate]
        return tuple(member for place, member in enumerate(group) if bits >> place & 1)

    def results(
        self, lease: int, slot: int, members: Sequence[int], split: int
    ) -> Iterator[FitResult]:
        """Evaluate the members of a task; yield one result for each as soon as it is ready.

        Parameters
        ----------
        lease, slot : int
            Copied into the results.
        members : sequence of int
            Candidates; several are of one group.
        split : int
        """
        for result in self._results(lease, slot, members, split):
            if not result.answered:
                self.evaluator.remember_length()
            yield result

    def _results(
        self, lease: int, slot: int, members: Sequence[int], split: int
    ) -> Iterator[FitResult]:
        if len(members) == 1 and not self._has_prefix(members[0]):
            yield self.evaluator.evaluate(lease, slot, members[0], split)
            return
        missing = dict.fromkeys(members)
        try:
            for result in self._shared.evaluate(lease, slot, members, split):
                if result.candidate in missing:
                    del missing[result.candidate]
                    yield result
        except Exception:  # noqa: BLE001 (logged; the loop below answers the rest)
            traceback.print_exc()
        for candidate in missing:
            yield self.evaluator.evaluate(lease, slot, candidate, split)

    def _has_prefix(self, candidate: int) -> bool:
        return candidate < len(self._prefixes) and self._prefixes[candidate] >= 0


SlotWork = RoundWork | CallRunner
"""Work of a slot in a round of fits or of calls."""


def load_round(
    data: Any, search: Any, plan: Any, folder: str | None = None, slots: int = 1
) -> SlotWork:
    """Open the three blobs of a round, each given as (file, size).

    Parameters
    ----------
    data, search, plan : tuple of (file, int)
    folder : str, optional
        Folder that the slots of this node share.
    slots : int
        Number of slots of this node.
    """
    # Open the search first: it installs the modules that the other blobs may need.
    work: SearchWork | CallSetup = open_blob(*search)
    if isinstance(work, CallSetup):
        if folder is None:
            raise OSError("there is no folder for the arguments of calls: is the disk full?")
        return CallRunner(work, folder)
    opened_data: SearchData | JointData = open_blob(*data)
    if isinstance(opened_data, JointData):
        tasks: RoundTasks = open_blob(*plan)
        return RoundWork(Evaluator(opened_data, work, tasks), tasks.sharing, folder)
    if work.values is not None:
        parts = {"X": opened_data.X, "y": opened_data.y, **opened_data.fit_params}
        put_data(work.values.shared, parts)
    tasks = open_blob(*plan)
    shared = None
    if folder is not None and tasks.sharing.samples:
        shared = share_samples(opened_data.X, tasks.splits, folder, slots)
    return RoundWork(Evaluator(opened_data, work, tasks, shared), tasks.sharing, folder)
