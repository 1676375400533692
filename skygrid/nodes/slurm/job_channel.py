"""The channel to an agent in a job of Slurm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence

from skygrid.nodes.command.agent_start import AgentStart
from skygrid.nodes.command.channel import CommandChannel
from skygrid.nodes.interface import Watcher
from skygrid.nodes.slurm.queue import Job, state_text
from skygrid.worker.wire.blobs import Blob


class JobChannel(CommandChannel):
    """A `CommandChannel` through ``srun``, which waits in Slurm's queue.

    Parameters
    ----------
    job_name : str
    command : sequence of str
        Runs a shell in the job.
    start : AgentStart
    watcher : Watcher
    start_seconds : float
        Time limit for the answer of the agent, from the start of its job.
    stop_seconds : float
    url_of : callable
        Returns the URL of a blob, if the nodes can fetch it.
    """

    # srun cancels its job on SIGTERM, and leaves it running on SIGKILL.
    kill_signal = signal.SIGTERM

    def __init__(
        self,
        job_name: str,
        command: Sequence[str],
        start: AgentStart,
        watcher: Watcher,
        *,
        start_seconds: float,
        stop_seconds: float,
        url_of: Callable[[Blob], str | None],
    ) -> None:
        super().__init__(command, start, watcher, start_seconds=None, stop_seconds=stop_seconds)
        self.job_name = job_name
        self._limit = start_seconds
        self._shown = ""
        self._url_of = url_of
        self._alarm: threading.Timer | None = None

    @property
    def waiting(self) -> bool:
        """True from the submission of the job until its agent answers."""
        return self._process is not None and not self._answered and not self._closed

    def see(self, job: Job, queue: Sequence[str]) -> None:
        """Take the state of the job in the queue."""
        if not self.waiting:
            return
        if job.never_starts:
            self.give_up(
                f"Slurm can never start its job ({job.reason}), which was cancelled: ask for less "
                "under [slurm], or in another partition"
            )
            return
        if not job.pending and self._alarm is None:
            self._alarm = threading.Timer(self._limit, self._not_started)
            self._alarm.daemon = True
            self._alarm.start()
        text = state_text(job, queue)
        if text != self._shown:
            self._shown = text
            self._watcher.state(text)

    def _not_started(self) -> None:
        if self.waiting:
            self.give_up(f"its job runs, but no agent answered within {self._limit:g} s")

    def url_of(self, blob: Blob) -> str | None:
        """Return the URL of a blob in the shared folder, if there is one."""
        return self._url_of(blob)

    def close(self) -> None:
        """Close the agent's input; cancel the job if it does not end."""
        if self._alarm is not None:
            self._alarm.cancel()
        super().close()
