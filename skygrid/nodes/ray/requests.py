"""Decisions about Ray's resources, without Ray: what a node asks for, and whether it can get it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from skygrid.environment.settings import EnvironmentConfig

CPU = "CPU"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A live node of a Ray cluster."""

    id: str
    resources: Mapping[str, float]

    @property
    def cpus(self) -> int:
        """Number of whole CPUs."""
        return int(self.resources.get(CPU, 0))


def machines_of(nodes: Sequence[Mapping[str, Any]]) -> list[Machine]:
    """Return the live nodes in the answer of ``ray.nodes()``, those that have CPUs."""
    live = [Machine(id=one["NodeID"], resources=one["Resources"]) for one in nodes if one["Alive"]]
    return [machine for machine in live if machine.cpus]


def slots_of_nodes(
    machines: Sequence[Machine], nodes: int | None, concurrency: int | None
) -> list[int]:
    """Return the CPUs that each node of a run asks for.

    Parameters
    ----------
    machines : sequence of Machine
    nodes : int or None
        None: one node on each machine.
    concurrency : int or None
        None: all CPUs of the machine; of the smallest one where `nodes` is set, so that each node
        fits on each machine.
    """
    if nodes is None:
        return [concurrency or machine.cpus for machine in machines]
    return [concurrency or min((machine.cpus for machine in machines), default=1)] * nodes


def options_of(slots: int, resources: Mapping[str, float]) -> dict[str, Any]:
    """Return the options of an actor that asks for these resources."""
    special = {"GPU": "num_gpus", "memory": "memory"}
    options: dict[str, Any] = {"num_cpus": slots, "max_restarts": 0, "max_task_retries": 0}
    options |= {special[name]: amount for name, amount in resources.items() if name in special}
    others = {name: amount for name, amount in resources.items() if name not in special}
    return options | ({"resources": others} if others else {})


def why_never(
    machines: Sequence[Machine], slots: int, resources: Mapping[str, float]
) -> str | None:
    """Return why no present machine can hold a node; None if one can, perhaps later."""
    wanted = {CPU: float(slots), **resources}
    if any(_holds(machine, wanted) for machine in machines):
        return None
    for name, amount in wanted.items():
        most = max((machine.resources.get(name, 0.0) for machine in machines), default=0.0)
        if most < amount:
            advice = "" if most < 1 or name != CPU else f"use --concurrency {int(most)}, or "
            return (
                f"a node asks for {amount:g} {name} and the largest machine of the Ray cluster has "
                f"{most:g}: {advice}set autoscaling = true under [ray] if the cluster grows"
            )
    asked = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items())
    return (
        f"no machine of the Ray cluster has {asked} together: ask for less under [ray], or set "
        "autoscaling = true if the cluster grows"
    )


def _holds(machine: Machine, wanted: Mapping[str, float]) -> bool:
    return all(machine.resources.get(name, 0.0) >= amount for name, amount in wanted.items())


def door_of(address: str | None) -> tuple[str, int] | None:
    """Return host and port of an address of Ray; None if it names none, such as ``auto``."""
    place = urlsplit(address if address and "://" in address else f"//{address or ''}")
    try:
        return (place.hostname, place.port) if place.hostname and place.port else None
    except ValueError:  # no port number
        return None


def runtime_env(
    environment: EnvironmentConfig, read: Callable[[str], str] = lambda path: Path(path).read_text()
) -> dict[str, Any]:
    """Return Ray's ``runtime_env`` for an ``[environment]`` table; empty if it asks for nothing.

    https://docs.ray.io/en/latest/ray-core/handling-dependencies.html#api-reference

    Parameters
    ----------
    environment : EnvironmentConfig
    read : callable, optional
        Returns the text of a requirements file, which the cluster does not have.
    """
    if environment.packages == "auto":
        return {}
    if isinstance(environment.packages, str):
        lines = [line.strip() for line in read(environment.packages).splitlines()]
        packages = [line for line in lines if line and not line.startswith("#")]
    else:
        packages = list(environment.packages)
    options = [] if environment.index_url is None else ["--index-url", environment.index_url]
    for url in environment.extra_index_url:
        options += ["--extra-index-url", url]
    pip: dict[str, Any] = {"packages": packages}
    return {"pip": pip | ({"pip_install_options": options} if options else {})}


def variables(given: Mapping[str, str], address: str | None, home: Path) -> dict[str, str]:
    """Return the environment variables to set before Ray is imported.

    Parameters
    ----------
    given : mapping of str to str
        The environment.
    address : str or None
        None: Ray is started on this machine.
    home : Path
        The user's home folder, where Ray keeps the token of its clusters.
    """
    # With `uv run`, Ray would send the working directory to the nodes and build it there.
    wanted = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    if "RAY_AUTH_MODE" not in given:
        # https://docs.ray.io/en/latest/ray-security/token-auth.html
        if address is None:
            # Without a token of its own, a Ray on this machine leaves one in the home folder.
            wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        elif {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(given) or (
            home / ".ray" / "auth_token"
        ).exists():
            # `ray start` asks for this token where one exists, and Ray's own drivers forget it.
            wanted["RAY_AUTH_MODE"] = "token"
    return {name: value for name, value in wanted.items() if name not in given}
