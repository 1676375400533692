"""Data for the nodes in a folder of a shared file system."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from pathlib import Path

from skygrid.worker.wire.blobs import Blob

LOGGER = logging.getLogger(__name__)


class SharedData:
    """The blobs of one run in a shared folder. Thread-safe.

    Parameters
    ----------
    folder : Path or None
        Folder on a file system of all nodes; None: there is none.
    run_id : str
    """

    def __init__(self, folder: Path | None, run_id: str) -> None:
        self._folder = None if folder is None else folder.absolute() / f"skygrid-{run_id}"
        self._writing = threading.Lock()
        self._failed = False

    def url_of(self, blob: Blob) -> str | None:
        """Return the URL of a blob; the first call writes its file.

        Returns
        -------
        url : str or None
            None without a folder, or if the file cannot be written: the channel is used then.
        """
        if self._folder is None or self._failed:
            return None
        path = self._folder / blob.digest
        with self._writing:
            try:
                if not path.exists():
                    self._write(blob, path)
            except OSError as error:
                self._failed = True
                LOGGER.warning("data goes through the channels: %s: %s", path, error.strerror)
                return None
        return path.as_uri()

    def _write(self, blob: Blob, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        with unfinished.open("xb") as file:
            for _, data in blob.chunks():
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)

    def remove(self) -> None:
        """Remove the files."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
