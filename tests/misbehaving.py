"""Classifiers named for how they misbehave, and scorers that report where they run.

They are pickled by value for nodes, as classes of a search file are.
"""

from __future__ import annotations

import ctypes
import numbers
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Harmless(ClassifierMixin, BaseEstimator):
    """Predicts the first class; its score is `a`. Subclasses misbehave when `culprit` is true."""

    def __init__(self, a: Any = 0, culprit: bool = True, path: str = "") -> None:
        self.a = a
        self.culprit = culprit
        self.path = path

    def fit(self, X: Any, y: Any = None) -> Harmless:
        self.classes_ = np.unique(y)
        if self.culprit:
            self.misbehave(X)
        return self

    def misbehave(self, X: Any) -> None: ...

    def predict(self, X: Any) -> Any:
        return np.repeat(self.classes_[:1], len(X))

    def score(self, X: Any, y: Any = None) -> Any:
        return self.a


class Segfaulting(Harmless):
    def misbehave(self, X: Any) -> None:
        ctypes.string_at(0)


class Leaving(Harmless):
    def misbehave(self, X: Any) -> None:
        os._exit(3)


class Hoarding(Harmless):
    """Allocates 16 MiB at a time, at most 2 GiB."""

    def misbehave(self, X: Any) -> None:
        hoard = []
        for _ in range(128):
            hoard.append(np.ones(2 * 2**20))
            # Slowly enough for the agent of a busy machine to notice in time.
            threading.Event().wait(0.02)
        raise AssertionError("nobody stopped it")


class Looping(Harmless):
    """Never returns, in Python."""

    def misbehave(self, X: Any) -> None:
        while True:
            pass


class HoldingTheGil(Harmless):
    """Never returns from C code that holds the interpreter's lock."""

    def misbehave(self, X: Any) -> None:
        re.match(r"(a|a)*b", "a" * 64)


class Waiting(Harmless):
    """Appends its process id to the file at `path` and never returns, at no cost."""

    def misbehave(self, X: Any) -> None:
        with Path(self.path).open("a") as file:
            file.write(f"{os.getpid()}\n")
        signal.pause()


class WaitingOnce(Harmless):
    """Waits as `Waiting` does the first time; returns at once later."""

    def misbehave(self, X: Any) -> None:
        try:
            file = Path(self.path).open("x")  # noqa: SIM115  # closed below
        except FileExistsError:
            return
        with file:
            file.write(f"{os.getpid()}\n")
        signal.pause()


class Gated(Harmless):
    """Waits for a file at `path`."""

    def misbehave(self, X: Any) -> None:
        while not Path(self.path).exists():
            threading.Event().wait(0.01)


class GatedLater(Harmless):
    """Appends a line to the file at `path`; from the fourth on, waits for a file beside it."""

    def misbehave(self, X: Any) -> None:
        with Path(self.path).open("a+") as file:
            file.write(f"{os.getpid()}\n")
            file.seek(0)
            count = len(file.readlines())
        while count > 3 and not Path(f"{self.path}.gate").exists():
            threading.Event().wait(0.01)


class WaitingWithChild(Harmless):
    """Starts a process that inherits all descriptors, then waits as `Waiting` does."""

    def misbehave(self, X: Any) -> None:
        child = os.fork()
        if child == 0:
            signal.pause()
        with Path(self.path).open("a") as file:
            file.write(f"{os.getpid()}\n{child}\n")
        signal.pause()


class Timing(Harmless):
    """Appends its start and end, by the monotonic clock, to the file at `path`."""

    def misbehave(self, X: Any) -> None:
        begin = time.monotonic()
        until = begin + 0.05
        while time.monotonic() < until:
            pass
        line = f"{self.a} {begin} {time.monotonic()}\n".encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line)
        os.close(descriptor)


class Flooding(Harmless):
    """Prints two megabytes on each stream, through Python and directly to the descriptor."""

    def misbehave(self, X: Any) -> None:
        for _ in range(1000):
            print("x" * 1000)
            print("y" * 1000, file=sys.stderr)
            os.write(1, b"\x00\xff" * 500)
            os.write(2, b"\xff\x00" * 500)


class ReadingInput(Harmless):
    def misbehave(self, X: Any) -> None:
        assert sys.stdin.read() == ""
        assert os.read(0, 10) == b""


class ClosingDescriptors(Harmless):
    def misbehave(self, X: Any) -> None:
        os.closerange(0, 256)


class ScribblingOnPipes(Harmless):
    """Writes into every open pipe, also its slot's own, and waits."""

    def misbehave(self, X: Any) -> None:
        for descriptor in range(3, 64):
            try:
                if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                    os.write(descriptor, b"\xff" * 48)
            except OSError:
                continue
        signal.pause()


class StartingProcesses(Harmless):
    """Leaves a process behind; appends its id to the file at `path`."""

    def misbehave(self, X: Any) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        with Path(self.path).open("a") as file:
            file.write(f"{child.pid}\n")


class StartingThreads(Harmless):
    """Leaves a thread behind."""

    def misbehave(self, X: Any) -> None:
        threading.Thread(target=threading.Event().wait, daemon=True).start()


class KeepingMemory(Harmless):
    """Fills 128 MiB of memory that live as long as its process."""

    def misbehave(self, X: Any) -> None:
        sys.kept = np.ones(2**24)  # type: ignore[attr-defined]


class RaisingTheSameError(Harmless):
    """Raises one exception in every fit; its traceback keeps the data of the fit."""

    error = ValueError("raised again")

    def misbehave(self, X: Any) -> None:
        raise self.error


class UsingJoblib(Harmless):
    """Asks joblib for all processors; `pids_` are the processes that did the work."""

    def misbehave(self, X: Any) -> None:
        calls = [joblib.delayed(os.getpid)() for _ in range(8)]
        self.pids_ = set(joblib.Parallel(n_jobs=-1)(calls))
        for backend in ("loky", "multiprocessing"):
            self.pids_ |= set(joblib.Parallel(n_jobs=-1, backend=backend)(calls))


class Warning_(Harmless):
    """Warns three times in one place, and once under a filter of its own."""

    def misbehave(self, X: Any) -> None:
        for _ in range(3):
            warnings.warn("three times", RuntimeWarning, stacklevel=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.warn("unheard", UserWarning, stacklevel=1)


class RaisingAtLength(Harmless):
    """Raises with twenty million characters."""

    def misbehave(self, X: Any) -> None:
        raise ValueError("begin" + "z" * 20_000_000 + "the end")


class RaisingOddText(Harmless):
    """Raises text that is not UTF-8, as file names may be."""

    def misbehave(self, X: Any) -> None:
        raise ValueError("file \udcff")


class RaisingAtSomeLength(Harmless):
    """Raises a text of which a few hundred exceed a frame."""

    def misbehave(self, X: Any) -> None:
        raise ValueError("w" * 60_000)


class Exiting(Harmless):
    def misbehave(self, X: Any) -> None:
        sys.exit("had enough")


class Random(Harmless):
    """Scores with the process's unseeded random state."""

    def score(self, X: Any, y: Any = None) -> float:
        return float(np.random.randint(2**31)) + np.random.random_sample()


class Unloadable(Harmless):
    """Cannot be unpickled."""

    def __reduce__(self) -> Any:
        return _refuse_to_load, ()


class StartingThreadsAtLoad(Harmless):
    """Starts a thread in the process that unpickles it."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        super().__setstate__(state)


class ExitingAtLoad(Harmless):
    """Exits the program that unpickles it, as a script without a main guard does."""

    def __reduce__(self) -> Any:
        return sys.exit, ("not for import",)


def _refuse_to_load() -> None:
    raise RuntimeError("this estimator does not load")


class NoNumber:
    """No score, and not picklable."""

    def __reduce__(self) -> Any:
        raise TypeError("not for pickling")


def own_score(estimator: Any, X: Any, y: Any) -> Any:
    """Return the result of the estimator's own ``score``, a number or not."""
    return estimator.score(X, y)


def slot_pid(estimator: Any, X: Any, y: Any) -> float:
    """Return the process id of the slot."""
    return float(os.getpid())


def no_number(estimator: Any, X: Any, y: Any) -> Any:
    """Return a score that is no number."""
    return NoNumber()


@numbers.Number.register
class OddNumber:
    """Registered as a number, but not serialisable."""


def odd_number(estimator: Any, X: Any, y: Any) -> Any:
    """Return a score that scikit-learn accepts and that cannot be sent."""
    return OddNumber()


def openmp_threads(estimator: Any, X: Any, y: Any) -> dict[str, int]:
    """Return the smallest and largest number of threads of the BLAS and OpenMP libraries here."""
    import sklearn.ensemble._hist_gradient_boosting._gradient_boosting  # noqa: F401  # has OpenMP
    from threadpoolctl import threadpool_info

    counts = [library["num_threads"] for library in threadpool_info()]
    return {"least": min(counts), "most": max(counts), "libraries": len(counts)}


def sklearn_setting(estimator: Any, X: Any, y: Any) -> float:
    """Return the slot's setting of scikit-learn's ``working_memory``."""
    return float(sklearn.get_config()["working_memory"])


class Unhurried(DecisionTreeClassifier):
    """Waits a hundredth of a second before it fits."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Unhurried:
        threading.Event().wait(0.01)
        return super().fit(X, y, sample_weight)


class Inquisitive(Harmless):
    """Raises if its process has loaded modules named in `path`, or parts of skygrid other than the
    worker, or if skygrid is not from the folder `a`."""

    def misbehave(self, X: Any) -> None:
        import skygrid

        loaded = set(sys.modules)
        strange = {name for name in loaded if name.startswith("skygrid.")}
        strange -= {name for name in strange if name.startswith("skygrid.worker")}
        strange |= loaded & set(self.path.split())
        if strange or not str(skygrid.__file__).startswith(self.a):
            raise AssertionError(f"{strange} loaded, skygrid from {skygrid.__file__}")
