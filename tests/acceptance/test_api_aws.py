"""Searches from Python on rented nodes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

import skygrid
from skygrid.errors import ConfigError
from tests.cloud.client import Cloud, cloud, cloud_server

__all__ = ["cloud", "cloud_server"]

pytestmark = pytest.mark.cloud

CONFIG = """
[aws]
launch_timeout = 60.0
[environment]
packages = ["scikit-learn"]
"""


@pytest.fixture
def aws(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Set up the cloud as AWS for this process, in a folder of the test."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "SKYGRID_"))]:
        monkeypatch.delenv(name)
    for name, text in cloud.variables().items():
        monkeypatch.setenv(name, text)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "skygrid.toml").write_text(CONFIG)
    return cloud


def test_several_searches_on_the_same_rented_nodes(
    aws: Cloud, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A cluster on AWS prints its price, fits like scikit-learn and leaves nothing behind."""
    X, y = load_iris(return_X_y=True)
    with skygrid.cluster(nodes=2, concurrency=1, on="aws") as cluster:
        assert not aws.calls["ec2:RunInstances"], "no fit was requested yet"
        for grid in ({"C": [0.1, 1, 10]}, {"gamma": [0.01, 0.1]}):
            ours = cluster.fit(GridSearchCV(SVC(), grid, cv=3), X, y)
            theirs = GridSearchCV(SVC(), grid, cv=3).fit(X, y)
            np.testing.assert_array_equal(
                ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
            )
    said = capfd.readouterr().err
    assert "an hour" in said
    assert "0 nodes left, verified" in said
    assert aws.calls["ec2:RunInstances"] == 2
    assert not list((tmp_path / "skygrid-runs").iterdir())
    aws.check_nothing_left()


def test_a_budget_that_is_too_small_rents_nothing(aws: Cloud) -> None:
    """A budget below the cost of start and teardown is refused."""
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ConfigError, match="before the first fit"):
        skygrid.fit(GridSearchCV(SVC(), {"C": [1]}), X, y, nodes=2, on="aws", max_cost=0.001)
    assert not aws.calls["ec2:RunInstances"]
