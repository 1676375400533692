"""The faults of a schedule: each function inflicts one on a run and returns its undoing."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.chaos.schedules import Fault
from tests.chaos.sessions import Session
from tests.chaos.stage import SshStage, Stage

T = TypeVar("T")
Undo = Callable[[], None]

LOCKER = Path(__file__).with_name("locker.py")
DAMAGED_BYTES = 64
DELAY_SECONDS = 0.3


@dataclass
class Play:
    """The state of a schedule that is played."""

    stage: Stage
    session: Session
    killed: bool = False
    """True if the driver of this session was killed."""

    damaged: bool = False
    """True once the journal was damaged: recorded fits may be lost."""

    twice: bool = False
    """True if the next session is started twice at once."""

    streams: bool = True
    """False if the next session starts without streams."""

    others: list[Session] = field(default_factory=list)
    """Other commands of the run that were started beside the session."""


def inflict(fault: Fault, play: Play) -> Undo | None:
    """Inflict a fault; return its undoing, None if there is nothing to inflict it on."""
    if fault.target == "driver":
        return _on_driver(fault, play)
    if fault.kind in _ON_PROCESSES:
        return _on_process(fault, play)
    return _OTHERS[fault.kind, fault.target](fault, play)


def _nothing() -> None: ...


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _pick(fault: Fault, items: Sequence[T]) -> T | None:
    return items[int(fault.choice * len(items))] if items else None


# ---- processes -----------------------------------------------------------------------------------

_SIGNALS = {
    "kill": signal.SIGKILL,
    "terminate": signal.SIGTERM,
    "stop": signal.SIGSTOP,
    "stop and kill": signal.SIGSTOP,
    "interrupt": signal.SIGINT,
    "hang up": signal.SIGHUP,
}
_ON_PROCESSES = {"kill", "terminate", "stop", "stop and kill"}
_AFTERWARDS = {"stop": signal.SIGCONT, "stop and kill": signal.SIGKILL}


def _on_process(fault: Fault, play: Play) -> Undo | None:
    if fault.target == "sshd":
        node = _pick(fault, _ssh(play).bed.nodes)
        assert node is not None
        node.kill_connections()
        return _nothing
    pid = _pick(fault, play.stage.processes(play.session, fault.target))
    return None if pid is None else _signal(fault, pid)


def _signal(fault: Fault, pid: int) -> Undo:
    _send(pid, _SIGNALS[fault.kind])
    after = _AFTERWARDS.get(fault.kind)
    return _nothing if after is None else lambda: _send(pid, after)


def _on_driver(fault: Fault, play: Play) -> Undo | None:
    if play.session.code is not None:
        return None
    if "kill" not in fault.kind and not _handles_signals(play.session.pid):
        return None  # it is no skygrid yet, but the shell that starts it
    if fault.kind == "interrupt twice":
        _send(play.session.pid, signal.SIGINT)
        _send(play.session.pid, signal.SIGINT)
        return _nothing
    play.killed = play.killed or "kill" in fault.kind
    return _signal(fault, play.session.pid)


def _handles_signals(pid: int) -> bool:
    """Return whether a process has a handler for SIGTERM, by ``SigCgt`` in proc(5)."""
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        caught = re.search("SigCgt:\\s*([0-9a-f]+)", status)
        return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


# ---- the run's folder ----------------------------------------------------------------------------


def _fill_disk(fault: Fault, play: Play) -> Undo:
    play.stage.disk.fill()
    return play.stage.disk.restore


def _forbid_disk(fault: Fault, play: Play) -> Undo:
    pid = play.session.pid
    play.stage.disk.forbid(pid)
    return lambda: play.stage.disk.allow(pid)


def _fill_memory(fault: Fault, play: Play) -> Undo:
    play.stage.memory.fill()
    return play.stage.memory.restore


def _lock_journal(fault: Fault, play: Play) -> Undo | None:
    path = play.stage.run / "journal.sqlite"
    if not path.exists():
        return None
    locker = subprocess.Popen(
        [sys.executable, str(LOCKER), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert locker.stdin is not None
    assert locker.stdout is not None
    locker.stdout.readline()

    def release() -> None:
        locker.communicate()

    return release


def _truncate(fault: Fault, play: Play) -> Undo | None:
    path = _journal_file(fault, play)
    if path is None:
        return None
    play.damaged = True
    os.truncate(path, int(fault.choice * path.stat().st_size))
    return _nothing


def _damage(fault: Fault, play: Play) -> Undo | None:
    path = _journal_file(fault, play)
    if path is None:
        return None
    play.damaged = True
    source = random.Random(fault.choice)
    start = int(fault.choice * max(1, path.stat().st_size - DAMAGED_BYTES))
    # A program of its own writes: closing the file here would drop locks of SQLite in this process.
    subprocess.run(
        ["dd", f"of={path}", "bs=1", f"seek={start}", "conv=notrunc", "status=none"],
        input=source.randbytes(DAMAGED_BYTES),
        check=True,
    )
    return _nothing


def _journal_file(fault: Fault, play: Play) -> Path | None:
    name = "journal.sqlite" if fault.target == "journal" else "journal.sqlite-wal"
    path = play.stage.run / name
    return path if path.exists() and path.stat().st_size else None


def _remove_record(fault: Fault, play: Play) -> Undo | None:
    path = play.stage.run / "run.json"
    if not path.exists():
        return None
    play.stage.record = path.read_bytes()
    path.unlink()
    return _nothing


# ---- other commands and streams ------------------------------------------------------------------


def _resume_again(fault: Fault, play: Play) -> Undo:
    play.others.append(play.stage.start())
    return _nothing


def _resume_twice(fault: Fault, play: Play) -> Undo:
    play.twice = True
    return _kill_driver(play)


def _restart_without_streams(fault: Fault, play: Play) -> Undo:
    play.streams = False
    return _kill_driver(play)


def _kill_driver(play: Play) -> Undo:
    play.killed = True
    _send(play.session.pid, signal.SIGKILL)
    return _nothing


def _close_stream(fault: Fault, play: Play) -> Undo:
    play.session.close_stream(fault.target)
    return _nothing


# ---- connections and disks of nodes --------------------------------------------------------------


def _ssh(play: Play) -> SshStage:
    assert isinstance(play.stage, SshStage)
    return play.stage


def _on_connection(fault: Fault, play: Play) -> Undo:
    stage = _ssh(play)
    number = int(fault.choice * len(stage.proxies))
    proxy, node = stage.proxies[number], stage.bed.nodes[number]
    if fault.kind == "cut":
        proxy.cut()
    elif fault.kind == "freeze":
        node.stop()
        return node.cont
    elif fault.kind == "refuse":
        proxy.refuse()
        proxy.cut()
        return proxy.accept
    elif fault.kind == "delay":
        before, proxy.delay = proxy.delay, DELAY_SECONDS

        def hurry() -> None:
            proxy.delay = before

        return hurry
    else:
        proxy.corrupt("up" if fault.kind == "corrupt upwards" else "down", 100)
    return _nothing


def _fill_node(fault: Fault, play: Play) -> Undo:
    stage = _ssh(play)
    disks = stage.memories if fault.target == "node's memory" else stage.homes
    disk = disks[int(fault.choice * len(disks))]
    disk.fill()
    return disk.restore


_OTHERS: dict[tuple[str, str], Callable[[Fault, Play], Undo | None]] = {
    ("fill", "disk"): _fill_disk,
    ("forbid writing to", "disk"): _forbid_disk,
    ("fill", "memory"): _fill_memory,
    ("lock", "journal"): _lock_journal,
    ("truncate", "journal"): _truncate,
    ("truncate", "log of the journal"): _truncate,
    ("damage", "journal"): _damage,
    ("damage", "log of the journal"): _damage,
    ("remove", "run.json"): _remove_record,
    ("resume again", "run"): _resume_again,
    ("resume twice at once", "run"): _resume_twice,
    ("restart without", "streams"): _restart_without_streams,
    ("close", "stderr"): _close_stream,
    ("close", "stdout"): _close_stream,
    ("fill", "node's memory"): _fill_node,
    ("fill", "node's disk"): _fill_node,
    ("cut", "connection"): _on_connection,
    ("freeze", "connection"): _on_connection,
    ("refuse", "connection"): _on_connection,
    ("delay", "connection"): _on_connection,
    ("corrupt upwards", "connection"): _on_connection,
    ("corrupt downwards", "connection"): _on_connection,
}
