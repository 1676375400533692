"""The template and the guide's search file load and fit."""

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
    """The template of `skygrid init` loads and fits unchanged."""
    path = tmp_path / "mine.py"
    write_template(path)
    spec = load_search(path)
    search = spec.search.fit(spec.X, spec.y)
    assert spec.holdout is not None
    assert search.score(*spec.holdout) > 0.8
    assert "skygrid run mine.py" in path.read_text()


def test_template_shows_every_name(tmp_path: Path) -> None:
    """Each known name is in the template, assigned or in a comment."""
    path = tmp_path / "search.py"
    write_template(path)
    shown = set(re.findall(r"^(?:# )?(\w+) = ", path.read_text(), flags=re.MULTILINE))
    assert shown >= KNOWN


def test_template_overwrites_nothing(tmp_path: Path) -> None:
    """An existing file is not changed."""
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
    """The guide's search has 21 candidates, five splits and a holdout of a fifth of the data."""
    spec = load_search(DIGITS)
    assert len(ParameterGrid(spec.search.param_grid)) == 21
    assert spec.search.param_grid[1]["clf__learning_rate"] == [0.01, 0.1, 0.2]
    assert spec.search.param_grid[2]["clf__kernel"] == ["rbf", "poly"]
    assert spec.search.cv == 5
    assert spec.X.shape == (1437, 64)
    assert spec.holdout is not None
    assert spec.holdout[0].shape == (360, 64)


def test_digits_winner() -> None:
    """The guide's winning family reaches the scores in the guide."""
    spec = load_search(DIGITS)
    search = spec.search.set_params(param_grid=spec.search.param_grid[2]).fit(spec.X, spec.y)
    assert spec.holdout is not None
    assert search.best_params_["clf__C"] == 10
    assert search.best_params_["clf__kernel"] == "rbf"
    assert round(search.best_score_, 5) == 0.99165
    assert round(search.score(*spec.holdout), 5) == 0.98611
