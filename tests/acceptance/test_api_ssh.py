"""Searches from Python on hosts over SSH, without a search file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ssh_runs import Bench
from tests.sshd import NODE_MARK, SshBed, ssh_bed

__all__ = ["ssh_bed"]

NEIGHBOUR = f'''
"""Lies beside the program, and on no node."""
import os
from pathlib import Path

from packaging.version import Version
from sklearn.tree import DecisionTreeClassifier

LEDGER = Path(__file__).with_name("ledger.txt")


class Telling(DecisionTreeClassifier):
    """Says on which node it is fitted."""

    def fit(self, X, y):
        assert Version("1.10") > Version("1.9")
        with LEDGER.open("a") as ledger:
            ledger.write(os.environ.get("{NODE_MARK}", "here") + "\\n")
        return super().fit(X, y)
'''

PROGRAM = """
import json
import sys

from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

import skygrid
from beside import Telling


def accuracy(estimator, X, y):
    return float((estimator.predict(X) == y).mean())


def searches():
    tree = Telling(random_state=0)
    yield GridSearchCV(tree, {"max_depth": [1, 2, 3]}, cv=3, scoring=accuracy, refit=False)
    yield GridSearchCV(tree, {"min_samples_leaf": [1, 20]}, cv=3, scoring=accuracy, refit=False)


X, y = load_iris(return_X_y=True)
if "alone" in sys.argv:
    fitted = [search.fit(X, y) for search in searches()]
else:
    with skygrid.cluster(on="ssh") as cluster:
        fitted = [cluster.fit(search, X, y) for search in searches()]
print(json.dumps([search.cv_results_["mean_test_score"].tolist() for search in fitted]))
"""


def run(bench: Bench, *arguments: str) -> tuple[int, str, str]:
    """Run the program and return exit code, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "program.py", *arguments],
        cwd=bench.folder,
        env={**os.environ, **bench.bed.environment()},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def bench(tmp_path: Path, ssh_bed: SshBed) -> Bench:
    """Set up a program with a module beside it, and no node."""
    # Hosts get their own copy of the module, so its ledger is found by an absolute path.
    neighbour = tmp_path / "beside.py"
    neighbour.write_text(NEIGHBOUR.replace("__file__", repr(str(neighbour))))
    (tmp_path / "program.py").write_text(PROGRAM)
    bench = Bench(tmp_path, ssh_bed, connect_timeout=30.0)
    bench.environment = 'packages = "auto"'
    return bench


@pytest.mark.timeout(500)
def test_a_program_fits_searches_on_hosts(bench: Bench) -> None:
    """Two searches of a program run on two hosts only and score as without skygrid."""
    nodes = [bench.node(), bench.node()]
    bench.write_config()
    code, out, err = run(bench)
    assert code == 0, err
    ledger = (bench.folder / "ledger.txt").read_text().split()
    assert len(ledger) == 15
    assert set(ledger) <= {node.id for node in nodes}
    bench.bed.wait_clean()

    code, alone, err = run(bench, "alone")
    assert code == 0, err
    assert json.loads(out) == json.loads(alone)


def test_a_config_without_hosts_is_refused(bench: Bench) -> None:
    """A config without hosts ends the program with a message that names the setting."""
    bench.write_config()
    code, _, err = run(bench)
    assert code == 1
    last: Any = err.strip().splitlines()[-1]
    assert "ConfigError" in last
    assert "hosts" in last
