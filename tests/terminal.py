"""The command line on a terminal of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.command import PATIENCE_SECONDS

_CODES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """``skygrid`` with stdin and stderr on a terminal of 80 columns; stdout is a pipe.

    Parameters
    ----------
    folder : Path
        Working directory.
    *arguments : str
    env : dict of str to str
        Variables in addition to those of this process.
    """

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "skygrid", *arguments],
            cwd=folder,
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            env={**os.environ, **env, "COLUMNS": "80", "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(slave)
        self._seen = b""

    @property
    def screen(self) -> str:
        """All text that was written to the terminal, without control codes."""
        return _CODES.sub(b"", self._seen).decode(errors="replace")

    def wait_for(self, text: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Read until this text is on the terminal."""
        until = time.monotonic() + seconds
        while text not in self.screen:
            assert time.monotonic() < until, f"waited in vain for {text!r}:\n{self.screen}"
            assert self._read(0.1), f"ended without {text!r}:\n{self.screen}"

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._master, f"{text}\n".encode())

    def end(self, seconds: float = PATIENCE_SECONDS) -> tuple[int, str]:
        """Wait for the end; return exit code and stdout."""
        until = time.monotonic() + seconds
        while self._read(0.1):
            assert time.monotonic() < until, f"it does not end:\n{self.screen}"
        out, _ = self.process.communicate(timeout=seconds)
        os.close(self._master)
        return self.process.returncode, out.decode()

    def _read(self, seconds: float) -> bool:
        """Read available output; return False at its end."""
        if select.select([self._master], [], [], seconds)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return False  # the terminal's other end was closed: EIO on Linux
            self._seen += data
            return bool(data)
        return True
