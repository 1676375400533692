"""`skygrid.load`: a run's folder as an object of Python."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import skygrid as package
from skygrid.errors import UsageError
from skygrid.reports.frames import data_frame
from tests.command import GATED_SEARCH, Command, recorded, skygrid, wait_for

HOSTILE = "<script>alert(1)</script>"

SEARCH = f"""
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier

dataset = load_iris(return_X_y=True)
estimator = MLPClassifier(max_iter=3, random_state=0)
param_grid = [
    {{"hidden_layer_sizes": [(3,), (3, 2)], "alpha": [1e-4]}},
    {{"activation": ["{HOSTILE}"], "early_stopping": [True]}},
]
cv = 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder with a complete run, `tuples`, as the working directory."""
    folder = tmp_path_factory.mktemp("load")
    (folder / "search.py").write_text(SEARCH)
    skygrid(folder, "run", "search.py", "--name", "tuples", "--concurrency", "1")
    with contextlib.chdir(folder):
        yield folder


@pytest.mark.parametrize(
    "given", ["tuples", "tup", "skygrid-runs/tuples", Path("skygrid-runs/tuples")]
)
def test_a_run_is_found_as_on_the_command_line(folder: Path, given: Any) -> None:
    """`load` takes a name, a unique beginning of it, or the folder."""
    assert package.load(given).name == "tuples"


def test_an_unknown_run_is_the_commands_error(folder: Path) -> None:
    """A misspelt run is answered with the one that was meant."""
    with pytest.raises(UsageError, match="did you mean tuples"):
        package.load("tupels")


def test_the_table_has_the_searchs_own_numbers_and_parameters(folder: Path) -> None:
    """`results` is ``cv_results_`` with tuples as tuples, types kept, NaN for what is missing."""
    run = package.load("tuples")
    search, frame = run.search, run.results
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == [name for name in search.cv_results_ if name != "params"]
    for name, column in search.cv_results_.items():
        if name.startswith(("mean", "std", "split", "rank")):
            assert frame[name].dtype == column.dtype, name
            np.testing.assert_array_equal(frame[name], column)
    assert list(frame["param_hidden_layer_sizes"][:2]) == [(3,), (3, 2)]
    assert np.isnan(frame["param_hidden_layer_sizes"][2])
    assert run.summary.best_score == search.best_score_


def test_failures_and_html_are_at_hand(folder: Path) -> None:
    """A run in a notebook shows its best candidates and its failures, hostile text as text."""
    run = package.load("tuples")
    (failure,) = run.failures
    assert failure.count == 2
    html = run._repr_html_()
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html
    assert f"{run.summary.best_score:.5f}" in html
    assert "complete" in repr(run)


def test_the_report_is_written_from_python(folder: Path, tmp_path: Path) -> None:
    """`report` writes the page of ``skygrid report``, in the run's folder or elsewhere."""
    run = package.load("tuples")
    assert run.report().samefile(run.path / "report.html")
    elsewhere = run.report(tmp_path / "page.html")
    assert "<title>" in elsewhere.read_text()


def test_polars_answers_without_pandas(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pandas the table is one of polars, with the same numbers."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    run = package.load("tuples")
    frame = run.results
    assert isinstance(frame, pl.DataFrame)
    assert frame["rank_test_score"].dtype == pl.Int32
    assert frame["param_hidden_layer_sizes"].to_list() == ["(3,)", "(3, 2)", None]
    assert frame["param_early_stopping"].to_list() == [None, None, True]
    assert frame["mean_test_score"].to_list()[:2] == list(
        run.search.cv_results_["mean_test_score"][:2]
    )


def test_without_a_library_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pandas and polars the message has the command that installs one."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(UsageError, match=r"pip install 'skygrid\[pandas\]'"):
        data_frame({})


def test_a_run_in_progress_and_an_interrupted_one_have_what_is_recorded(tmp_path: Path) -> None:
    """A partial run has its recorded fits; its search is a message with the next step."""
    (tmp_path / "search.py").write_text(GATED_SEARCH)
    command = Command(tmp_path, "run", "search.py", "--name", "part", "--concurrency", "2")
    wait_for(lambda: recorded(tmp_path, "part") >= 1, "an outcome")
    run = package.load("part", runs_dir=tmp_path / "skygrid-runs")
    assert run.state == "running"
    assert len(run.results) == 10
    with pytest.raises(UsageError, match="it still runs"):
        _ = run.search
    command.signal(signal.SIGINT)
    (tmp_path / "go").touch()
    command.end()
    frame = run.results
    assert frame["splits_scored"].sum() == recorded(tmp_path, "part")
    assert list(frame["param_shift"]) == [round(0.1 * i, 1) for i in range(-5, 5)]
    assert frame["mean_test_score"].notna().sum() == (frame["splits_scored"] > 0).sum()
    assert run.summary.fits == recorded(tmp_path, "part")
    assert "interrupted" in run._repr_html_()
    with pytest.raises(UsageError, match=r"it was interrupted\. Go on with: skygrid resume"):
        _ = run.search


def test_a_folder_of_someone_else_is_opened_after_a_word(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of a copied folder is read as data; its pickle needs trust=True."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    run = package.load("tuples")
    assert len(run.results) == 3
    with pytest.raises(UsageError, match=r"search\.pkl of run tuples can run code"):
        _ = run.search
    assert package.load("tuples", trust=True).search.best_score_ == run.summary.best_score
