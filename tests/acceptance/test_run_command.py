"""Files, streams and exit codes of ``skygrid run`` and related commands."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from skygrid.worker.machine import machine
from tests.command import SLOW_SEARCH, recorded, result, skygrid

SMALL_SEARCH = """
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from shapes import Widened

estimator = make_pipeline(Widened(), StandardScaler(), SVC())
param_grid = {"svc__C": [0.1, 1, 10], "svc__kernel": ["rbf", "linear"]}
dataset = load_iris()
X, y = load_iris(return_X_y=True)
holdout = (X[::7], y[::7])
print("a print in the search file")
"""

NEIGHBOUR = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

def doubled(X):
    return np.hstack([X, X ** 2])

class Widened(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self
    def transform(self, X):
        return doubled(X)
"""

OPEN_WITHOUT_SKYGRID = """
import pickle, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("skygrid", "search", "shapes"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
from sklearn.datasets import load_iris
search = pickle.load(open(sys.argv[1], "rb"))
X, y = load_iris(return_X_y=True)
print(type(search).__module__, type(search).__qualname__)
print(search.score(X[::7], y[::7]))
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Write a search file and a module beside it."""
    (tmp_path / "search.py").write_text(SMALL_SEARCH)
    (tmp_path / "shapes.py").write_text(NEIGHBOUR)
    return tmp_path


def _reference(folder: Path) -> Any:
    """Return the scores of a folder's search, fitted by scikit-learn in a separate process."""
    code = (
        "import sys, json, warnings; warnings.simplefilter('ignore')\n"
        "from threadpoolctl import threadpool_limits\n"
        "from pathlib import Path\n"
        "from skygrid.search_file import load_search\n"
        "s = load_search(Path('search.py'))\n"
        "with threadpool_limits(1): s.search.fit(s.X, s.y, **s.fit_params)\n"
        "print(json.dumps({k: v.tolist() for k, v in s.search.cv_results_.items()\n"
        "                  if 'test' in k}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _scores(document: Any) -> dict[str, Any]:
    return {name: column for name, column in document["cv_results"].items() if "test" in name}


def test_a_run_fills_its_folder_and_prints_a_table(small: Path) -> None:
    """A run leaves every file of the contract and has scikit-learn's scores."""
    out, err = skygrid(small, "run", "search.py", "--name", "first")
    folder = small / "skygrid-runs" / "first"
    expected = {"run.json", "journal.sqlite", "search.pkl", "cv_results.csv", "result.json", "logs"}
    assert expected <= {path.name for path in folder.iterdir()}
    assert "svc__C" in out
    assert "a print in the search file" not in out
    assert "a print in the search file" in err
    assert _scores(result(small, "first")) == _reference(small)
    rows = list(csv.DictReader((folder / "cv_results.csv").open()))
    assert len(rows) == 6
    assert json.loads((folder / "run.json").read_text())["state"] == "complete"
    assert (folder / "logs" / "local-1.log").exists()


def test_the_saved_search_opens_without_skygrid_and_without_the_file(small: Path) -> None:
    """``search.pkl`` opens without skygrid, as scikit-learn's class with the user's code."""
    skygrid(small, "run", "search.py", "--name", "saved")
    pickled = small / "skygrid-runs" / "saved" / "search.pkl"
    done = subprocess.run(
        [sys.executable, "-c", OPEN_WITHOUT_SKYGRID, str(pickled)],
        cwd=small.parent,
        check=True,
        capture_output=True,
        text=True,
    )
    kind, score = done.stdout.splitlines()
    assert kind == "sklearn.model_selection._search GridSearchCV"
    assert float(score) == result(small, "saved")["holdout_score"]


def test_json_is_one_document_on_stdout(small: Path) -> None:
    """With --json stdout is the document of result.json, even if the search file prints."""
    out, _ = skygrid(small, "run", "search.py", "--json", "--name", "j")
    assert json.loads(out) == result(small, "j")
    assert {node["name"] for node in json.loads(out)["nodes"]} == {"local-1"}
    assert json.loads(out)["nodes"][0]["cpu"]


def test_prints_of_a_refit_stay_off_stdout(tmp_path: Path) -> None:
    """Prints of an estimator appear neither in messages of a node nor in the JSON document."""
    text = SLOW_SEARCH.replace("time.sleep(self.seconds)", "print('fitting', len(X))")
    (tmp_path / "search.py").write_text(text)
    out, err = skygrid(tmp_path, "run", "search.py", "--json", "--name", "p")
    assert json.loads(out)["fits"] == 40
    assert "fitting 60" in err
    assert "fitting 45" in (tmp_path / "skygrid-runs" / "p" / "logs" / "local-1.log").read_text()


def test_quiet_prints_only_the_result(small: Path) -> None:
    """With --quiet stderr has no progress."""
    _, err = skygrid(small, "run", "search.py", "--quiet")
    assert "fits" not in err


def test_a_rehearsed_cluster_gives_the_same_scores(small: Path) -> None:
    """Three agents of four slots on this machine give the scores of one agent."""
    skygrid(small, "run", "search.py", "--name", "one")
    skygrid(
        small, "run", "search.py", "--on", "local", "--nodes", "3", "--concurrency", "4",
        "--name", "three",
    )  # fmt: skip
    assert _scores(result(small, "one")) == _scores(result(small, "three"))


def test_check_counts_and_tries_one_fit(small: Path) -> None:
    """`check` prints candidates, splits, fits and the time of one, and leaves no run behind."""
    out, _ = skygrid(small, "check", "search.py", "--json")
    found = json.loads(out)
    assert (found["candidates"], found["splits"], found["fits"]) == (6, 5, 30)
    assert found["seconds_per_fit"] > 0
    assert not (small / "skygrid-runs").exists()


def test_check_takes_train_scores(tmp_path: Path) -> None:
    """`check` fits its candidate also where the search asks for train scores."""
    (tmp_path / "search.py").write_text(SLOW_SEARCH + "\nreturn_train_score = True\n")
    out, _ = skygrid(tmp_path, "check", "search", "--json")
    assert json.loads(out)["sample_score"] is not None


def test_a_check_whose_fit_fails_exits_1(tmp_path: Path) -> None:
    """`check` prints the plan and the error, and exits with 1; -v shows the traceback."""
    (tmp_path / "search.py").write_text(
        SLOW_SEARCH.replace("time.sleep(self.seconds)", "raise ValueError('no luck today')")
    )
    out, err = skygrid(tmp_path, "check", "search.py", expect=1)
    assert "10 candidates x 4 splits = 40 fits" in out
    assert "ValueError: no luck today\n" in out
    assert "error: the sample fit failed: ValueError: no luck today" in err
    assert "Traceback" not in out


def test_a_dry_run_fits_nothing(tmp_path: Path) -> None:
    """--dry-run prints the plan and runs no fit."""
    (tmp_path / "search.py").write_text(SLOW_SEARCH)
    out, _ = skygrid(tmp_path, "run", "search.py", "--dry-run", "--json")
    assert json.loads(out)["fits"] == 40
    assert not (tmp_path / "ledger.txt").exists()


def test_the_written_template_runs_as_it_is(tmp_path: Path) -> None:
    """The file that `init` writes runs without changes."""
    skygrid(tmp_path, "init")
    skygrid(tmp_path, "run", "search.py", "--name", "template")
    assert result(tmp_path, "template")["failed"] == 0


@pytest.mark.parametrize("template", ["tabular", "text", "halving", "custom"])
def test_each_template_runs_as_it_is(tmp_path: Path, template: str) -> None:
    """A template runs without changes, failures and advice of `check`."""
    skygrid(tmp_path, "init", "--template", template)
    found = json.loads(skygrid(tmp_path, "check", "search", "--json")[0])
    assert (found["notes"], found["sample_error"]) == ([], None)
    skygrid(tmp_path, "run", "search.py", "--name", "t")
    assert result(tmp_path, "t")["failed"] == 0
    assert result(tmp_path, "t")["best_score"] is not None


def test_runs_show_and_logs_describe_a_run(small: Path) -> None:
    """`runs` lists a run, `show` prints its result without unpickling, `logs` prints its logs."""
    skygrid(small, "run", "search.py", "--name", "told")
    (small / "skygrid-runs" / "told" / "search.pkl").unlink()
    assert "told" in skygrid(small, "runs")[0]
    assert "svc__C" in skygrid(small, "show", "told")[0]
    skygrid(small, "logs", "told", "--node", "local-1")
    log = skygrid(small, "logs", "told", "--node", "driver")[0]
    assert "session of told on local" in log
    assert "round 0 took" in log
    assert "local-1: " in log


def test_a_name_that_is_taken_is_refused(small: Path) -> None:
    """A second run of the same name exits with 2 and prints the resume command."""
    skygrid(small, "run", "search.py", "--name", "twice")
    _, err = skygrid(small, "run", "search.py", "--name", "twice", expect=2)
    assert "skygrid resume twice" in err


@pytest.mark.parametrize("place", ["ssh", "ray", "dask"])
def test_places_that_cannot_be_used_are_refused_by_name(small: Path, place: str) -> None:
    """An unavailable place is refused by name, exit 2, and replaced by no other."""
    _, err = skygrid(small, "run", "search.py", "--on", place, expect=2)
    assert place in err


def test_all_fits_failing_exits_1_with_their_error(tmp_path: Path) -> None:
    """A search whose fits all fail exits with 1, the reason first."""
    (tmp_path / "search.py").write_text(
        SLOW_SEARCH.replace("time.sleep(self.seconds)", "raise ValueError('no luck today')")
    )
    _, err = skygrid(tmp_path, "run", "search.py", "--name", "bad", expect=1)
    assert "error: all 40 fits failed: ValueError: no luck today\n" in err
    assert err.endswith("The traceback: skygrid show bad -v\n")
    assert "Traceback" not in err
    assert "Traceback" not in skygrid(tmp_path, "show", "bad")[0]
    shown = skygrid(tmp_path, "show", "bad", "-v")[0]
    assert "ValueError: no luck today" in shown
    assert "Traceback (most recent call last):" in shown
    own = Path(machine.__file__).parents[1]
    assert f"{own}/" not in err.replace(f"{own}/worker", "")


def test_a_failing_refit_keeps_the_results_of_all_fits(tmp_path: Path) -> None:
    """A refit that raises exits with 1, and the results of the fits are saved and named."""
    text = SLOW_SEARCH.replace("time.sleep(self.seconds)", "assert len(X) < 60, 'no refit'")
    (tmp_path / "search.py").write_text(text)
    _, err = skygrid(tmp_path, "run", "search.py", "--name", "r", expect=1)
    folder = tmp_path / "skygrid-runs/r"
    assert "error: the refit failed: AssertionError: no refit\n" in err
    assert err.endswith("are in skygrid-runs/r: cv_results.csv, result.json\n")
    assert len((folder / "cv_results.csv").read_text().splitlines()) == 11
    assert result(tmp_path, "r")["best_index"] is not None
    assert result(tmp_path, "r")["refitted"] is False
    assert not (folder / "search.pkl").exists()
    shown = skygrid(tmp_path, "show", "r")[0]
    assert "resume" not in shown
    assert "best of 10 candidates" in shown


def test_error_score_raise_exits_1_with_the_fits_error(tmp_path: Path) -> None:
    """With error_score="raise" the first failing fit ends the search with exit 1."""
    text = SLOW_SEARCH.replace("time.sleep(self.seconds)", "if self.shift > 0: 1 / 0")
    (tmp_path / "search.py").write_text(text + '\nerror_score = "raise"\n')
    _, err = skygrid(tmp_path, "run", "search.py", expect=1)
    assert "ZeroDivisionError: division by zero" in err


@pytest.mark.parametrize("when", ["len(X) < 60", "len(X) == 60"], ids=["fit", "refit"])
def test_system_exit_in_a_fit_or_the_refit_exits_1(tmp_path: Path, when: str) -> None:
    """SystemExit in a fit or the refit fails the search with exit 1."""
    text = SLOW_SEARCH.replace("time.sleep(self.seconds)", f"if {when}: raise SystemExit(0)")
    (tmp_path / "search.py").write_text(text)
    _, err = skygrid(tmp_path, "run", "search.py", "--name", "ended", expect=1)
    assert re.search("error: (the refit failed: )?SystemExit: 0\n", err)
    assert json.loads((tmp_path / "skygrid-runs/ended/run.json").read_text())["state"] == "failed"


def test_a_lock_in_the_search_file_is_refused_with_its_path(tmp_path: Path) -> None:
    """An object that cannot be sent to nodes exits with 2 and leaves no run behind."""
    text = SLOW_SEARCH.replace("self.shift = shift", "self.shift, self.lock = shift, Lock()")
    (tmp_path / "search.py").write_text("from threading import Lock\n" + text)
    _, err = skygrid(tmp_path, "run", "search.py", expect=2)
    assert "estimator.lock is a lock (_thread.lock), which cannot be sent to nodes" in err
    assert not (tmp_path / "skygrid-runs").exists()


def test_some_fits_failing_is_a_result(tmp_path: Path) -> None:
    """Failed fits are counted, and the search completes as in scikit-learn."""
    text = SLOW_SEARCH.replace("time.sleep(self.seconds)", "if self.shift > 0: 1 / 0")
    (tmp_path / "search.py").write_text(text)
    out, err = skygrid(tmp_path, "run", "search.py", "--name", "some")
    (failure,) = result(tmp_path, "some")["failures"]
    assert result(tmp_path, "some")["failed"] == failure["count"] == 16
    assert "ZeroDivisionError: division by zero\n    16 fits: 4 candidates (shift=0.1, ...)" in out
    assert "Traceback" not in err


def test_the_hour_limit_stops_and_resume_goes_on(tmp_path: Path) -> None:
    """--max-hours exits with 4 and keeps all outcomes, and resume fits only the rest."""
    (tmp_path / "search.py").write_text(SLOW_SEARCH.replace("seconds=0.1", "seconds=0.3"))
    # One slot, because many slots would finish before the limit.
    _, err = skygrid(
        tmp_path, "run", "search.py", "--name", "late", "--max-hours", "0.0012",
        "--concurrency", "1", expect=4,
    )  # fmt: skip
    assert "skygrid resume late" in err
    before = recorded(tmp_path, "late")
    assert before < 40
    skygrid(tmp_path, "resume", "late", "--max-hours", "1", "--concurrency", "4")
    assert result(tmp_path, "late")["reused"] == before
    assert _scores(result(tmp_path, "late")) == _reference(tmp_path)


def test_a_terminal_of_80_columns_shows_a_live_display(tmp_path: Path) -> None:
    """On a terminal the display is redrawn in place and has at most 80 columns."""
    (tmp_path / "search.py").write_text(SLOW_SEARCH)
    terminal, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "skygrid", "run", "search.py"],
        cwd=tmp_path,
        stdin=screen,
        stdout=subprocess.PIPE,
        stderr=screen,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
    )
    os.close(screen)
    shown = b"".join(iter(lambda: _read(terminal), b"")).decode()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert b"best of 10 candidates" in out
    assert re.search("\x1b\\[[0-9]*A", shown), "lines are redrawn in place"
    plain = re.sub("\x1b\\[[?0-9;]*[a-zA-Z]", "", shown)
    assert max(len(line) for line in re.split("[\r\n]+", plain)) <= 80
    assert "local-1" in plain
    assert "/40 fits" in plain
    assert "best 0." in plain


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux reports the closed other end this way
        return b""
