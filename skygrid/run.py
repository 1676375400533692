"""A run from its search file to its folder: the phases, in order."""

from __future__ import annotations

import pickle
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import sklearn

from skygrid.config import RunConfig
from skygrid.engines.pull import EngineSettings, PullEngine
from skygrid.errors import (
    BudgetReachedError,
    InterruptedRunError,
    SearchFailedError,
    SkygridError,
    UsageError,
)
from skygrid.interrupts import Interrupts
from skygrid.journal.memory import MemoryJournal
from skygrid.journal.sqlite import SqliteJournal
from skygrid.listener import Listener
from skygrid.loading import load_search
from skygrid.plan.fingerprint import fingerprint
from skygrid.plan.records import RoundPlan
from skygrid.providers.local import LocalProvider
from skygrid.queue.policies import QueuePolicies, RetryPolicy
from skygrid.reports import results_folder
from skygrid.reports.plan_view import CheckResult
from skygrid.reports.run_record import RunRecord
from skygrid.reports.summary import Summary, summarise
from skygrid.results.outline import outline
from skygrid.results.sklearn_search import fit_search
from skygrid.rounds import JournaledRounds
from skygrid.spec import SearchSpec
from skygrid.worker import machine

JOURNAL = "journal.sqlite"
SEARCH = "search.pkl"
LOGS = "logs"
