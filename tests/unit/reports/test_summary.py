"""The summary of a fitted search, and the files made from it."""

from __future__ import annotations

import csv
import io
import json
import math
import pickle
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # makes the import below work
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skygrid.errors import SkygridError, UsageError
from skygrid.plan.records import Outcome
from skygrid.reports.console import SafeConsole, duration_text
from skygrid.reports.csv import csv_text, write_csv
from skygrid.reports.plain_values import (
    TAGS,
    from_plain,
    parameter_text,
    plain_parameter,
    plain_text,
)
from skygrid.reports.result_json import read_summary, result_json, write_result
from skygrid.reports.summary import (
    RunFacts,
    Summary,
    count_warnings,
    node_differences,
    summarise,
)
from skygrid.reports.terminal.finished import summary_view
from skygrid.util.atomic_file import atomic_file, write_atomic
from skygrid.worker.wire.messages.from_agent import Greeting
from skygrid.worker.wire.messages.results import WarningNote

X, Y = load_iris(return_X_y=True)


def outcome(candidate: int, split: int, **more: Any) -> Outcome:
    settings: dict[str, Any] = {"round": 0, "status": "scored", "node": "one", "slot": 0}
    return Outcome(candidate=candidate, split=split, **(settings | more))


def greeting(**more: Any) -> Greeting:
    settings: dict[str, Any] = {
        "protocol": 1,
        "versions": {"scikit-learn": "1.9.1", "blas": "openblas"},
        "host": "box",
        "cpu": "A CPU",
        "machine": "x86_64",
        "vcpus": 2,
        "memory_bytes": 1024,
        "slots": 2,
        "threads_per_slot": 1,
        "pid": 1,
    }
    return Greeting(**(settings | more))


def facts(**more: Any) -> RunFacts:
    settings: dict[str, Any] = {"name": "a-run", "folder": "runs/a-run", "wall_seconds": 1.5}
    return RunFacts(**(settings | {"outcomes": ()} | more))


def fitted(**settings: Any) -> GridSearchCV:
    grid = {"var_smoothing": [1e-9, 1e-3, 1.0]}
    return GridSearchCV(GaussianNB(), grid, cv=3, **settings).fit(X, Y)


def first_or_nan(estimator: Any, features: Any, targets: Any) -> float:
    """Return a score that is NaN for one candidate."""
    if estimator.var_smoothing == 1e-3:
        return math.nan
    return float(estimator.score(features, targets))


def text_of(summary: Summary) -> str:
    console = SafeConsole(io.StringIO())
    console.width = 80
    console.print(summary_view(summary))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def search():
    return fitted()


def test_best_is_scikit_learns_own(search):
    """Best parameters, score, ranks and times equal those of the search to the last bit."""
    summary = summarise(search, facts())

    assert summary.best_params == search.best_params_
    assert summary.best_score == search.best_score_
    assert summary.best_index == search.best_index_
    assert summary.best_std == search.cv_results_["std_test_score"][search.best_index_]
    assert (summary.candidates, summary.splits, summary.refitted) == (3, 3, True)
    assert summary.top[0].index == search.best_index_
    assert sorted(row.rank for row in summary.top) == sorted(search.cv_results_["rank_test_score"])


def test_work_is_added_up(search):
    """Fits, failures, kills, seconds and warnings are sums over all outcomes."""
    note = WarningNote("sklearn.exceptions:ConvergenceWarning", "did not converge", "f.py", 1)
    outcomes = [
        outcome(0, 0, busy_seconds=1.5, warnings=(note, note)),
        outcome(1, 0, status="failed", busy_seconds=0.25, node="two", warnings=(note,)),
        outcome(2, 0, status="killed", node="two"),
    ]

    summary = summarise(search, facts(outcomes=outcomes, nodes={"one": greeting()}, retries=2))

    assert (summary.fits, summary.failed, summary.killed, summary.retries) == (3, 1, 1, 2)
    assert summary.fit_seconds == 1.75
    (warning,) = summary.warnings
    assert (warning.category, warning.count) == ("ConvergenceWarning", 3)
    one, two = summary.nodes
    assert (one.fits, one.fit_seconds, one.cpu, one.slots) == (1, 1.5, "A CPU", 2)
    assert (two.fits, two.fit_seconds, two.cpu) == (2, 0.25, "")


def test_refit_names_the_ranking_scorer():
    """Of several scorers, the one that `refit` names ranks the candidates."""
    search = fitted(scoring=["accuracy", "f1_macro"], refit="f1_macro")

    summary = summarise(search, facts(holdout_score={"accuracy": 0.5, "f1_macro": np.nan}))

    assert (summary.metric, summary.metrics) == ("f1_macro", ("accuracy", "f1_macro"))
    assert summary.best_score == search.best_score_
    assert summary.holdout_score == {"accuracy": 0.5, "f1_macro": None}
    assert "f1_macro   " in text_of(summary)


def test_several_scorers_without_refit_have_no_best():
    """If scikit-learn chooses no best candidate, neither does the summary."""
    summary = summarise(fitted(scoring=["accuracy", "f1_macro"], refit=False), facts())

    assert (summary.best_index, summary.best_params, summary.best_score) == (None, None, None)
    assert not summary.refitted
    assert summary.top[0].rank == 1
    assert "not chosen" in text_of(summary)


def test_without_refit():
    """With one scorer and refit=False there is a best candidate without a refit."""
    search = fitted(refit=False)
    summary = summarise(search, facts())

    assert summary.best_params == search.best_params_
    assert (summary.refitted, summary.refit_seconds) == (False, None)


@pytest.mark.parametrize("scoring", [None, ["accuracy", "f1_macro"]])
def test_callable_refit(scoring):
    """The candidate that a callable refit chooses is best and comes first."""
    search = fitted(scoring=scoring, refit=lambda results: 2)
    summary = summarise(search, facts())

    assert not hasattr(search, "best_score_")
    assert summary.best_index == summary.top[0].index == 2
    metric = "accuracy" if scoring else "score"
    assert summary.best_score == search.cv_results_[f"mean_test_{metric}"][2]


def test_halving_shows_the_last_round_first():
    """In a halving search the candidates with the most data come first, the best one at the top."""
    search = HalvingGridSearchCV(
        DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, 3, 4, 5, 6]}, random_state=0
    ).fit(X, Y)

    summary = summarise(search, facts())

    iterations = [int(search.cv_results_["iter"][row.index]) for row in summary.top]
    assert summary.top[0].index == search.best_index_
    assert iterations == sorted(iterations, reverse=True)


def test_the_result_file_is_read_back_unchanged(tmp_path, search):
    """A summary written to result.json is read back equal, without unpickling."""
    note = WarningNote("builtins:UserWarning", "hm", "f.py", 1)
    known = facts(outcomes=[outcome(0, 0, warnings=(note,))], nodes={"one": greeting()})
    summary = summarise(search, known)

    write_result(tmp_path, result_json(summary, search.cv_results_, known.outcomes))

    assert read_summary(tmp_path) == summary


def test_numbers_in_json_are_exact(search):
    """Every float of cv_results_ has the same bits after the JSON."""
    document = json.loads(result_json(summarise(search, facts()), search.cv_results_))

    assert document["format"] == 2
    assert set(document["cv_results"]) == set(search.cv_results_)
    for name, column in search.cv_results_.items():
        if name != "params" and not name.startswith("param_"):
            assert document["cv_results"][name] == column.tolist()
    assert document["cv_results"]["params"] == search.cv_results_["params"]


def test_json_of_unusual_values():
    """NaN scores and absent parameters are null; estimators are marked as objects."""
    grid = [
        {"clf": [GaussianNB()], "clf__var_smoothing": [1e-9, 1e-3]},
        {"clf": [SVC()], "clf__class_weight": [None, {1: 2}], "clf__C": [np.float64(0.1)]},
    ]
    pipe = Pipeline([("clf", GaussianNB())])

    def scorer(estimator: Any, features: Any, targets: Any) -> float:
        is_svc = isinstance(estimator.steps[0][1], SVC)
        return math.nan if is_svc else float(estimator.score(features, targets))

    with pytest.warns(UserWarning, match="non-finite"):
        search = GridSearchCV(pipe, grid, cv=3, scoring=scorer).fit(X, Y)

    text = result_json(summarise(search, facts()), search.cv_results_)

    results = json.loads(text, parse_constant=pytest.fail)["cv_results"]
    assert results["mean_test_score"][2:] == [None, None]
    bayes, svc = {"$object": "GaussianNB()"}, {"$object": "SVC()"}
    assert results["param_clf"] == [bayes, bayes, svc, svc]
    assert results["param_clf__var_smoothing"] == [1e-9, 1e-3, None, None]
    assert results["param_clf__C"] == [None, None, 0.1, 0.1]
    assert results["params"][3]["clf__class_weight"] == {"$dict": [[1, 2]]}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (np.bool_(True), True),
        (2**70, 2**70),
        (np.int8(3), 3),
        (0.1, 0.1),
        (math.nan, {"$float": "nan"}),
        (-math.inf, {"$float": "-inf"}),
        (np.float32(0.1), float(np.float32(0.1))),
        ((10, (5, None)), {"$tuple": [10, {"$tuple": [5, None]}]}),
        ([10, (5,)], [10, {"$tuple": [5]}]),
        ({"a": 1.5}, {"a": 1.5}),
        ({1: 2}, {"$dict": [[1, 2]]}),
        ({"$tuple": 2}, {"$dict": [["$tuple", 2]]}),
        ("\ud800", {"$object": "'\\ud800'"}),
        (np.str_("rbf"), "rbf"),
        (SVC(C=3), {"$object": "SVC(C=3)"}),
        (len, {"$object": "<built-in function len>"}),
        (np.array([1, 2]), {"$object": "array([1, 2])"}),
    ],
)
def test_parameters_as_plain_data(value, plain):
    """Numbers, text, lists and dicts stay; other values become an object with their kind."""
    result = plain_parameter(value)

    assert result == plain
    assert type(result) is type(plain)


def test_a_repr_that_raises_is_replaced():
    """A parameter whose repr raises is described by its class."""

    class Unspeakable:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    text = "<Unspeakable, whose repr raised RuntimeError>"
    assert plain_parameter(Unspeakable()) == {"$object": text}


JSON_LACKS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.sampled_from(TAGS), inner, max_size=3)
    ),
)


@given(JSON_LACKS)
def test_values_that_json_lacks_are_read_back(value):
    """Tuples, infinities, and dicts with any keys come back from JSON as they were."""
    through_json = json.loads(msgspec.json.encode(plain_parameter(value)))
    assert repr(from_plain(through_json)) == repr(value)


FOREIGN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.sampled_from(TAGS), inner, max_size=2)
    ),
)


@given(FOREIGN)
@example({"$dict": [1]})
@example({"$dict": [[[1], 2]]})
@example({"$tuple": 5})
@example({"$float": "zz"})
@example({"$object": 3})
def test_values_that_someone_changed_have_a_text(value):
    """A document of someone else has any JSON where an encoded value stands; it is shown."""
    assert isinstance(plain_text(value), str)
    assert isinstance(parameter_text(from_plain(value)), str)


@given(st.floats())
def test_every_float_is_read_back(value):
    """A parameter that is a float keeps its bits, NaN and infinities included."""
    through_json = json.loads(msgspec.json.encode(plain_parameter(value)))
    assert repr(from_plain(through_json)) == repr(value)


def test_large_whole_numbers_in_json(search):
    """A parameter beyond 64 bits is written."""
    results = {**search.cv_results_, "params": [{"seed": 2**70}] * 3}

    document = json.loads(result_json(summarise(search, facts()), results))

    assert document["cv_results"]["params"][0] == {"seed": 2**70}


def test_long_values_are_shortened_for_the_terminal():
    """Long values are shortened, and an estimator is shortened to its class."""
    assert parameter_text("x" * 100, 10) == "x" * 9 + "…"
    assert parameter_text(SVC(C=12345)) == "SVC(…)"
    assert parameter_text((1.0, "a", None)) == "(1.0, a, None)"


@pytest.mark.parametrize("value", [(50,), (50, 50), {1: (2, 3)}, math.inf, [(1, 2)]])
def test_encoded_values_are_shown_as_python_writes_them(value):
    """Tables show a value from a result file as the value itself."""
    assert parameter_text(plain_parameter(value)) == parameter_text(value) == str(value)


def test_placement_names_the_node_of_every_fit(search):
    """The document names the node of each round, candidate and split."""
    outcomes = [
        outcome(0, 0),
        outcome(0, 1, node="two"),
        outcome(1, 0, node="two"),
        outcome(0, 0, round=1),
    ]
    summary = summarise(search, facts(outcomes=outcomes, nodes={"two": greeting()}))

    document = json.loads(result_json(summary, search.cv_results_, outcomes))

    assert [node["name"] for node in document["nodes"]] == ["one", "two"]
    assert document["nodes"][1]["versions"]["scikit-learn"] == "1.9.1"
    assert document["placement"] == [[[0, 1], [1, None]], [[0, None]]]


def test_derived_fit_times_are_marked(search):
    """The document marks fit times that are derived from another candidate's fit."""
    outcomes = [
        outcome(0, 0),
        outcome(0, 1, prefix_kept=True),
        outcome(1, 1, answered_by=0),
    ]
    summary = summarise(search, facts(outcomes=outcomes))

    document = json.loads(result_json(summary, search.cv_results_, outcomes))

    assert document["fit_time_derived"] == [[[False, True], [None, True]]]


def test_later_formats_are_refused(tmp_path):
    """A document of a later format is refused with an error that names it."""
    (tmp_path / "result.json").write_text('{"format": 3, "name": 3}')
    with pytest.raises(UsageError, match="has format 3 and this skygrid reads up to 2"):
        read_summary(tmp_path)


def test_damaged_result_is_explained(tmp_path):
    """A damaged document is an error that names the remedy; a missing one is None."""
    assert read_summary(tmp_path) is None
    (tmp_path / "result.json").write_text('{"format": 1')
    with pytest.raises(SkygridError, match="skygrid resume"):
        read_summary(tmp_path)


def test_csv_holds_all_of_cv_results(tmp_path):
    """The CSV has each column but `params`, exact numbers, and empty cells for absent values."""
    grid = [{"C": [0.1, 1]}, {"kernel": ["linear"], "class_weight": [None]}]
    search = GridSearchCV(SVC(), grid, cv=3, error_score=np.nan).fit(X, Y)

    write_csv(tmp_path, search.cv_results_)

    rows = list(csv.DictReader((tmp_path / "cv_results.csv").open()))
    assert list(rows[0]) == [name for name in search.cv_results_ if name != "params"]
    means = [float(row["mean_test_score"]) for row in rows]
    assert means == search.cv_results_["mean_test_score"].tolist()
    assert [row["param_C"] for row in rows] == ["0.1", "1.0", ""]
    assert [row["param_kernel"] for row in rows] == ["", "", "linear"]


def test_csv_opens_in_pandas(search):
    """pandas reads the CSV with its numbers."""
    pandas = pytest.importorskip("pandas")

    frame = pandas.read_csv(io.StringIO(csv_text(search.cv_results_)))

    for name in ("mean_test_score", "std_test_score", "mean_fit_time", "param_var_smoothing"):
        assert frame[name].tolist() == pytest.approx(search.cv_results_[name].tolist())


def test_nan_scores_in_csv():
    """A NaN score is written as nan."""
    with pytest.warns(UserWarning, match="non-finite"):
        search = fitted(scoring=first_or_nan)

    rows = list(csv.DictReader(io.StringIO(csv_text(search.cv_results_))))

    assert rows[1]["mean_test_score"] == "nan"


def test_warnings_are_counted_together():
    """Equal warnings are one line with a count, the most frequent first."""
    one = WarningNote("a.b:One", "x", "f.py", 1)
    two = WarningNote("a.b:Outer.Two", "y", "f.py", 1)

    counts = count_warnings([outcome(0, 0, warnings=(one, two)), outcome(0, 1, warnings=(two,))])

    assert [(count.category, count.count) for count in counts] == [("Outer.Two", 2), ("One", 1)]


def test_nodes_that_differ_are_named(search):
    """Differences between nodes that computed fits are named; nodes without fits are ignored."""
    nodes = {
        "one": greeting(),
        "two": greeting(cpu="Another CPU"),
        "idle": greeting(cpu="A third CPU", threads_per_slot=9),
    }
    outcomes = [outcome(0, 0), outcome(0, 1, node="two")]

    summary = summarise(search, facts(outcomes=outcomes, nodes=nodes))

    assert node_differences(summary.nodes) == {"cpu": {"A CPU": ["one"], "Another CPU": ["two"]}}
    assert "nodes differ in cpu: A CPU on one; Another CPU on two" in text_of(summary)


def test_table_fits_eighty_columns():
    """The table fits into 80 columns, also with long names and values."""
    grid = {"a_long_step_name__and_a_parameter": ["v" * 300], "clf": [SVC()]}
    pipe = Pipeline([("clf", SVC())])
    search = GridSearchCV(pipe, {"clf": [SVC(), GaussianNB()]}, cv=3).fit(X, Y)
    search.cv_results_["params"] = [{name: value[0] for name, value in grid.items()}] * 2

    text = text_of(summarise(search, facts(outcomes=[outcome(0, 0)], holdout_score=0.9)))

    assert max(map(len, text.splitlines())) <= 80
    assert "GridSearchCV: best of 2 candidates" in text
    assert "holdout" in text
    assert "saved in runs/a-run" in text


def test_markup_in_names_is_text(search):
    """Square brackets in parameters are printed as text, not as markup."""
    search.cv_results_["params"] = [{"p": "[bold]x[/bold] :smile:"}] * 3

    assert "[bold]x[/bold] :smile:" in text_of(summarise(search, facts()))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00042, "0.42 ms"),
        (0.042, "42 ms"),
        (3.44, "3.4 s"),
        (320, "5 min 20 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations(seconds, text):
    """A duration is printed with units that suit its size."""
    assert duration_text(seconds) == text


def test_files_are_replaced_whole(tmp_path):
    """A write that fails keeps the old file and leaves no others."""
    path = tmp_path / "folder"
    path.mkdir()
    (path / "x").write_text("old")

    with pytest.raises(SkygridError, match="cannot write"):
        write_atomic(path, b"new")
    with pytest.raises(TypeError), atomic_file(path / "x") as file:
        pickle.dump([bytes(100_000), file], file)

    assert [one.name for one in tmp_path.iterdir()] == ["folder"]
    assert [one.name for one in path.iterdir()] == ["x"]
    assert (path / "x").read_text() == "old"


def test_candidates_without_a_score_are_not_among_the_best():
    """A candidate whose score is NaN is not listed with the best."""
    with pytest.warns(UserWarning, match="non-finite"):
        search = fitted(scoring=first_or_nan)
    summary = summarise(search, facts())

    assert len(summary.top) == 2
    assert all(row.mean is not None for row in summary.top)


def test_a_scorer_without_scores_is_a_result():
    """A scorer that returns an empty dict ends in a summary without best candidate."""
    summary = summarise(fitted(scoring=lambda *_: {}, refit=False), facts())

    assert (summary.metrics, summary.metric, summary.best_index) == ((), "", None)
    assert summary.top == ()
    assert "the scorer returned no scores" in text_of(summary)
