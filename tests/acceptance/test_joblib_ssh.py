"""A program whose joblib calls run on a host over SSH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Command
from tests.ssh_runs import Bench
from tests.sshd import NODE_MARK, SshBed, ssh_bed

__all__ = ["ssh_bed"]

NEIGHBOUR = """
import numpy as np


class Centre:
    def __init__(self, of):
        self.of = float(np.mean(of))
"""

PROGRAM = f"""
import json
import os
import sys

import numpy as np
from beside import Centre
from joblib import Parallel, delayed
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skygrid
from skygrid.errors import UsageError

FACTOR = 2.0


class Mark:
    def __init__(self, where):
        self.where = where


def scaled(X):
    return FACTOR * np.asarray(X)


def visit(array, number):
    centre = Centre(array[number:])
    return Mark(os.environ.get({NODE_MARK!r}, "here")), centre, np.full(300_000, number)


def fail(number):
    raise KeyError(number)


X, y = load_iris(return_X_y=True)
big = np.arange(400_000.0)
with skygrid.cluster(on="ssh") as cluster:
    try:
        cluster.joblib().__enter__()
    except UsageError as error:
        refused = str(error)
    with cluster.joblib(trust_nodes=True):
        visits = Parallel()(delayed(visit)(big, i) for i in range(4))
        assert all(type(mark) is Mark and type(centre) is Centre for mark, centre, _ in visits)
        assert all((filled == i).all() for i, (_, _, filled) in enumerate(visits))
        pipe = make_pipeline(FunctionTransformer(scaled), RandomForestClassifier(5, random_state=0))
        fitted = cross_validate(pipe, X, y, return_estimator=True)
        assert all(one[0].func is scaled for one in fitted["estimator"])
        try:
            Parallel()(delayed(fail)(i) for i in range(2))
        except KeyError as error:
            cause = str(error.__cause__)
print(json.dumps([
    refused,
    [mark.where for mark, _, _ in visits],
    [centre.of for _, centre, _ in visits],
    fitted["test_score"].tolist(),
    cross_validate(pipe, X, y)["test_score"].tolist(),
    cause,
]))
"""


@pytest.mark.timeout(500)
def test_a_program_runs_its_calls_on_a_host(tmp_path: Path, ssh_bed: SshBed) -> None:
    """Classes and functions of the program are its own again when they come back from a host."""
    (tmp_path / "beside.py").write_text(NEIGHBOUR)
    (tmp_path / "program.py").write_text(PROGRAM)
    bench = Bench(tmp_path, ssh_bed, connect_timeout=30.0)
    bench.environment = 'packages = "auto"'
    node = bench.node()
    bench.write_config()
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, **ssh_bed.environment()},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused, where, centres, scores, alone, cause = json.loads(done.stdout)
    assert "trust_nodes=True" in refused
    assert set(where) == {node.id}
    assert centres == [(400_000 - 1 + i) / 2 for i in range(4)]
    assert scores == alone
    assert "in fail\n    raise KeyError(number)" in cause
    ssh_bed.wait_clean()


SCRIPT = f"""
import os
import sys

from joblib import Parallel, delayed
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

X, y = load_iris(return_X_y=True)


def where(number):
    return os.environ.get({NODE_MARK!r}, "here")


if __name__ == "__main__":
    search = GridSearchCV(SVC(), {{"C": [0.1, 1]}}, n_jobs=-1).fit(X, y)
    print(sys.argv[1:], *set(Parallel(n_jobs=-1)(delayed(where)(i) for i in range(4))), end=" ")
    print(search.best_score_, GridSearchCV(SVC(), {{"C": [0.1, 1]}}).fit(X, y).best_score_)
    sys.exit(5)
"""


@pytest.mark.timeout(500)
def test_a_script_runs_on_a_host(tmp_path: Path, ssh_bed: SshBed) -> None:
    """`skygrid exec` runs the loops and searches of a script on a host, and leaves nothing."""
    (tmp_path / "script.py").write_text(SCRIPT)
    bench = Bench(tmp_path, ssh_bed, connect_timeout=30.0)
    node = bench.node()
    bench.write_config()
    arguments = ("exec", "--trust-nodes", "script.py", "a", "-v")
    code, out, err = Command(tmp_path, *arguments, env=ssh_bed.environment()).end(400)
    assert code == 5, err
    said = out.split()
    assert said[:3] == ["['a',", "'-v']", node.id]
    assert said[3] == said[4]
    ssh_bed.wait_clean()
