"""What nodes need, put together while connections to them are being made."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Collection
from concurrent.futures import Future
from pathlib import Path

from skygrid.environment.kit import Kit, KitKeys, build_kit, code_key
from skygrid.environment.memory import EnvironmentMemory
from skygrid.environment.settings import EnvironmentConfig


class AwaitedKit:
    """The kit of a run's nodes, which is there once the search was loaded.

    Parameters
    ----------
    settings : EnvironmentConfig
    search_file : Path, optional
        The search's own; what it needs is remembered for the next run.
    """

    def __init__(self, settings: EnvironmentConfig, search_file: Path | None = None) -> None:
        self._settings = settings
        self._search_file = search_file
        self._memory = EnvironmentMemory()
        self._making = threading.Lock()
        self.future: Future[Kit] = Future()

    def guess(self) -> KitKeys | None:
        """What the kit is if the file needs what it needed last; None where that is not known."""
        if self._search_file is None:
            return None
        environment = self._memory.recall(self._search_file, self._settings)
        return KitKeys(environment=environment, code=code_key()) if environment else None

    def make(self, imported: Collection[str]) -> None:
        """Put together what a search needs that imported these modules, the first time only.

        Threads that ask meanwhile wait for it.

        Raises
        ------
        SkygridError
            If that cannot be done; those that wait for the kit are told the same.
        """
        with self._making:
            if not self.future.done():
                self._make(imported)

    def _make(self, imported: Collection[str]) -> None:
        try:
            kit = make_kit(self._settings, imported)
        except BaseException as error:
            self.future.set_exception(error)
            raise
        self.future.set_result(kit)
        if self._search_file is not None:
            self._memory.remember(self._search_file, self._settings, kit.environment_key)


def make_kit(settings: EnvironmentConfig, imported: Collection[str]) -> Kit:
    """All that a node needs for a search that imported these modules."""
    # Nodes are on their way by now; before that nobody waits for these.
    from skygrid.environment.resolve import resolve
    from skygrid.environment.wheels import build_wheels

    with tempfile.TemporaryDirectory(prefix="skygrid-") as folder:
        return build_kit(build_wheels(resolve(settings, imported), Path(folder)))
