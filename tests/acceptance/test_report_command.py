"""The report of a run, as a user gets it."""

from __future__ import annotations

from pathlib import Path

from tests.command import Command, skygrid

SEARCH = """
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

estimator = DecisionTreeClassifier(random_state=0)
param_grid = {"max_depth": [1, 2, 3]}
dataset = load_iris(return_X_y=True)
cv = 3
"""


def test_a_run_writes_its_report_and_outlives_its_failure(tmp_path):
    """Each run has report.html; where it cannot be written, one line says so and the exit code
    stays."""
    (tmp_path / "search.py").write_text(SEARCH)
    skygrid(tmp_path, "run", "search.py", "--name", "one")
    page = tmp_path / "skygrid-runs" / "one" / "report.html"
    text = page.read_text()
    assert "Best mean accuracy" in text
    assert '<iframe class="diagram"' in text
    assert "ndarray, 150 x 4, float64" in text

    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > opened.txt\n')
    browser.chmod(0o755)
    opening = Command(
        tmp_path, "report", "one", "--output", "x.html", "--open", env={"BROWSER": str(browser)}
    )
    code, out, err = opening.end()
    assert (code, out) == (0, "x.html\n"), err
    assert (tmp_path / "opened.txt").read_text() == (tmp_path / "x.html").as_uri() + "\n"

    page.unlink()
    page.mkdir()  # nothing can take its place
    _, err = skygrid(tmp_path, "resume", "one")
    (line,) = [line for line in err.splitlines() if "report" in line]
    where = Path("skygrid-runs/one/report.html")
    assert line == f"no report.html: cannot write {where}: Is a directory. Choose another --output"
