"""`skygrid.fit` with a run's folder, resume, and progress in terminals and notebooks."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

import skygrid as package
from skygrid.errors import FingerprintError, UsageError
from skygrid.reports.notebook_progress import progress_html
from skygrid.reports.progress_view import NodeView, ProgressView
from tests.command import GATED_SEARCH, recorded, result, skygrid, wait_for

X, Y = load_iris(return_X_y=True)

PROGRAM = """
import skygrid
from sklearn.model_selection import GridSearchCV
from search import dataset, estimator, param_grid

search = GridSearchCV(estimator, param_grid, cv=4)
found = skygrid.fit(
    search, *dataset, on="local", concurrency=2, name="mine", resume=True, progress=True
)
print(found is search, found.best_score_)
"""


def search(**options: Any) -> GridSearchCV:
    """Return an unfitted search with four fits."""
    return GridSearchCV(SVC(), {"C": [1, 10]}, cv=2, **options)


def test_a_killed_program_goes_on_where_it_was(tmp_path: Path) -> None:
    """After kill -9 the program, and only it, can go on: it fits what is not recorded."""
    (tmp_path / "search.py").write_text(GATED_SEARCH)
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py"]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_for(lambda: recorded(tmp_path, "mine") >= 1, "an outcome")
    first.kill()
    first.wait()
    before = recorded(tmp_path, "mine")
    _, err = skygrid(tmp_path, "resume", "mine", expect=2)
    assert "skygrid.fit(search, X, y, name='mine', resume=True)" in err
    out, _ = skygrid(tmp_path, "runs")
    assert "skygrid resume" not in out
    (tmp_path / "go").touch()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("True 0.")
    assert "40/40 fits" in again.stderr
    document = result(tmp_path, "mine")
    assert (document["state"], document["fits"], document["reused"]) == ("complete", 40, before)
    out, _ = skygrid(tmp_path, "show", "mine")
    assert "best of 10 candidates" in out


def test_a_run_of_a_program_has_the_folder_of_a_run(tmp_path: Path) -> None:
    """Files, results and state are those of the command line; the answer is scikit-learn's."""
    options: dict[str, Any] = {"name": "a", "runs_dir": tmp_path, "concurrency": 1}
    found = package.fit(search(), X, Y, **options)
    theirs = search().fit(X, Y)
    np.testing.assert_array_equal(
        found.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )
    run = package.load(tmp_path / "a")
    assert (run.state, run.search.best_score_) == ("complete", theirs.best_score_)
    assert {"run.json", "journal.sqlite", "search.pkl", "result.json", "cv_results.csv"} <= set(
        os.listdir(run.path)
    )
    with pytest.raises(UsageError, match="choose another name, or go on with it: resume=True"):
        package.fit(search(), X, Y, **options)
    with pytest.raises(FingerprintError, match="param_grid"):
        package.fit(GridSearchCV(SVC(), {"C": [3]}, cv=2), X, Y, **options, resume=True)
    with pytest.raises(UsageError, match="resume=True needs the name"):
        package.fit(search(), X, Y, resume=True)
    assert package.fit(search(), X, Y, **options, resume=True).best_score_ == theirs.best_score_


def test_another_search_leaves_a_run_as_it_was(tmp_path: Path) -> None:
    """Resuming a complete run with other data is refused, and the run stays complete."""
    options: dict[str, Any] = {"name": "a", "runs_dir": tmp_path, "concurrency": 1}
    package.fit(search(), X, Y, **options)
    kept = {name: (tmp_path / "a" / name).read_bytes() for name in ("run.json", "result.json")}

    with pytest.raises(FingerprintError, match="Different: X; y"):
        package.fit(search(), X[:100], Y[:100], **options, resume=True)

    assert {name: (tmp_path / "a" / name).read_bytes() for name in kept} == kept
    assert package.load(tmp_path / "a").state == "complete"


def test_errors_of_a_run_are_scikit_learns(tmp_path: Path) -> None:
    """A search that fails with a folder raises what ``search.fit`` raises, and keeps it."""
    failing = GridSearchCV(SVC(), {"kernel": ["no"]}, cv=2)
    with pytest.raises(ValueError, match="All the 2 fits failed") as ours:
        package.fit(failing, X, Y, name="a", runs_dir=tmp_path, concurrency=1)
    with pytest.raises(type(ours.value)):
        GridSearchCV(SVC(), {"kernel": ["no"]}, cv=2).fit(X, Y)
    run = package.load(tmp_path / "a")
    assert run.state == "failed"
    assert run.failures[0].count == 2


def test_a_terminal_shows_progress_and_a_pipe_nothing(tmp_path: Path) -> None:
    """Without `progress`, a terminal gets the live display and a pipe stays empty."""
    (tmp_path / "program.py").write_text(
        "import skygrid\n"
        "from sklearn.datasets import load_iris\n"
        "from sklearn.model_selection import GridSearchCV\n"
        "from sklearn.svm import SVC\n"
        "search = GridSearchCV(SVC(), {'C': [1, 10]}, cv=2)\n"
        "skygrid.fit(search, *load_iris(return_X_y=True), on='local', concurrency=1)\n"
    )
    ours, theirs = pty.openpty()
    command = [sys.executable, "program.py"]
    shown = subprocess.Popen(command, cwd=tmp_path, stderr=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the program has closed its end
            break
        if not part:
            break
        text += part
    os.close(ours)
    assert shown.wait() == 0
    assert b"4/4 fits" in text
    assert b"best 0." in text
    piped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (piped.stdout, piped.stderr) == ("", "")


CELLS = [
    """
import skygrid
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC
X, y = load_iris(return_X_y=True)
with skygrid.cluster(on="local", concurrency=1) as cluster:
    search = cluster.fit(GridSearchCV(SVC(), {"C": [1, 10]}, cv=2), X, y)
""",
    "skygrid.fit(GridSearchCV(SVC(), {'C': [1, 10]}, cv=2), X, y, name='nb', progress=True)",
    "skygrid.load('nb')",
    "skygrid.fit(GridSearchCV(SVC(), {'C': [1]}, cv=2), X, y, progress=False).best_score_",
]


def test_a_notebook_shows_progress_in_one_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a real kernel, each search has one HTML output that ends with all fits; so has a run."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in CELLS])
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=240, resources=resources).execute()
    html = [
        [one["data"]["text/html"] for one in cell.outputs if "text/html" in one.get("data", {})]
        for cell in notebook.cells
    ]
    assert len(html[0]) == 1
    for page in (html[0][0], html[1][0]):
        assert "4/4 fits" in page
        assert '<progress value="4" max="4">' in page
        assert "best 0." in page
    assert "complete" in html[2][0]
    assert not html[3]
    streams = [one for cell in notebook.cells for one in cell.outputs if "name" in one]
    assert not streams, streams


def test_hostile_text_in_a_notebook_is_text() -> None:
    """Names of nodes, parameters and messages are escaped."""
    bad = "<script>x</script>"
    view = ProgressView(
        phase=bad, elapsed=1.0, round=0, done=1, total=2, reused=0, failed=0, retries=0,
        answered=0, rate=None, seconds_left=None, best_score=0.5, best_params={bad: bad},
        nodes=(NodeView(name=bad, state=bad, busy=0, slots=1, fits=1),),
    )  # fmt: skip
    page = progress_html(view, [bad])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 6
