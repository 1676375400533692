"""Schedules of faults, drawn from a seed. Pure: the same seed gives the same schedule."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Place = Literal["local", "ssh"]
Moments = Literal["none", "soon", "end"]
"""End of a fault: it has none, it ends after some seconds, or it ends with its session."""

N_FITS = 40
MOST_FAULTS = 4
FEW_SECONDS = (0.2, 0.5, 1.0, 2.0)
"""Durations of a fault in seconds. Shorter and longer than a heartbeat and a busy timeout."""

OUTAGE_SECONDS = (0.5, 2.0, 4.0, 9.0)
"""Durations of a fault of a connection, also longer than `LOST_AFTER`."""

LOST_AFTER = 6.0
ORPHAN_AFTER = 8.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, inflicted once a number of fits is recorded."""

    kind: str
    target: str
    after: int
    """Number of recorded fits; 0: as soon as the run has a folder."""

    seconds: float | None = 0.0
    """Time until it is undone; 0: nothing to undo; None: undone when the session has ended."""

    choice: float = 0.0
    """Selects one of several targets: a fraction of their number."""

    def __str__(self) -> str:
        end = {0.0: "", None: ", until the session ends"}.get(
            self.seconds, f", for {self.seconds} s"
        )
        return f"after {self.after} fits: {self.kind} {self.target} ({self.choice:.2f}){end}"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The faults of one run, by their moment."""

    seed: int
    place: Place
    nodes: int
    shares_steps: bool
    """True if candidates are pipelines with a first step in common."""

    faults: tuple[Fault, ...]

    @property
    def replay(self) -> str:
        """The command that plays this schedule again."""
        count = "N=1" if self.place == "local" else "N=0 SSH=1"
        return f"make test-chaos SEED={self.seed} {count}"

    def __str__(self) -> str:
        kind = "pipelines" if self.shares_steps else "single estimators"
        head = f"{self.place}, seed {self.seed}: {self.nodes} nodes, {kind}; {self.replay}"
        return "\n  ".join([head, *map(str, self.faults)])


PROCESSES: Mapping[Place, tuple[str, ...]] = {
    "local": ("slot", "agent", "remover"),
    "ssh": ("slot", "agent", "keeper", "bridge", "sshd"),
}
"""Processes of a node that can be killed and stopped."""

_OF_PROCESSES: dict[str, Moments] = {
    "kill": "none",
    "terminate": "none",
    "stop": "soon",
    "stop and kill": "soon",
}
_OF_THE_DRIVER: dict[str, Moments] = {
    **_OF_PROCESSES,
    "interrupt": "none",
    "interrupt twice": "none",
    "hang up": "none",
}
_OF_THE_FOLDER: dict[tuple[str, str], tuple[Moments, ...]] = {
    ("fill", "disk"): ("soon", "end"),
    ("forbid writing to", "disk"): ("soon", "end"),
    ("fill", "memory"): ("soon", "end"),
    ("lock", "journal"): ("soon", "end"),
    ("truncate", "journal"): ("none",),
    ("damage", "journal"): ("none",),
    ("truncate", "log of the journal"): ("none",),
    ("damage", "log of the journal"): ("none",),
    ("remove", "run.json"): ("none",),
    ("resume again", "run"): ("none",),
    ("resume twice at once", "run"): ("none",),
    ("close", "stderr"): ("none",),
    ("close", "stdout"): ("none",),
    ("restart without", "streams"): ("none",),
}
_OF_CONNECTIONS: dict[tuple[str, str], tuple[Moments, ...]] = {
    ("cut", "connection"): ("none",),
    ("freeze", "connection"): ("soon",),
    ("refuse", "connection"): ("soon",),
    ("delay", "connection"): ("soon",),
    ("corrupt upwards", "connection"): ("none",),
    ("corrupt downwards", "connection"): ("none",),
    ("fill", "node's memory"): ("soon", "end"),
    ("fill", "node's disk"): ("soon", "end"),
}

Possible = tuple[str, str, Moments]


def possible_faults(place: Place) -> list[list[Possible]]:
    """Return every kind of fault with its target and its end, in groups of equal weight."""
    on_nodes: list[Possible] = [
        (kind, target, end)
        for target in PROCESSES[place]
        for kind, end in _OF_PROCESSES.items()
        if target != "sshd" or kind == "kill"  # sshd is frozen as a connection
    ]
    groups = [
        on_nodes,
        [(kind, "driver", end) for kind, end in _OF_THE_DRIVER.items()],
        _flat(_OF_THE_FOLDER),
    ]
    return [*groups, _flat(_OF_CONNECTIONS)] if place == "ssh" else groups


def _flat(faults: Mapping[tuple[str, str], tuple[Moments, ...]]) -> list[Possible]:
    return [(*fault, end) for fault, ends in faults.items() for end in ends]


def draw(seed: int, place: Place) -> Schedule:
    """Return the schedule of a seed: one to four faults."""
    source = random.Random(f"{place} {seed}")
    nodes, shares_steps = source.choice((1, 2)), source.choice((False, True))
    faults = [_draw_fault(source, place) for _ in range(source.randint(1, MOST_FAULTS))]
    return Schedule(
        seed=seed,
        place=place,
        nodes=nodes,
        shares_steps=shares_steps,
        faults=tuple(sorted(faults, key=lambda fault: fault.after)),
    )


def _draw_fault(source: random.Random, place: Place) -> Fault:
    kind, target, end = source.choice(source.choice(possible_faults(place)))
    durations = OUTAGE_SECONDS if target in ("connection", "node's disk") else FEW_SECONDS
    seconds = source.choice(durations)
    return Fault(
        kind=kind,
        target=target,
        after=source.choice((0, *range(1, N_FITS - 2))),
        seconds={"none": 0.0, "soon": seconds, "end": None}[end],
        choice=source.random(),
    )
