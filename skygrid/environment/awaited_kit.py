"""The kit of a run's nodes, put together while connections to them are being made."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Collection
from concurrent.futures import Future
from pathlib import Path

from skygrid.environment.kit import Kit, build_kit
from skygrid.environment.settings import EnvironmentConfig


class AwaitedKit:
    """The kit of a run's nodes, which is there once the search was loaded.

    Parameters
    ----------
    settings : EnvironmentConfig

    Attributes
    ----------
    future : Future of Kit
    """

    def __init__(self, settings: EnvironmentConfig) -> None:
        self._settings = settings
        self._making = threading.Lock()
        self.future: Future[Kit] = Future()

    def make(self, imported: Collection[str]) -> None:
        """Put together the kit for a search that imported these modules, the first time only.

        Threads that call meanwhile wait for it.

        Raises
        ------
        SkygridError
            If that cannot be done; those that wait for the kit get the same error.
        """
        with self._making:
            if self.future.done():
                return
            try:
                self.future.set_result(_make_kit(self._settings, imported))
            except BaseException as error:
                self.future.set_exception(error)
                raise


def _make_kit(settings: EnvironmentConfig, imported: Collection[str]) -> Kit:
    # Nodes are on their way by now; before that nobody waits for these.
    from skygrid.environment.resolve import resolve
    from skygrid.environment.wheels import build_wheels

    with tempfile.TemporaryDirectory(prefix="skygrid-") as folder:
        return build_kit(build_wheels(resolve(settings, imported), Path(folder)))
