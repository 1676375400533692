"""Places for nodes are found by name in the registry and known nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

import skygrid
from skygrid.config import RunConfig, load_config
from skygrid.errors import ConfigError
from skygrid.listener import SilentListener
from skygrid.nodes.interface import Place
from skygrid.nodes.registry import PLACES, place_named, rentals
from skygrid.reports.console import SafeConsole
from skygrid.reports.terminal.checked import check_view
from skygrid.run.commands import check_search, run_search
from skygrid.run.doctor import examine
from tests.acceptance.sameness import differences
from tests.processes import leaving_nothing

SOURCE = Path(skygrid.__file__).parent

SEARCH = """
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

estimator = DecisionTreeClassifier(random_state=0)
param_grid = {"max_depth": [1, 2, 3], "criterion": ["gini", "entropy"]}
dataset = load_iris()
cv = 4
"""

Configured = Callable[..., RunConfig]


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Configured:
    """Register a new place; return a function that makes configurations for it."""
    monkeypatch.setitem(PLACES, "toy", "tests.toy_place:PLACE")
    (tmp_path / "search.py").write_text(SEARCH)

    def configured(**options: object) -> RunConfig:
        said = {"on": "toy", "runs_dir": tmp_path / "runs", **options}
        return load_config(said, os.environ, cwd=tmp_path)

    return configured


def test_a_new_place_takes_one_module_and_one_line(toys: Configured, tmp_path: Path) -> None:
    """A search on a new place has scikit-learn's scores, from nodes of that place."""
    X, y = load_iris(return_X_y=True)
    grid = {"max_depth": [1, 2, 3], "criterion": ["gini", "entropy"]}
    expected = GridSearchCV(DecisionTreeClassifier(random_state=0), grid, cv=4).fit(X, y)

    with leaving_nothing():
        result = run_search(tmp_path / "search.py", toys(nodes=2), SilentListener())

    assert not differences(result.search.cv_results_, expected.cv_results_)
    assert {node.name for node in result.summary.nodes} == {"toy-0", "toy-1"}


def test_every_command_knows_a_new_place(toys: Configured, tmp_path: Path) -> None:
    """`check` and `doctor` describe a new place, and its own checks are applied."""
    found = check_search(tmp_path / "search.py", toys(dry_run=True), SilentListener())
    assert (found.on, found.nodes, found.slots) == ("toy", 3, 3)
    with (tmp_path / "out").open("w+") as out:
        SafeConsole(out).print(check_view(found))
        out.seek(0)
        assert "nothing: a box of toys" in out.read()

    assert [one.name for one in examine(toys())] == ["this machine", "toy-0", "toy-1", "toy-2"]

    with pytest.raises(ConfigError, match="--nodes is 4; the box has 3 toys"):
        skygrid.cluster(on="toy", nodes=4)
    with pytest.raises(ConfigError, match=r"min_nodes in .*own\.toml is 9, more than the 3 nodes"):
        skygrid.cluster(on="toy", config=_written(tmp_path, "min_nodes = 9"))


def _written(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", PLACES)
def test_every_place_is_complete(name: str) -> None:
    """Each place of the registry is complete without a network."""
    place: Place = place_named(name)
    assert place.title
    assert place.lease_seconds > 0
    config = RunConfig(on=name, nodes=2)
    assert place.nodes(config) == 2
    assert 1 <= place.min_nodes(config) <= 2


def test_only_markets_have_rented_nodes(tmp_path: Path) -> None:
    """Only AWS is a market, and a folder without its file has rented no nodes."""
    (market,) = rentals(RunConfig())
    assert market is place_named("aws").rental
    assert not market.has_rented(tmp_path)


def test_no_module_outside_nodes_compares_names_of_places() -> None:
    """Outside nodes/ no code compares with the name of a place."""
    asks = re.compile(rf"""([=!]= *|\bin *\()["']({"|".join(PLACES)})["']""")
    guilty = [
        f"{path.relative_to(SOURCE)}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE).parts[0] != "nodes"
        for line in path.read_text(encoding="utf-8").splitlines()
        if asks.search(line)
    ]
    assert not guilty
