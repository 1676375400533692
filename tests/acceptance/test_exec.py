"""``skygrid exec``: an existing script, its joblib calls and searches on nodes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Command, gone, skygrid, wait_for

SCRIPT = """
import json, os, sys, threading
import numpy as np
from joblib import Parallel, delayed, parallel_config
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from beside import double

FITS = __file__ + ".fits"


class Forest(RandomForestClassifier):
    def fit(self, X, y, sample_weight=None):
        with open(FITS, "a") as file:
            file.write(f"{os.getpid()}\\n")
        return super().fit(X, y, sample_weight)


def where(_):
    return os.getpid()


def places(**options):
    found = Parallel(**options)(delayed(where)(i) for i in range(4))
    return sorted({pid == os.getpid() for pid in found})


def main(path):
    X, y = load_iris(return_X_y=True)
    grid = {"max_depth": [2, 3]}
    searched = GridSearchCV(Forest(4, random_state=0), grid, n_jobs=-1).fit(X, y)
    forest = RandomForestClassifier(5, random_state=0, n_jobs=-1).fit(X, y)
    in_thread = []
    thread = threading.Thread(target=lambda: in_thread.append(places(n_jobs=-1)))
    thread.start()
    thread.join()
    with parallel_config("loky"):
        loky = places(n_jobs=2)
    answer = {
        "results": {
            name: np.asarray(column, str).tolist()
            for name, column in searched.cv_results_.items()
            if "time" not in name
        },
        "scores": cross_val_score(searched.best_estimator_, X, y, n_jobs=-1).tolist(),
        "doubled": Parallel(n_jobs=2)(delayed(double)(i) for i in range(3)),
        "forest": forest.feature_importances_.tolist(),
        "here": [places(), places(n_jobs=1), places(n_jobs=-1), in_thread, loky],
    }
    with open(path, "w") as file:
        json.dump(answer, file)
    print("written")


if __name__ == "__main__":
    main(sys.argv[1])
"""

SLOW = """
import os, sys, time
from pathlib import Path
from joblib import Parallel, delayed


def wait(number):
    (Path(__file__).parent / f"running-{number}").touch()
    time.sleep(600)


if sys.argv[1] == "os._exit":
    Parallel(n_jobs=-1)(delayed(abs)(i) for i in range(2))
    Path(__file__).with_name("running-0").touch()
    while not Path(__file__).with_name("go").exists():
        time.sleep(0.02)
    os._exit(9)
Parallel(n_jobs=-1)(delayed(wait)(i) for i in range(4))
"""


@pytest.mark.sklearn_versions
def test_a_script_needs_no_change(tmp_path: Path) -> None:
    """A script gives the same answer on nodes, where its loops and searches with n_jobs=-1 run."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "beside.py").write_text("def double(x):\n    return 2 * x\n")
    subprocess.run([sys.executable, "script.py", "alone.json"], cwd=tmp_path, check=True)
    (tmp_path / "script.py.fits").unlink()
    options = ["--on", "local", "--nodes", "2", "--concurrency", "1"]
    out, err = skygrid(tmp_path, "exec", *options, "script.py", "nodes.json")
    assert (out, err) == ("written\n", "")
    answers = (tmp_path / "alone.json", tmp_path / "nodes.json")
    alone, nodes = (json.loads(path.read_text()) for path in answers)
    assert alone.pop("here") == nodes.pop("here")
    assert alone == nodes
    pids = (tmp_path / "script.py.fits").read_text().split()
    assert len(set(pids)) > 1, "the search and the cross-validation ran on the nodes"


@pytest.mark.parametrize("way", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL", "os._exit"])
def test_nodes_end_however_the_script_ends(way: str, tmp_path: Path) -> None:
    """Agents and slots end with a script that a signal or `os._exit` ends while calls run."""
    (tmp_path / "slow.py").write_text(SLOW)
    command = Command(tmp_path, "exec", "--concurrency", "2", "slow.py", way)
    wait_for((tmp_path / "running-0").exists, "a call runs")
    family = command.family()
    assert len(family) >= 3, "an agent and two slots"
    if way == "os._exit":
        (tmp_path / "go").touch()
    else:
        command.signal(signal.Signals[way])
    code, _, err = command.end()
    codes = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGKILL": -9, "os._exit": 9}
    assert code == codes[way], err
    assert ("KeyboardInterrupt" in err) == (way == "SIGINT")
    wait_for(lambda: gone(family), "agents and slots end")


def test_what_a_user_may_mistype(tmp_path: Path) -> None:
    """Misplaced options, untrusted nodes and a missing file end in one line, without a node."""
    (tmp_path / "script.py").write_text("import sys\nprint(sys.argv[1:])\n")
    for arguments, words in {
        ("script.py", "--nodes", "3"): "skygrid exec --nodes ... script.py",
        ("--on", "ssh", "script.py"): "add --trust-nodes if you trust every node",
        ("missing.py",): "cannot open missing.py",
        (".",): "is a folder",
    }.items():
        _, err = skygrid(tmp_path, "exec", *arguments, expect=2)
        assert words in err
        assert err.count("\n") == 1
    out, err = skygrid(tmp_path, "exec", "script.py", "--", "--nodes", "3", "--", "-v")
    assert out == "['--nodes', '3', '--', '-v']\n"
    assert "give n_jobs=-1" in err


def test_a_search_file_with_a_main_is_a_script(tmp_path: Path) -> None:
    """`run` names `exec` where a file has a function main() and no search."""
    (tmp_path / "script.py").write_text("def main():\n    pass\n")
    _, err = skygrid(tmp_path, "run", "script.py", expect=2)
    assert "skygrid exec script.py" in err
