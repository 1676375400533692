"""The kit of a run's nodes, packed while connections are made."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Collection
from concurrent.futures import Future
from pathlib import Path

from skygrid.environment.kit import Kit, build_kit
from skygrid.environment.settings import EnvironmentConfig

LOGGER = logging.getLogger(__name__)


class AwaitedKit:
    """The kit of a run's nodes, available once the search has been loaded.

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
        """Pack the kit for a search that imported these modules; later calls do nothing.

        Concurrent calls wait for the first.

        Raises
        ------
        SkygridError
            If the kit cannot be packed; `future` gets the same error.
        """
        with self._making:
            if self.future.done():
                return
            begin = time.monotonic()
            try:
                kit = _make_kit(self._settings, imported)
                self.future.set_result(kit)
                LOGGER.info(
                    "the nodes' kit was made in %.1f s: environment %s, code %s",
                    time.monotonic() - begin,
                    kit.environment_key,
                    kit.code_key,
                )
            except BaseException as error:
                self.future.set_exception(error)
                raise


def _make_kit(settings: EnvironmentConfig, imported: Collection[str]) -> Kit:
    # Import late: connections to the nodes are in progress by now, so the import costs no time.
    from skygrid.environment.resolve import resolve
    from skygrid.environment.wheels import build_wheels

    with tempfile.TemporaryDirectory(prefix="skygrid-") as folder:
        return build_kit(build_wheels(resolve(settings, imported), Path(folder)))
