"""What nodes need, put together while connections to them are being made."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from concurrent.futures import Future
from pathlib import Path

from skygrid.environment.kit import Kit, build_kit
from skygrid.environment.resolve import resolve
from skygrid.environment.settings import EnvironmentConfig
from skygrid.environment.wheels import build_wheels


class AwaitedKit:
    """The kit of a run's nodes, which is there once the search was loaded.

    Parameters
    ----------
    settings : EnvironmentConfig
    """

    def __init__(self, settings: EnvironmentConfig) -> None:
        self._settings = settings
        self.future: Future[Kit] = Future()

    def make(self, imported: Collection[str]) -> None:
        """Put together what a search needs that imported these modules, the first time only.

        Raises
        ------
        SkygridError
            If that cannot be done; those that wait for the kit are told the same.
        """
        if self.future.done():
            return
        try:
            self.future.set_result(make_kit(self._settings, imported))
        except BaseException as error:
            self.future.set_exception(error)
            raise


def make_kit(settings: EnvironmentConfig, imported: Collection[str]) -> Kit:
    """All that a node needs for a search that imported these modules."""
    with tempfile.TemporaryDirectory(prefix="skygrid-") as folder:
        return build_kit(build_wheels(resolve(settings, imported), Path(folder)))
