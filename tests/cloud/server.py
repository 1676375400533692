"""Process of the cloud: one HTTP server, moto behind it, machines behind moto."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

from tests.cloud.extras import IMAGE_ENTRIES
from tests.cloud.faults import Faults, Settings

SERVICES: Final = ("ec2", "s3", "ssm", "sts")
"""Services that moto answers."""


class Server:
    """The cloud's HTTP server; runs from its creation until `close`.

    Parameters
    ----------
    port : int
        Port of 127.0.0.1; 0 for any.
    settings : Settings
    say : callable
        Receives one line of text per event of an instance.
    """

    def __init__(self, port: int, settings: Settings, say: Callable[[str], None]) -> None:
        self._images = tempfile.NamedTemporaryFile("w", suffix=".json")  # noqa: SIM115 - until close
        json.dump(IMAGE_ENTRIES, self._images)
        self._images.flush()
        # moto reads these variables when it is imported.
        os.environ["MOTO_AMIS_PATH"] = self._images.name
        os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "true"
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
        from werkzeug.serving import make_server

        load_moto()
        from tests.cloud.control import Control
        from tests.cloud.front import Front
        from tests.cloud.world import World

        faults = Faults(settings=settings)

        class Quiet(MotoRequestHandler):
            def date_time_string(self, timestamp: float | None = None) -> str:
                """Return the time of the cloud's own clock."""
                now = time.time() if timestamp is None else timestamp
                return formatdate(now + faults.settings.clock_seconds, usegmt=True)

            def log(self, *_: Any) -> None:
                """Print nothing: the terminal shows events of instances."""

        self.world = World(faults, say)
        moto = DomainDispatcherApplication(create_backend_app)
        front = Front(moto, self.world)
        self._server = make_server(
            "127.0.0.1",
            port,
            Control(front, self.world, reset_moto),
            threaded=True,
            request_handler=Quiet,
        )
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End every instance and stop answering."""
        self._server.shutdown()
        self.world.close()
        self._images.close()


def load_moto() -> None:
    """Import the modules that moto imports at the first call of a service.

    Done before threads start: when two threads import modules that import each other, Python lets
    one continue with an incomplete module (``_DeadlockError`` of importlib).
    """
    from moto import backends

    for service in SERVICES:
        backends.get_backend(service)
        for part in ("responses", "urls"):
            importlib.import_module(f"moto.{service}.{part}")


def reset_moto() -> None:
    """Delete all of moto's records."""
    from moto.core.base_backend import BackendDict
    from moto.core.model_instances import reset_model_data

    BackendDict.reset()
    reset_model_data()


def shared_environments(folder: Path) -> str:
    """Create the folders of shared environments, writable for the instances' default user."""
    for name in ("envs", "tools", "uv-cache"):
        one = folder / name
        one.mkdir(parents=True, exist_ok=True)
        os.chown(one, 1000, 1000)
    return str(folder)
