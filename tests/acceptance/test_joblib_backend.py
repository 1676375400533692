"""Code that uses joblib runs on a cluster as it runs on this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import TimeoutError as JoblibTimeoutError
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from sklearn.datasets import make_classification
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, StackingClassifier
from sklearn.feature_selection import RFECV, SequentialFeatureSelector
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

import skygrid
from skygrid.config import RunConfig
from skygrid.errors import CallKilledError, UsageError
from tests.processes import WAIT_SECONDS, wait_until

PLACES: dict[str, dict[str, Any]] = {
    "forked slots": {"nodes": 1, "concurrency": 2, "start_method": "fork"},
    "spawned slots on two nodes": {"nodes": 2, "concurrency": 1, "start_method": "spawn"},
}

LARGE = 200_000
"""Numbers in an array above joblib's limit of 1 MB."""


@pytest.fixture(scope="module", params=PLACES)
def any_cluster(request: Any, _doubles_by_value: None) -> Iterator[Any]:
    with skygrid.cluster(on="local", **PLACES[request.param]) as running:
        yield running


@pytest.fixture
def anywhere(any_cluster: Any) -> Iterator[Any]:
    """Yield each of the clusters as joblib's default backend."""
    with any_cluster.joblib():
        yield any_cluster


@pytest.fixture
def place(cluster: Any) -> Iterator[Any]:
    """Yield the cluster of all tests as joblib's default backend."""
    with cluster.joblib():
        yield cluster


def data() -> tuple[Any, Any]:
    return make_classification(
        n_samples=150, n_features=6, n_classes=3, n_informative=4, random_state=0
    )


def square(number: int) -> int:
    return number * number


def pid(_: Any) -> int:
    return os.getpid()


# ---- what scikit-learn does with joblib ----------------------------------------------------------

TREE = DecisionTreeClassifier(max_depth=3, random_state=0)

SKLEARN: dict[str, Callable[[Any, Any], Any]] = {
    "cross_val_score": lambda X, y: cross_val_score(TREE, X, y),
    "cross_validate": lambda X, y: [
        one.predict(X) for one in cross_validate(TREE, X, y, return_estimator=True)["estimator"]
    ],
    "cross_val_predict": lambda X, y: cross_val_predict(TREE, X, y, method="predict_proba"),
    "learning_curve": lambda X, y: learning_curve(TREE, X, y, cv=3)[2],
    "forest": lambda X, y: RandomForestClassifier(12, random_state=0).fit(X, y).predict_proba(X),
    "bagging": lambda X, y: BaggingClassifier(TREE, 7, random_state=0).fit(X, y).predict_proba(X),
    "permutation_importance": lambda X, y: (
        permutation_importance(TREE.fit(X, y), X, y, random_state=0).importances
    ),
    "stacking": lambda X, y: (
        StackingClassifier([("a", TREE), ("b", LogisticRegression())]).fit(X, y).predict_proba(X)
    ),
    "one-vs-rest": lambda X, y: OneVsRestClassifier(TREE).fit(X, y).predict_proba(X),
    "RFECV": lambda X, y: RFECV(TREE, cv=3).fit(X, y).cv_results_["mean_test_score"],
    "SequentialFeatureSelector": lambda X, y: (
        SequentialFeatureSelector(TREE, n_features_to_select=2, cv=3).fit(X, y).support_
    ),
    "LogisticRegressionCV": lambda X, y: LogisticRegressionCV(Cs=3, cv=3).fit(X, y).coef_,
    "grid search": lambda X, y: (
        GridSearchCV(TREE, {"max_depth": [1, 2]}, cv=3).fit(X, y).cv_results_["mean_test_score"]
    ),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", SKLEARN)
@pytest.mark.sklearn_versions
def test_scikit_learn_gives_the_same_numbers(anywhere: Any, name: str) -> None:
    """Functions and estimators of scikit-learn give the numbers of this process, bit for bit."""
    X, y = data()
    # The last bits of a sum depend on the number of jobs, which is that of the slots. The splits of
    # RFECV share one object up to scikit-learn 1.5, which threads would change at the same time.
    here = joblib.parallel_config("sequential" if name == "RFECV" else "threading", n_jobs=2)
    expected = SKLEARN[name](X, y)
    here.unregister()
    np.testing.assert_array_equal(SKLEARN[name](X, y), expected)


def test_a_search_shares_fits(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that asks for all slots shares fits as in `Cluster.fit`; n_jobs=1 stays here."""
    plans: list[Any] = []
    run_round = place._engine.run_round

    def note(plan: Any, *rest: Any) -> None:
        plans.append(plan)
        run_round(plan, *rest)

    monkeypatch.setattr(place._engine, "run_round", note)
    X, y = data()
    forest = RandomForestClassifier(random_state=0)
    grid = {"n_estimators": [2, 4, 6]}
    scores = []
    for n_jobs in (-1, None, 1):
        search = GridSearchCV(forest, grid, cv=3, n_jobs=n_jobs).fit(X, y)
        scores.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(scores[0], scores[2])
    np.testing.assert_array_equal(scores[1], scores[2])
    assert [len(plan.sharing.groups) for plan in plans] == [1, 1]


def test_a_forked_process_uses_no_nodes(place: Any) -> None:
    """Loops and searches in a process that this one forks run there."""

    def in_child() -> None:
        grid = GridSearchCV(TREE, {"max_depth": [1, 2]}, cv=3, n_jobs=-1).fit(*data())
        pids = set(Parallel(n_jobs=-1)(delayed(pid)(i) for i in range(3)))
        connection.send((grid.best_score_, pids == {os.getpid()}))

    here, connection = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
    assert here.poll(WAIT_SECONDS)
    score, own = here.recv()
    child.join(WAIT_SECONDS)
    assert own
    assert score == GridSearchCV(TREE, {"max_depth": [1, 2]}, cv=3).fit(*data()).best_score_


def test_fitted_estimators_come_back(anywhere: Any) -> None:
    """Fitted pipelines that contain functions of this module can be used in this process."""
    X, y = data()
    pipe = make_pipeline(FunctionTransformer(np.abs), FunctionTransformer(halved), TREE)
    fitted = cross_validate(pipe, X, y, return_estimator=True)["estimator"]
    assert fitted[0].predict(X).shape == y.shape


def halved(X: Any) -> Any:
    return X / 2


# ---- loops of one's own --------------------------------------------------------------------------


def test_calls_run_in_slots(anywhere: Any) -> None:
    """Calls run in the slots, each in order of its argument in the results."""
    assert Parallel()(delayed(square)(i) for i in range(50)) == [i * i for i in range(50)]
    pids = set(Parallel(batch_size=1)(delayed(pid)(i) for i in range(20)))
    assert os.getpid() not in pids
    assert len(pids) <= 2


def test_the_number_of_jobs_is_that_of_the_slots(cluster: Any) -> None:
    """-1 stands for all slots; other numbers are as the caller says, and 0 is an error."""
    with joblib.parallel_config("skygrid", cluster=cluster):
        assert joblib.effective_n_jobs() == 2
        assert joblib.effective_n_jobs(5) == 5
        assert Parallel(n_jobs=1)([delayed(pid)(0)]) == [os.getpid()]
        with pytest.raises(ValueError, match="n_jobs == 0"):
            Parallel(n_jobs=0)([delayed(pid)(0)])


def test_a_cluster_with_one_slot_runs_the_calls() -> None:
    """A single slot runs the calls too: they never run in this process unnoticed."""
    with skygrid.cluster(on="local", nodes=1, concurrency=1) as small, small.joblib():
        assert os.getpid() not in Parallel()(delayed(pid)(i) for i in range(3))


def together(folder: str, number: int) -> int:
    """Return how many calls run at a time."""
    mark = Path(folder, str(number))
    mark.touch()
    seen = 0
    for _ in range(20):
        seen = max(seen, len(list(Path(folder).iterdir())))
        time.sleep(0.001)
    mark.unlink()
    return seen


def test_n_jobs_limits_the_calls_at_a_time(tmp_path: Path) -> None:
    """At most n_jobs batches run at a time, on however many slots."""
    with skygrid.cluster(on="local", nodes=1, concurrency=3) as wide, wide.joblib():
        seen = Parallel(n_jobs=2, pre_dispatch="all", batch_size=1)(
            delayed(together)(str(tmp_path), i) for i in range(12)
        )
    assert max(seen) <= 2


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_results_as_a_generator(place: Any, return_as: str) -> None:
    """Results can be taken one by one, in order or as they come."""
    results = Parallel(return_as=return_as)(delayed(square)(i) for i in range(30))
    found = list(results)
    assert (sorted(found) if return_as == "generator_unordered" else found) == [
        i * i for i in range(30)
    ]


def test_arguments_are_generated_as_they_are_needed(place: Any) -> None:
    """`pre_dispatch` bounds the arguments that are taken ahead of the results."""
    taken: list[int] = []

    def numbers() -> Iterator[Any]:
        for i in range(40):
            taken.append(i)
            yield delayed(square)(i)

    results = Parallel(return_as="generator", pre_dispatch=4, batch_size=1)(numbers())
    assert next(results) == 0
    assert list(results) == [i * i for i in range(1, 40)]
    assert taken == list(range(40))


def test_one_loop_feeds_another(place: Any) -> None:
    """The results of one loop are the arguments of another one while both run."""
    first = Parallel(return_as="generator")(delayed(square)(i) for i in range(20))
    second = Parallel(return_as="generator")(delayed(square)(i) for i in first)
    assert list(second) == [i**4 for i in range(20)]


def test_one_parallel_for_several_loops(place: Any) -> None:
    """A Parallel in a `with` statement runs several loops, also after one that failed."""
    with Parallel() as parallel:
        assert parallel(delayed(square)(i) for i in range(3)) == [0, 1, 4]
        with pytest.raises(Boom):
            parallel(delayed(fail)(i) for i in range(9))
        assert parallel(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def inner(number: int) -> list[tuple[int, int]]:
    return Parallel(n_jobs=4)(delayed(pid_and)(number, i) for i in range(3))


def pid_and(*numbers: int) -> tuple[int, ...]:
    return os.getpid(), *numbers


def test_a_loop_inside_a_call_stays_in_its_slot(anywhere: Any) -> None:
    """Calls inside a call run in the same process, one after another."""
    for number, found in enumerate(Parallel()(delayed(inner)(i) for i in range(4))):
        assert len({one[0] for one in found}) == 1
        assert found[0][0] != os.getpid()
        assert [one[1:] for one in found] == [(number, i) for i in range(3)]


def test_closures_and_lambdas_are_called(anywhere: Any) -> None:
    """Functions without a name of their own travel too, and so do results that are functions."""
    factor = 3
    functions = Parallel()(delayed(lambda x: lambda: factor * x)(i) for i in range(4))
    assert [function() for function in functions] == [0, 3, 6, 9]


# ---- errors --------------------------------------------------------------------------------------


class Boom(Exception):
    def __init__(self, number: int, *, why: str = "") -> None:
        super().__init__(f"no {number}")
        self.number = number


class Sealed(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("cannot be pickled")


def fail(number: int) -> int:
    if number == 5:
        raise Boom(number)
    return number


def fail_sealed(number: int) -> None:
    raise Sealed("the reason")


def test_an_exception_is_raised_with_its_traceback(anywhere: Any) -> None:
    """The caller gets the exception itself; its cause shows the traceback in the slot."""
    with pytest.raises(Boom, match="no 5") as caught:
        Parallel()(delayed(fail)(i) for i in range(20))
    assert caught.value.number == 5
    assert "in fail\n    raise Boom(number)" in str(caught.value.__cause__)
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def test_an_exception_that_cannot_be_pickled_is_described(place: Any) -> None:
    """An exception that cannot travel is raised again from its description."""
    with pytest.raises(Sealed, match="the reason") as caught:
        Parallel()(delayed(fail_sealed)(i) for i in range(2))
    assert "in fail_sealed" in str(caught.value.__cause__)


def test_a_result_that_cannot_be_pickled_is_an_error(place: Any) -> None:
    """A result that cannot travel raises the error of pickle."""
    with pytest.raises(TypeError, match="cannot pickle"):
        Parallel()([delayed(threading.Lock)()])


@pytest.mark.parametrize("pre_dispatch", ["all", 2])
def test_an_argument_that_cannot_be_pickled_is_named(place: Any, pre_dispatch: Any) -> None:
    """The error names the argument, also if it comes late in the loop."""
    arguments = [0, 1, 2, 3, 4, {"lock": threading.Lock()}]
    with pytest.raises(pickle.PicklingError, match=r"args\[0\]\['lock'\] is a lock"):
        Parallel(pre_dispatch=pre_dispatch, batch_size=1)(delayed(square)(i) for i in arguments)


def test_an_error_of_the_generator_is_raised(place: Any) -> None:
    """An error in the caller's generator is raised, and running calls are stopped."""

    def numbers() -> Iterator[Any]:
        yield from (delayed(square)(i) for i in range(10))
        raise Boom(3)

    with pytest.raises(Boom):
        Parallel()(numbers())


def wait_for(path: str) -> str:
    """Note this call in a file, and wait for the file's end."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    while os.path.exists(path):
        time.sleep(0.01)
    return path


def pids_in(path: Path) -> set[int]:
    return {int(line) for line in path.read_text().split()} if path.exists() else set()


def test_a_timeout_stops_the_calls(place: Any, tmp_path: Path) -> None:
    """A call that takes too long raises TimeoutError, and its slot is free for other calls."""
    with pytest.raises(JoblibTimeoutError):
        Parallel(timeout=0.5)(delayed(wait_for)(str(tmp_path / "mark")) for _ in range(4))
    assert Parallel()(delayed(square)(i) for i in range(9)) == [i * i for i in range(9)]


def test_ctrl_c_stops_the_calls(place: Any, tmp_path: Path) -> None:
    """Ctrl-C raises KeyboardInterrupt, ends the running calls and leaves the cluster ready."""
    mark = tmp_path / "mark"

    def interrupt() -> None:
        wait_until(lambda: pids_in(mark), "a call to run")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        Parallel()(delayed(wait_for)(str(mark)) for _ in range(4))
    thread.join()
    assert Parallel()(delayed(square)(i) for i in range(9)) == [i * i for i in range(9)]


def test_an_abandoned_generator_stops_its_calls(place: Any, tmp_path: Path) -> None:
    """Calls are stopped when their loop has ended without their results."""
    mark = tmp_path / "mark"
    results = Parallel(return_as="generator")(delayed(wait_for)(str(mark)) for _ in range(2))
    wait_until(lambda: pids_in(mark), "a call to run")
    with pytest.warns(UserWarning, match="cancelled"):
        del results
    assert Parallel()(delayed(square)(i) for i in range(9)) == [i * i for i in range(9)]


def warn(number: int) -> int:
    warnings.warn("a word of warning", RuntimeWarning, stacklevel=1)
    return number


def test_warnings_of_calls_are_issued_here(place: Any) -> None:
    """A warning that calls raise is issued in this process, once for each loop."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Parallel()(delayed(warn)(i) for i in range(20))
    mine = [one for one in caught if one.category is RuntimeWarning]
    assert [str(one.message) for one in mine] == ["a word of warning"]
    assert mine[0].filename == __file__


# ---- large arguments and results -----------------------------------------------------------------


def describe(value: Any) -> tuple[Any, ...]:
    return value.flags.writeable, value.flags.f_contiguous, value.dtype.str, float(value.sum())


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(LARGE, dtype=float),
        lambda: np.asfortranarray(np.arange(LARGE, dtype=float).reshape(100, -1)),
        lambda: np.arange(3 * LARGE, dtype="i4").reshape(3, -1)[:, ::2],
    ],
    ids=["C", "F", "strided"],
)
def test_large_arrays_are_read_only(anywhere: Any, make: Callable[[], Any]) -> None:
    """Arrays above max_nbytes arrive as joblib's memory maps do: equal and read-only."""
    array = make()
    found = Parallel()(delayed(describe)(array) for _ in range(3))
    assert found == [(False, array.flags.f_contiguous, array.dtype.str, array.sum())] * 3


@pytest.mark.parametrize("options", [{"max_nbytes": None}, {"mmap_mode": "c"}, {"mmap_mode": None}])
def test_arrays_that_are_not_mapped_can_be_changed(place: Any, options: Any) -> None:
    """Without read-only memory maps each call has a copy of its own."""
    array = np.arange(LARGE, dtype=float)
    found = Parallel(**options)(delayed(add_one)(array) for _ in range(4))
    assert found == [array.sum() + LARGE] * 4


def add_one(array: Any) -> float:
    array += 1
    return float(array.sum())


def test_an_array_that_changed_is_sent_again(place: Any) -> None:
    """Each loop sees the arrays as they are when it begins."""
    array = np.zeros(LARGE)
    for number in range(3):
        array[:] = number
        assert Parallel()(delayed(float)(array[0]) for _ in range(2)) == [number] * 2
        assert [s for *_, s in Parallel()([delayed(describe)(array)])] == [number * LARGE]


def test_a_memory_map_of_the_caller_is_shared(place: Any, tmp_path: Path) -> None:
    """Calls on this machine write into the caller's own memory map, as with joblib's processes."""
    output = np.memmap(tmp_path / "output", dtype=float, shape=8, mode="w+")
    Parallel()(delayed(output.__class__.__setitem__)(output, i, i) for i in range(8))
    assert output.tolist() == list(range(8))


def test_large_results_and_arguments_of_any_kind(anywhere: Any) -> None:
    """Objects of many megabytes travel both ways, of arrays, texts and bytes."""
    words = [f"word {i}" for i in range(300_000)]
    frame = pd.DataFrame({"a": np.arange(400_000.0), "b": np.arange(400_000)})
    found = Parallel()(delayed(echoed)(words, frame, i) for i in range(2))
    for number, (said, table) in enumerate(found):
        assert said == [*words, number]
        pd.testing.assert_frame_equal(table, frame)


def echoed(words: list[Any], frame: Any, number: int) -> Any:
    return [*words, number], frame


# ---- threads and searches ------------------------------------------------------------------------


def test_threads_share_the_slots(cluster: Any) -> None:
    """Loops of several threads and a search run on one cluster, and all of them end."""
    X, y = data()
    results: dict[int, Any] = {}

    def loop(number: int) -> None:
        with cluster.joblib():
            for _ in range(3):
                results[number] = Parallel()(delayed(square)(number + i) for i in range(20))

    def search(number: int) -> None:
        fitted = cluster.fit(GridSearchCV(TREE, {"max_depth": [1, 2, 3]}, cv=3), X, y)
        results[number] = fitted.best_params_

    threads = [threading.Thread(target=loop, args=(n,), daemon=True) for n in range(3)]
    threads += [threading.Thread(target=search, args=(n,), daemon=True) for n in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
    for number in range(3):
        assert results[number] == [(number + i) ** 2 for i in range(20)]
    assert results[3] == results[4]


def test_a_search_between_the_results_of_a_loop(place: Any) -> None:
    """A search may run while the results of a loop are taken."""
    X, y = data()
    results = Parallel(return_as="generator")(delayed(square)(i) for i in range(10))
    assert next(results) == 0
    fitted = place.fit(GridSearchCV(TREE, {"max_depth": [1, 2]}, cv=2), X, y)
    assert fitted.best_params_
    assert list(results) == [i * i for i in range(1, 10)]


def test_settings_of_this_process_reach_the_calls(
    anywhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls see the environment variables of this process, also those set between two loops."""
    for value in "ab":
        monkeypatch.setenv("OF_THIS_TEST", value)
        assert Parallel()(delayed(os.getenv)("OF_THIS_TEST") for _ in range(2)) == [value] * 2


BESIDE = """
LIMIT = 1
SEEN = []

def limit(_):
    return LIMIT, list(SEEN)
"""

PROGRAM = """
import beside
import skygrid
from joblib import Parallel, delayed

if __name__ == "__main__":
    with skygrid.cluster(on="local", concurrency=2) as cluster, cluster.joblib():
        for value in (2, 3):
            beside.LIMIT = value
            beside.SEEN.append(value)
            print(Parallel()(delayed(beside.limit)(i) for i in range(2)))
            print(Parallel()([delayed(len)(beside.SEEN)] * 2))
"""


def test_globals_of_modules_reach_the_calls(tmp_path: Path) -> None:
    """Calls see the globals that a loop finds in the program's modules as it begins."""
    (tmp_path / "beside.py").write_text(BESIDE)
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )
    assert done.stdout.splitlines() == [
        "[(2, [2]), (2, [2])]",
        "[1, 1]",
        "[(3, [2, 3]), (3, [2, 3])]",
        "[2, 2]",
    ]


# ---- slots and nodes that end --------------------------------------------------------------------


def kill_once(path: str, number: int) -> int:
    """Kill the first process that runs call 3."""
    if number == 3:
        try:
            os.mkdir(path)
        except FileExistsError:
            return number
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_call_whose_slot_died_runs_again(place: Any, tmp_path: Path) -> None:
    """A call that took its slot down once runs again; the loop does not notice."""
    calls = (delayed(kill_once)(str(tmp_path / "once"), i) for i in range(8))
    assert Parallel()(calls) == list(range(8))


def kill_always(number: int, **options: Any) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return number


def test_a_call_that_kills_slots_is_named(place: Any) -> None:
    """A call that takes its slot down each time is given up, and the error names it."""
    with pytest.raises(CallKilledError) as caught:
        Parallel(batch_size=5)(delayed(kill_always)(i, option="x") for i in range(10))
    text = str(caught.value)
    assert text.startswith("call 3, kill_always(3, option='x'): the call took its slot down 3 time")
    assert "SIGSEGV" in text
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def note_and_wait(folder: str, number: int) -> int:
    """Write this slot's agent, and wait until the folder has a file "go"."""
    Path(folder, f"agent-{os.getppid()}").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.01)
    return number


def test_calls_of_a_lost_node_run_again(tmp_path: Path) -> None:
    """When a node is killed its calls run on another one, with their arguments."""
    array = np.arange(LARGE, dtype=float)
    with skygrid.cluster(on="local", nodes=2, concurrency=1) as two, two.joblib():

        def lose() -> None:
            wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "calls on both nodes")
            agent = int(next(tmp_path.iterdir()).name.partition("-")[2])
            os.kill(agent, signal.SIGKILL)
            (tmp_path / "go").touch()

        thread = threading.Thread(target=lose)
        thread.start()
        waited = Parallel(batch_size=1)(delayed(note_and_wait)(str(tmp_path), i) for i in range(6))
        thread.join()
        assert waited == list(range(6))
        sums = [s for *_, s in Parallel()(delayed(describe)(array) for _ in range(4))]
        assert sums == [array.sum()] * 4


def test_a_cluster_that_is_closed_ends_the_loop(tmp_path: Path) -> None:
    """A loop of another thread gets an error when the cluster is closed under it."""
    mark = tmp_path / "mark"
    caught: list[BaseException] = []

    def loop(running: Any) -> None:
        with running.joblib():
            try:
                Parallel()(delayed(wait_for)(str(mark)) for _ in range(2))
            except UsageError as error:
                caught.append(error)

    with skygrid.cluster(on="local", nodes=1, concurrency=1) as running:
        thread = threading.Thread(target=loop, args=(running,))
        thread.start()
        wait_until(lambda: pids_in(mark), "a call to run")
    thread.join(WAIT_SECONDS)
    assert "also in other threads" in str(caught[0])


# ---- wrong use -----------------------------------------------------------------------------------


def test_other_machines_must_be_trusted() -> None:
    """Results are pickles, so nodes elsewhere must be trusted by name; the error says why."""
    other = skygrid.cluster(on="local", nodes=1, concurrency=1)
    with other:
        other._config = RunConfig(on="ssh")
        with (
            pytest.raises(UsageError, match=r"opening one runs the code .*trust_nodes=True"),
            other.joblib(),
        ):
            pass


def test_the_backend_needs_a_cluster_that_runs() -> None:
    """The backend without a cluster, and a cluster that is not running, are refused by name."""
    with pytest.raises(UsageError, match="needs a cluster"):
        joblib.parallel_config("skygrid")
    stopped = skygrid.cluster(on="local", nodes=1, concurrency=1)
    with pytest.raises(UsageError, match="inside its `with` statement"), stopped.joblib():
        pass
