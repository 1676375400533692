"""Control of the cloud by tests, beside its APIs: small JSON documents below ``/_control/``."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from tests.cloud.api import Reply
from tests.cloud.faults import Failure, settings_from
from tests.cloud.front import Front, send
from tests.cloud.world import World

PREFIX = "/_control/"


class Control:
    """A WSGI application that answers paths below `PREFIX` and passes on all others."""

    def __init__(self, front: Front, world: World, reset_moto: Callable[[], None]) -> None:
        self._front = front
        self._world = world
        self._reset_moto = reset_moto
        self._verbs: dict[str, Callable[..., Any]] = {
            "set": self._set,
            "fail": self._fail,
            "clear-faults": self._clear_faults,
            "interrupt": self._interrupt,
            "kill": self._kill,
            "cut": self._cut,
            "calls": lambda: [dataclasses.asdict(call) for call in front.calls()],
            "left": world.left,
            "processes": world.processes,
            "problems": world.problems,
            "instances": self._instances,
            "console": lambda instance_id: world.instances[instance_id].console(),
            "remove-default-vpc": self._remove_default_vpc,
            "reset": self._reset,
        }

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.startswith(PREFIX):
            return self._front(environ, start)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        document = json.loads(environ["wsgi.input"].read(length) or b"{}")
        try:
            found = self._verbs[path.removeprefix(PREFIX)](**document)
        except Exception as error:
            return send(_json({"error": repr(error)}, 400), start)
        return send(_json({"result": found}), start)

    def _set(self, **document: Any) -> None:
        with self._world.lock:
            self._world.faults.change(**settings_from(document))
            self._world.update_gates()

    def _fail(self, **document: Any) -> None:
        self._world.faults.add(Failure(**document))

    def _clear_faults(self) -> None:
        self._world.faults.failures.clear()

    def _interrupt(self, instance_id: str, seconds: float) -> None:
        self._world.interrupt(instance_id, seconds)

    def _kill(self, instance_id: str) -> None:
        """Kill the machine without changing its state in the API."""
        instance = self._world.instances[instance_id]
        instance.bootable = False
        instance.fall_silent()
        if instance.machine is not None:
            instance.machine.pull_plug()

    def _cut(self, instance_id: str | None = None) -> None:
        for instance in list(self._world.instances.values()):
            if instance_id in {None, instance.id}:
                for gate in list(instance.gates):
                    gate.cut()

    def _instances(self) -> list[dict[str, Any]]:
        with self._world.lock:
            return [
                {
                    "id": one.id,
                    "state": one.state,
                    "region": one.region,
                    "zone": one.record.availability_zone,
                    "instance_type": one.record.instance_type,
                    "market": one.record.lifecycle or "on-demand",
                    "public": one.record.public_ip,
                    "private": one.addresses.private,
                    "hidden": one.addresses.hidden,
                    "launched_at": since_epoch(one.launched_at),
                    "boot_seconds": one.settings.boot_seconds,
                    "listens_at": since_epoch(one.listens_at),
                    "metadata": one.metadata.url if one.metadata else None,
                    "tags": {tag["key"]: tag["value"] for tag in one.record.get_tags()},
                }
                for one in self._world.instances.values()
            ]

    def _remove_default_vpc(self, region: str) -> None:
        with self._world.lock:
            self._world.remove_default_vpc(region)

    def _reset(self, **document: Any) -> None:
        """Return the cloud to its first state, with these settings."""
        self._world.clear()
        with self._world.lock, self._world.objects_lock:
            self._reset_moto()
            self._world.faults.reset(**settings_from(document))
            self._front.clear()


def since_epoch(moment: float | None) -> float | None:
    """Convert a time of the monotonic clock to seconds since the epoch."""
    return None if moment is None else time.time() - (time.monotonic() - moment)


def _json(document: dict[str, Any], status: int = 200) -> Reply:
    return Reply(status=status, content_type="application/json", body=json.dumps(document).encode())
