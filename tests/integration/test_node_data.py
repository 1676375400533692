"""Data is sent to a node once: reused, resumed, checked, refused, removed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV

from skygrid.environment.kit import Kit
from skygrid.errors import NodeError
from skygrid.nodes.interface import Transport
from skygrid.nodes.local_process import LocalProcess, agent_command
from skygrid.nodes.ssh.agent_host import AgentPlace
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages.from_agent import BlobWanted, Heartbeat, Refusal
from skygrid.worker.wire.messages.to_agent import BlobChunk, BlobOffer, ToAgent
from tests import misbehaving as bad
from tests.agent_driver import AgentDriver
from tests.disks import small_disk
from tests.driven import Driven, Nodes, Passing
from tests.processes import WAIT_SECONDS, wait_until

GIB = 2**30


class Counting(Passing):
    """Transport to a remote node that counts the data sent to it and can break."""

    def __init__(self, own: LocalProcess, most: float = float("inf")) -> None:
        super().__init__(own)
        self._most = most
        self._reader = FrameReader(ToAgent)
        self._data: set[str] = set()
        self.offsets: list[int] = []
        """Offsets of the data's chunks that were sent, in order."""

        self.sent = 0
        """Compressed bytes of the data that were sent."""

        self.offers = 0

    def write(self, data: bytes) -> None:
        self._own.write(data)
        for message in self._reader.feed(data):
            if isinstance(message, BlobOffer):
                self.offers += 1
                self._data.add(message.digest)
            elif isinstance(message, BlobChunk) and message.digest in self._data:
                self.offsets.append(message.offset)
                self.sent += len(message.data)
                if message.offset >= self._most:
                    # Its last messages are read, and this chunk is written first.
                    os.kill(self._own.pid, 9)
                    raise OSError("broken off")


class FarNodes(Nodes):
    """Agents with a cache, over transports that share no files.

    Parameters
    ----------
    caches : Path
        One for each node.
    most : float
        The first agent is killed when it was sent a chunk from this offset on.
    max_gb : float
    """

    def __init__(self, *caches: Path, most: float = float("inf"), max_gb: float = 1.0) -> None:
        super().__init__(len(caches))
        self._caches = dict(zip(self.names(), caches, strict=True))
        self._most, self._max_gb = most, max_gb
        self.far: list[Counting] = []

    def transport(self, name: str, watcher: Any) -> Transport:
        cache = ["--cache", str(self._caches[name]), "--cache-max-gb", str(self._max_gb)]
        own = LocalProcess([*agent_command(1, 1), *cache])
        self.made[name].append(own)
        self.far.append(Counting(own, float("inf") if self.far else self._most))
        return self.far[-1]


def large(seed: int = 0, rows: int = 30_000) -> tuple[np.ndarray, np.ndarray]:
    """Return 7 MB of numbers that cannot be compressed."""
    return make_classification(n_samples=rows, n_features=30, random_state=seed)


def dummy_search() -> GridSearchCV:
    return GridSearchCV(DummyClassifier(), {"strategy": ["prior", "most_frequent"]}, cv=3)


def run(nodes: FarNodes, X: Any, y: Any, **settings: Any) -> Driven:
    """Run a search on these nodes, from the start of the agents to their end."""
    with Driven(nodes, **settings) as driven:
        search = dummy_search()
        driven.fit(search, X, y)
        assert len(search.cv_results_["params"]) == 2
        return driven


def blobs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.blob"))


@pytest.mark.parametrize("kind", ["array", "frame", "sparse"])
def test_the_next_run_sends_no_data(tmp_path: Path, kind: str) -> None:
    """Data that a node has from an earlier run is not sent."""
    X, y = large(rows=2000)
    if kind == "frame":
        pandas = pytest.importorskip("pandas")
        X = pandas.DataFrame(X).rename(columns=str).assign(name=[f"row {i}" for i in range(len(y))])
    elif kind == "sparse":
        import scipy.sparse

        X = scipy.sparse.csr_matrix(X)
    first, second = FarNodes(tmp_path), FarNodes(tmp_path)
    run(first, X, y)
    assert first.far[0].sent > 0
    assert len(blobs(tmp_path)) == 1
    run(second, X, y)
    assert second.far[0].offsets == []
    third = FarNodes(tmp_path)
    run(third, X[:1000], y[:1000])
    assert third.far[0].sent > 0
    assert len(blobs(tmp_path)) == 2


def test_a_new_round_sends_no_data(tmp_path: Path) -> None:
    """Data is sent once in a run, also for a second search."""
    X, y = large(rows=2000)
    nodes = FarNodes(tmp_path)
    with Driven(nodes) as driven:
        driven.fit(dummy_search(), X, y)
        sent = nodes.far[0].sent
        driven.fit(dummy_search(), X, y)
    assert nodes.far[0].sent == sent > 0


def test_a_broken_transfer_resumes(tmp_path: Path) -> None:
    """When an agent dies during a transfer, its successor gets the missing bytes only."""
    X, y = large()
    nodes = FarNodes(tmp_path, most=4 * 2**20)
    driven = run(nodes, X, y)
    assert driven.watch.losses == 1
    broken, resumed = nodes.far
    assert broken.offsets[0] == 0
    # The last chunks may not have been read.
    assert 0 < resumed.offsets[0] <= broken.offsets[-1] + 2**20
    assert resumed.sent < X.nbytes - resumed.offsets[0] + 2**20
    (blob,) = blobs(tmp_path)
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.stem
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_damaged_data_is_sent_again(tmp_path: Path, damage: str) -> None:
    """A changed byte or a missing end is noticed before the data is used."""
    X, y = large(rows=2000)
    run(FarNodes(tmp_path), X, y)
    (blob,) = blobs(tmp_path)
    with blob.open("r+b") as file:
        if damage == "cut":
            file.truncate(blob.stat().st_size - 1)
        else:
            file.seek(blob.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
    nodes = FarNodes(tmp_path)
    run(nodes, X, y)
    assert nodes.far[0].offsets[0] == 0
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.stem


def test_a_part_that_is_damaged_is_sent_again(tmp_path: Path) -> None:
    """A damaged part of an earlier transfer is sent again, and the node is not lost."""
    X, y = large(rows=2000)
    run(FarNodes(tmp_path), X, y)
    (blob,) = blobs(tmp_path)
    blob.rename(blob.with_suffix(".part"))
    with blob.with_suffix(".part").open("r+b") as file:
        file.truncate(blob.with_suffix(".part").stat().st_size - 10)
        file.write(b"damaged")
    nodes = FarNodes(tmp_path)
    driven = run(nodes, X, y)
    assert driven.watch.losses == 0
    assert nodes.far[0].offsets[0] > 0
    assert 0 in nodes.far[0].offsets
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.stem


def test_a_host_without_disk_space_is_refused_before_the_transfer(tmp_path: Path) -> None:
    """No data is sent, the error names the remedy, and the host is not tried again."""
    X, y = large()
    with small_disk(tmp_path / "small", "68m") as disk:
        nodes = FarNodes(disk / "blobs")
        with pytest.raises(NodeError, match=r"68 MiB of disk left under .*/small/blobs") as told:
            run(nodes, X, y)
        assert "set folder under [ssh] to a larger disk" in str(told.value)
        assert [far.offsets for far in nodes.far] == [[]]
        assert list((disk / "blobs").iterdir()) == []


def test_other_hosts_continue_without_a_host_that_has_no_disk_space(tmp_path: Path) -> None:
    """A host without space is lost once and not replaced; the others do its work."""
    X, y = large()
    with small_disk(tmp_path / "small", "68m") as disk:
        nodes = FarNodes(disk, tmp_path / "large")
        gate = tmp_path / "gate"
        search = GridSearchCV(bad.Gated(path=str(gate)), {"a": [0.0, 1.0]}, cv=3, refit=False)
        with Driven(nodes) as driven:
            # Otherwise the other host could run all fits before this one is refused.
            driven.watch.on_lost = gate.touch
            driven.fit(search, X, y)
        ((lost, reason),) = driven.watch.reasons
        assert (lost, len(nodes.made[lost])) == ("node-1", 1)
        assert "of disk left" in reason


def test_a_host_without_memory_refuses_the_data(tmp_path: Path) -> None:
    """The agent refuses an offer that is larger than its memory, with a reason."""
    with AgentDriver(command=cached_agent(tmp_path)) as agent:
        agent.greeted()
        agent.send(BlobOffer(digest="ab" * 32, size=2**50))
        reason = agent.wait(Refusal).reason
        assert "of memory left and the data takes 1048576.0 GiB" in reason
        assert agent.wait_end() == 0


def test_progress_of_a_transfer_is_shown(tmp_path: Path) -> None:
    """During a transfer, the node's state has its percentage."""
    X, y = large()
    nodes = FarNodes(tmp_path)
    held = threading.Event()

    class Halting(Counting):
        """Sends the later half of the data once some progress was reported."""

        def write(self, data: bytes) -> None:
            if self.offsets and self.offsets[-1] >= 3 * 2**20:
                assert held.wait(WAIT_SECONDS)
            super().write(data)

    real = nodes.transport

    def transport(name: str, watcher: Any) -> Transport:
        far = real(name, watcher)
        return Halting(far._own)

    nodes.transport = transport
    with Driven(nodes) as driven:
        told = driven.watch.on_beat

        def on_beat(node: str, beat: Heartbeat) -> None:
            told(node, beat)
            if beat.receiving is not None and beat.receiving > 0.3:
                held.set()

        driven.watch.on_beat = on_beat
        driven.fit(dummy_search(), X, y)
    states = [state for _, state in driven.watch.states]
    assert any(state.startswith("receiving ") and state.endswith(" %") for state in states)
    assert states.index("receiving") < states.index("working")


def cached_agent(folder: Path, max_gb: float = 1.0) -> list[str]:
    command = [sys.executable, "-P", "-m", "skygrid.worker", "--cache", str(folder)]
    return [*command, "--cache-max-gb", str(max_gb)]


def send(agent: AgentDriver, blob: Blob, start: int = 0, chunks: int | None = None) -> None:
    """Send chunks of a blob from `start` on: `chunks` of them, or all."""
    for number, (offset, data, packed) in enumerate(blob.pieces(start)):
        if number == chunks:
            return
        agent.send(
            BlobChunk(
                digest=blob.digest, size=blob.size, offset=offset, data=bytes(data), packed=packed
            )
        )


def offer(agent: AgentDriver, blob: Blob) -> int:
    """Offer a blob and return the offset from which the agent wants it."""
    agent.send(BlobOffer(digest=blob.digest, size=blob.size))
    return agent.wait(BlobWanted).offset


def has_all(blob: Blob) -> Callable[[BlobWanted], bool]:
    return lambda wanted: wanted.offset == blob.size


def test_two_agents_on_a_host_receive_the_same_data_at_once(tmp_path: Path) -> None:
    """Two agents that get the chunks in turn have the whole blob, and one file is left."""
    X, _ = large()
    blob = Blob({"X": X})
    command = cached_agent(tmp_path)
    with AgentDriver(command=command) as one, AgentDriver(command=command) as other:
        for agent in (one, other):
            assert offer(agent, blob) == 0
        for offset, data, packed in blob.pieces():
            for agent in (one, other):
                agent.send(
                    BlobChunk(
                        digest=blob.digest,
                        size=blob.size,
                        offset=offset,
                        data=bytes(data),
                        packed=packed,
                    )
                )
        for agent in (one, other):
            agent.wait(BlobWanted, has_all(blob))
        (file,) = tmp_path.iterdir()
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.stem == blob.digest


def test_a_killed_agent_keeps_its_received_data(tmp_path: Path) -> None:
    """After an agent was killed, the next one requests the rest only."""
    X, _ = large()
    blob = Blob({"X": X})
    with AgentDriver(command=cached_agent(tmp_path)) as agent:
        assert offer(agent, blob) == 0
        send(agent, blob, chunks=4)
        sizes = [offset for offset, _, _ in blob.pieces()]
        part = tmp_path / f"{blob.digest}.part"
        wait_until(lambda: part.stat().st_size == sizes[4], "four chunks to arrive")
        os.kill(agent.pid, 9)
        agent.wait_end()
    with AgentDriver(command=cached_agent(tmp_path)) as agent:
        assert offer(agent, blob) == sizes[4]
        send(agent, blob, sizes[4])
        agent.wait(BlobWanted, has_all(blob))


def test_an_agent_sends_heartbeats_while_it_hashes(tmp_path: Path) -> None:
    """Heartbeats continue while the agent hashes 400 MiB of kept data."""
    size = 400 * 2**20
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / f"{'ab' * 32}.blob"
    with path.open("wb") as file:
        file.truncate(size)
    with AgentDriver(command=cached_agent(tmp_path)) as agent:
        agent.greeted()
        agent.setup(heartbeat_seconds=0.01)
        agent.send(BlobOffer(digest="ab" * 32, size=size))
        agent.wait(BlobWanted, lambda wanted: wanted.offset == 0)
        (end,) = (n for n, message in enumerate(agent.heard) if isinstance(message, BlobWanted))
        assert sum(isinstance(message, Heartbeat) for message in agent.heard[:end]) >= 5
    assert not path.exists()


def test_an_agent_removes_data_above_the_limit_at_its_start(tmp_path: Path) -> None:
    """Data above --cache-max-gb is removed when an agent starts, except data in use."""
    X, _ = large()
    held, other = Blob({"X": X}), Blob({"X": X + 1})
    with AgentDriver(command=cached_agent(tmp_path)) as agent:
        offer(agent, held)
        send(agent, held)
        agent.wait(BlobWanted, has_all(held))
        (tmp_path / f"{other.digest}.blob").write_bytes(b"".join(d for _, d in other.chunks()))
        with AgentDriver(command=cached_agent(tmp_path, 1e-3)) as second:
            second.greeted()
            assert [path.stem for path in blobs(tmp_path)] == [held.digest]
    with AgentDriver(command=cached_agent(tmp_path, 1e-3)) as third:
        third.greeted()
        assert blobs(tmp_path) == []


def test_compressible_data_is_sent_compressed(tmp_path: Path) -> None:
    """Numbers with few values are sent in less than a quarter of their size."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 4, size=(30_000, 30)), rng.integers(0, 2, size=30_000)
    nodes = FarNodes(tmp_path)
    run(nodes, X, y)
    (blob,) = blobs(tmp_path)
    assert nodes.far[0].sent < 0.25 * blob.stat().st_size


def test_little_data_is_sent_without_an_offer(tmp_path: Path) -> None:
    """Data that takes less time than the answer to an offer is not offered."""
    nodes = FarNodes(tmp_path)
    run(nodes, *large(rows=100))
    assert nodes.far[0].offers == 0
    assert blobs(tmp_path) == []


class Greedy(Passing):
    """Requests data without an offer right after its greeting."""

    def __init__(self, own: LocalProcess, digest: str, offset: int) -> None:
        super().__init__(own)
        self._said = BlobWanted(digest=digest, offset=offset)
        self._first = True

    def read(self) -> bytes:
        from skygrid.worker.wire.frames import encode

        data = self._own.read()
        if self._first and data:
            self._first = False
            return data + encode(self._said)
        return data


def test_a_node_that_requests_data_without_an_offer_is_lost() -> None:
    """A node that requests data without an offer is lost with that reason."""
    nodes = Nodes(wrap=lambda name, times, own: Greedy(own, "ab" * 32, 5))
    with (
        Driven(nodes) as driven,
        pytest.raises(NodeError, match="it was not offered"),
    ):
        driven.fit(dummy_search(), *large(rows=100))


DATASETS = """
import sys, warnings
import numpy as np, scipy.sparse
from skygrid.worker.evaluation.contents import SearchData
from skygrid.worker.wire.blobs import Blob
rng = np.random.default_rng(0)
words = [f"word {n} {{}}".format("x" * (n % 7)) for n in range(500)]
y = rng.integers(0, 3, 500)
X = rng.normal(size=(500, 8))
sets = {
    "array": X,
    "fortran": np.asfortranarray(X),
    "slice": X[::2, 1:],
    "int32": X.astype("<i4"),
    "csr": scipy.sparse.csr_matrix(np.where(X > 1, X, 0)),
    "csr array": scipy.sparse.csr_array(np.where(X > 1, X, 0)),
    "list": words,
    "dicts": [{word: n, "n": n} for n, word in enumerate(words)],
    "objects": np.array(words, dtype=object),
    "text": np.array(words),
}
import pandas as pd
frame = pd.DataFrame(X, columns=[f"f{n}" for n in range(8)]).assign(
    word=words, kind=pd.Categorical(words), when=pd.Timestamp("2020-01-01"), flag=X[:, 0] > 0
)
sets["frame"] = frame
sets["series"] = frame["word"]
for name, value in sets.items():
    data = SearchData(X=value, y=y, fit_params={}, score_params={})
    print(name, Blob(data).digest)
"""


def test_the_same_data_has_the_same_digest_in_every_interpreter() -> None:
    """The digest of data does not depend on the hash seed."""
    told = [
        subprocess.run(
            [sys.executable, "-c", DATASETS],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "12345")
    ]
    assert told[0].count("\n") == 12
    assert told[0] == told[1] == told[2]


def test_agents_on_hosts_keep_their_data() -> None:
    """The command of an agent on a host has a cache of the configured size."""
    place = AgentPlace(
        root="~/.cache/skygrid",
        name="run-host",
        arguments=("--slots", "2"),
        cache_max_gb=2.5,
        hash_seed=7,
        orphan_after=600.0,
    )
    kit = Kit(files={}, environment_key="e", code_key="c")
    text = " ".join(place.bridge_arguments(kit, start=True))
    assert "-- env PYTHONHASHSEED=7 python -P -m skygrid.worker" in text
    assert text.endswith("-m skygrid.worker --slots 2 --cache blobs --cache-max-gb 2.5")
    assert "blobs" not in " ".join(place.bridge_arguments(kit, start=False))
