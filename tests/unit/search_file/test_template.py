"""The files that skygrid hands out itself load, fit and say what the contract says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sklearn.model_selection import ParameterGrid

from skygrid.cli.template import write_template
from skygrid.errors import UsageError
from skygrid.search_file import load_search
from skygrid.search_file.names import KNOWN

DIGITS = Path(__file__).parents[3] / "guides" / "digits" / "search.py"


def test_template_runs_as_it_is(tmp_path: Path) -> None:
    """What `skygrid init` writes loads and fits without a change."""
    path = tmp_path / "mine.py"
    write_template(path)
    spec = load_search(path)
    search = spec.search.fit(spec.X, spec.y)
    assert spec.holdout is not None
    assert search.score(*spec.holdout) > 0.8
    assert "skygrid run mine.py" in path.read_text()


def test_template_shows_every_name(tmp_path: Path) -> None:
    """Every name of the contract stands in the template, assigned or commented out."""
    path = tmp_path / "search.py"
    write_template(path)
    shown = set(re.findall(r"^(?:# )?(\w+) = ", path.read_text(), flags=re.MULTILINE))
    assert shown >= KNOWN


def test_template_overwrites_nothing(tmp_path: Path) -> None:
    """A file that is there stays as it is."""
    path = tmp_path / "search.py"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_template(path)
    assert path.read_text() == "mine"
    with pytest.raises(UsageError, match="there is no folder"):
        write_template(tmp_path / "none" / "search.py")
    with pytest.raises(UsageError, match=r"ends in \.py"):
        write_template(tmp_path / "search.txt")


def test_digits_guide() -> None:
    """The guide's search has 21 candidates and five splits, and holds a fifth of the data out."""
    spec = load_search(DIGITS)
    assert len(ParameterGrid(spec.search.param_grid)) == 21
    assert spec.search.param_grid[1]["clf__learning_rate"] == [0.01, 0.1, 0.2]
    assert spec.search.param_grid[2]["clf__kernel"] == ["rbf", "poly"]
    assert spec.search.cv == 5
    assert spec.X.shape == (1437, 64)
    assert spec.holdout is not None
    assert spec.holdout[0].shape == (360, 64)


def test_digits_winner() -> None:
    """The guide's winning family reaches the scores that the guide promises."""
    spec = load_search(DIGITS)
    search = spec.search.set_params(param_grid=spec.search.param_grid[2]).fit(spec.X, spec.y)
    assert spec.holdout is not None
    assert search.best_params_["clf__C"] == 10
    assert search.best_params_["clf__kernel"] == "rbf"
    assert round(search.best_score_, 5) == 0.99165
    assert round(search.score(*spec.holdout), 5) == 0.98611
