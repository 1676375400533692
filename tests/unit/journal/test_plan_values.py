"""The content of a recorded plan as data."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import f_classif
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skygrid.journal.plan_values import StandIn, plan_values
from skygrid.journal.plans import pack
from skygrid.plan.records import RoundPlan

SPLITS = [(np.arange(20), np.arange(20, 30)), (np.arange(30) > 9, np.arange(30) <= 9)]


class Touch:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def read(candidates, splits=SPLITS):
    pickled, _ = pack(RoundPlan(round=0, candidates=candidates, splits=splits))
    return plan_values(0, pickled)


def test_plain_values_come_back_as_they_are():
    """Numbers, text, collections, arrays and NumPy scalars of a plan are read exactly."""
    values = {
        "a": 1, "b": 0.1, "c": "x", "d": None, "e": (1, 2), "f": [True], "g": np.float64(1e-3),
        "h": np.int64(3), "i": 1 + 2j, "j": {"k": frozenset({1})},
    }  # fmt: skip

    (candidate,) = read([values]).candidates

    assert candidate == values
    assert type(candidate["g"]) is np.float64
    assert type(candidate["e"]) is tuple


def test_the_sizes_of_splits_are_read_from_indices_and_masks():
    """Splits tell their training and test samples, whether they are indices or masks."""
    plan = read([{}])

    assert plan.n_train == (20, 20)
    assert plan.n_test == (10, 10)


def test_objects_become_stand_ins_with_their_class_and_parameters():
    """An estimator keeps its class name and parameters; a function and a class keep their names."""
    (one,) = read(
        [
            {
                "clf": SVC(C=3),
                "scale": StandardScaler(),
                "score": f_classif,
                "kind": RandomForestClassifier,
            }
        ]
    ).candidates

    assert isinstance(one["clf"], StandIn)
    assert type(one["clf"]).__name__ == "SVC"
    assert one["clf"].get_params()["C"] == 3
    assert hasattr(one["clf"], "predict")
    assert not hasattr(one["scale"], "predict")
    assert repr(one["score"]) == "f_classif"
    assert repr(one["kind"]) == "RandomForestClassifier"


def test_reading_a_plan_runs_no_code_of_it(tmp_path):
    """A pickle that would make a file when loaded makes none."""
    target = tmp_path / "made"

    (candidate,) = read([{"a": Touch(target)}]).candidates

    assert isinstance(candidate["a"], StandIn)
    assert not target.exists()


@pytest.mark.parametrize("damaged", [b"", b"abc", pickle.dumps(3), pickle.dumps(([3], []))])
def test_a_damaged_plan_is_one_error(damaged):
    """Bytes that are no plan raise a ValueError that names the round."""
    with pytest.raises(ValueError, match="round 7 of the journal has no readable plan"):
        plan_values(7, damaged)
