"""What an agent does once so that its slots need not."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np

from skygrid.worker.evaluation.rehearsal import rehearse
from skygrid.worker.machine import machine

FIRST_FIT = """
import importlib.metadata as metadata
import sys

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from skygrid.worker.evaluation.rehearsal import rehearse

looked = []
names = ("distributions", "entry_points", "distribution")
for name in names:
    def look(*args, found=getattr(metadata, name), **options):
        looked.append(found.__name__)
        return found(*args, **options)

    setattr(metadata, name, look)
if "rehearse" in sys.argv:
    rehearse()
    looked.clear()
cross_val_score(LogisticRegression(), np.arange(8.0).reshape(8, 1), np.arange(8) % 2, cv=2)
print(len(looked))
"""


def test_the_first_fit_has_nothing_left_to_look_up() -> None:
    """After a rehearsal a fit reads the metadata of no installed distribution."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_FIT, "rehearse"], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) == 0


def test_a_rehearsal_leaves_no_trace() -> None:
    """It draws no random number, starts no thread and warns of nothing."""
    before, threads = np.random.get_state(legacy=False), machine.threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rehearse()
    after = np.random.get_state(legacy=False)
    np.testing.assert_equal(before, after)
    assert machine.threads() == threads


def test_a_rehearsal_is_a_whole_fit() -> None:
    """It ends with a score: one that failed half-way would have rehearsed half of it."""
    result = rehearse()
    assert (result.status, result.test_scores) == ("scored", 0.5)
