"""One `skygrid` command of a schedule: a real process whose streams can be closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

MOUNT = 'mount --bind "$0" /dev/shm && exec "$@"'
"""Start a command with a folder as its /dev/shm, in a namespace of its own."""

WITHOUT_STREAMS = f"{MOUNT} <&- >&- 2>&-"


class Session:
    """A command that runs.

    Parameters
    ----------
    folder : Path
        Its working directory.
    arguments : list of str
    environment : mapping of str to str
    memory : Path
        Folder that it sees as /dev/shm.
    notes : Path
        Folder for its output.
    streams : bool
        False: it starts without the descriptors 0 to 2.
    """

    def __init__(
        self,
        folder: Path,
        arguments: list[str],
        environment: Mapping[str, str],
        *,
        memory: Path,
        notes: Path,
        streams: bool = True,
    ) -> None:
        self.arguments = arguments
        self._files = {name: notes / name for name in ("stdout", "stderr")}
        self._readers: dict[str, subprocess.Popen[bytes]] = {}
        notes.mkdir()
        outputs = {name: self._reader(name) for name in self._files}
        script = MOUNT if streams else WITHOUT_STREAMS
        command = ["unshare", "--mount", "sh", "-c", script, str(memory)]
        try:
            self.process = subprocess.Popen(
                [*command, sys.executable, "-m", "skygrid", *arguments],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=outputs["stdout"],
                stderr=outputs["stderr"],
            )
        finally:
            for descriptor in outputs.values():
                os.close(descriptor)

    def _reader(self, name: str) -> int:
        """Start a process that reads a stream into a file; return the end to write to."""
        source, target = os.pipe()
        with self._files[name].open("wb") as file:
            self._readers[name] = subprocess.Popen(["cat"], stdin=source, stdout=file)
        os.close(source)
        return target

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def code(self) -> int | None:
        """Exit code; None while it runs."""
        return self.process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; no effect after its end."""
        self.process.send_signal(number)

    def close_stream(self, name: str) -> None:
        """End the reader of a stream, so that writing to it fails."""
        self._readers[name].kill()
        self._readers[name].wait()

    def said(self, name: str = "stderr") -> str:
        """Return the output so far."""
        return self._files[name].read_text(errors="replace")

    def close(self) -> None:
        """End the command and the readers of its streams."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        for reader in self._readers.values():
            reader.wait()
