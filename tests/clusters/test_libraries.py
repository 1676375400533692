"""Ray and Dask that are started for a run, and clusters that cannot be used."""

from __future__ import annotations

import os
import re
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.beds import RayBed, agents
from tests.command import answer_of, result, skygrid, wait_for
from tests.processes import leaving_nothing

pytestmark = [pytest.mark.clusters, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
LONG = 600.0
SEARCH = """
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

estimator = DecisionTreeClassifier(random_state=0)
param_grid = {"max_depth": [1, 2, 3]}
dataset = load_iris()
cv = 4
"""


@pytest.mark.parametrize("place", ["ray", "dask"])
def test_the_command_of_the_guide_gives_the_local_answer(place: str, tmp_path: Path) -> None:
    """The digits search on a Ray or Dask of this machine has the local answer; nothing stays."""
    guide = (ROOT / "guides" / f"{place}.md").read_text()
    (line,) = re.findall(rf"^    skygrid (run search.py --on {place} .*)$", guide, re.MULTILINE)
    (tmp_path / "search.py").write_text((ROOT / "guides/digits/search.py").read_text())
    home = set(Path.home().iterdir())
    with leaving_nothing():
        _, err = skygrid(tmp_path, *shlex.split(line), "--name", place, seconds=LONG)
    skygrid(tmp_path, "run", "search.py", "--name", "here", seconds=LONG)
    assert answer_of(result(tmp_path, place)) == answer_of(result(tmp_path, "here"))
    assert {node["name"] for node in result(tmp_path, place)["nodes"]} == {
        f"{place}-1",
        f"{place}-2",
    }
    assert "Traceback" not in err
    assert "ray::" not in err
    assert not set(Path.home().iterdir()) - home


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('on = "ray"\n[ray]\naddress = "127.0.0.1:9"', "no Ray cluster answers at 127.0.0.1:9"),
        ('on = "ray"\n[ray]\naddress = "ray://127.0.0.1:9"', "no Ray cluster answers at ray://"),
        ('on = "dask"\n[dask]\naddress = "tcp://127.0.0.1:9"', "no Dask scheduler answers at tcp:"),
        ('on = "dask"\n[dask]\nscheduler_file = "none.json"', "none.json"),
    ],
)
def test_a_cluster_out_of_reach_is_exit_3(tmp_path: Path, config: str, message: str) -> None:
    """An address without a cluster is one message with the key to check; nothing stays."""
    (tmp_path / "search.py").write_text(SEARCH)
    (tmp_path / "own.toml").write_text(config + "\n")
    with leaving_nothing():
        _, err = skygrid(
            tmp_path, "run", "search.py", "--config", "own.toml", expect=3, seconds=LONG
        )
        assert message in err
        assert "Traceback" not in err
        out, _ = skygrid(tmp_path, "doctor", "--config", "own.toml", expect=3, seconds=LONG)
        # The doctor breaks lines, also inside words.
        assert "".join(message.split()) in "".join(out.split())


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayBed]:
    """Return a Ray cluster with one machine of four CPUs."""
    os.environ["SKYGRID_TEST_BED"] = uuid.uuid4().hex
    bed = RayBed(tmp_path_factory.mktemp("bed"))
    yield bed
    bed.close()
    del os.environ["SKYGRID_TEST_BED"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", "a node asks for 64 CPU and the largest machine of the Ray cluster has 4"),
        ("resources = { unicorn = 1 }", "asks for"),
    ],
)
def test_a_request_that_ray_can_never_grant_is_exit_3(
    bed: RayBed, tmp_path: Path, keys: str, message: str
) -> None:
    """Too many CPUs are one message with the remedy, and nothing stays queued."""
    (tmp_path / "search.py").write_text(SEARCH)
    (tmp_path / "own.toml").write_text(f"concurrency = 64\n{bed.config}{keys}\n")
    _, err = skygrid(tmp_path, "run", "search.py", "--config", "own.toml", expect=3, seconds=LONG)
    assert message in err
    assert "set autoscaling = true" in err
    assert not agents()
    wait_for(lambda: not bed.left(), "nothing to be left", LONG)


def test_a_run_without_nodes_uses_every_machine(bed: RayBed, tmp_path: Path) -> None:
    """Without `nodes`, each machine of the cluster is a node with all its CPUs."""
    (tmp_path / "search.py").write_text(SEARCH)
    (tmp_path / "own.toml").write_text(bed.config)
    skygrid(tmp_path, "run", "search.py", "--config", "own.toml", "--name", "r", seconds=LONG)
    (node,) = result(tmp_path, "r")["nodes"]
    assert node["slots"] == 4
