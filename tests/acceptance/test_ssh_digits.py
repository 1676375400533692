"""The guide's search on three hosts gives the same answer as on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import answer_of, result, skygrid
from tests.ssh_runs import Bench
from tests.sshd import SshBed, ssh_bed

__all__ = ["ssh_bed"]

GUIDE = Path(__file__).parents[2] / "guides" / "digits" / "search.py"
NODES = 3


@pytest.mark.digits
@pytest.mark.timeout(900)
def test_the_digits_search_on_three_hosts_equals_the_local_one(
    tmp_path: Path, ssh_bed: SshBed
) -> None:
    """Three fresh hosts of four slots give this machine's answer and the guide's numbers."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "search.py").write_text(GUIDE.read_text())
    skygrid(here, "run", "search.py", "--name", "r", seconds=600)
    bench = Bench(there, ssh_bed, GUIDE.read_text(), connect_timeout=30.0)
    bench.environment = 'packages = "auto"'
    for _ in range(NODES):
        bench.node(prepared=False)

    code, out, err = bench.start("--concurrency", "4", "--json").end(600)

    assert code == 0, err
    local, remote = result(here, "r"), json.loads(out)
    assert (local["candidates"], local["fits"]) == (21, 105)
    assert local["best_params"]["clf__C"] == 10
    assert local["best_params"]["clf__kernel"] == "rbf"
    assert local["best_score"] == pytest.approx(0.99165, abs=5e-6)
    assert local["holdout_score"] == pytest.approx(0.98611, abs=5e-6)
    assert min(local["cv_results"]["mean_test_score"]) == pytest.approx(0.8455, abs=5e-5)
    assert answer_of(remote) == answer_of(local)
    assert [node["name"] for node in remote["nodes"]] == ["node1", "node2", "node3"]
    assert all(node["cpu"] and node["host"] and node["versions"] for node in remote["nodes"])
    ssh_bed.wait_clean()
