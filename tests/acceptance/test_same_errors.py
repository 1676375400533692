"""An exception of a fit leaves the search as scikit-learn raises it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

import skygrid
from skygrid.errors import SearchFailedError
from tests.acceptance.doubles import SeveralScoresClassifier, ThresholdClassifier
from tests.acceptance.searches import flowers

pytestmark = pytest.mark.sklearn_versions


class Keyworded(Exception):
    """Has arguments that only its constructor can handle."""

    def __init__(self, level: int, *, reason: str) -> None:
        super().__init__(level, reason)
        self.seen = {"levels": [level, (2.5, b"x")], 3: None}


class Slotted(OSError):
    """Keeps a value outside ``__dict__``."""

    __slots__ = ("depth",)


class Mute(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class RaisingClassifier(ThresholdClassifier):
    """Calls `level` when it is fitted."""

    def fit(self, X: Any, y: Any) -> Any:
        self.level(self)
        return self


def make_local_class() -> type[Exception]:
    class Local(LookupError):
        pass

    return Local


LOCAL = make_local_class()
NOWHERE = "/nonexistent/a"


def raises(error: BaseException) -> Callable[[Any], None]:
    def raise_it(estimator: Any) -> None:
        raise error

    return raise_it


def local(estimator: Any) -> None:
    raise LOCAL("local", 2)


def keyworded(estimator: Any) -> None:
    raise Keyworded(3, reason="r")


def slotted(estimator: Any) -> None:
    error = Slotted(5, "io", "name")
    error.depth = 4
    raise error


def group(estimator: Any) -> None:
    inner = ExceptionGroup("inner", [KeyError("k"), OSError(2, "no", "f")])
    raise ExceptionGroup("several", [ValueError(1), inner])


def caused(estimator: Any) -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        raise ValueError("bad") from error


def in_context(estimator: Any) -> None:
    try:
        _ = {}["key"]
    except KeyError:
        raise ValueError("bad")  # noqa: B904  # the context is what is looked at


def without_context(estimator: Any) -> None:
    try:
        _ = {}["key"]
    except KeyError:
        raise ValueError("bad") from None


def cyclic(estimator: Any) -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__, first.args = second, first, ("first", first)
    raise first


def noted(estimator: Any) -> None:
    error = ValueError("bad")
    error.add_note("first")
    error.add_note("second")
    raise error


def unset_metadata(estimator: Any) -> None:
    raise UnsetMetadataPassedError(
        message="weights are not requested",
        unrequested_params={"sample_weight": np.arange(3.0)},
        routed_params={"fit": Bunch(a=1)},
    )


KINDS: dict[str, Callable[[Any], Any]] = {
    "assertion": raises(AssertionError()),
    "os": lambda _: os.stat(NOWHERE),
    "os_two_files": lambda _: os.rename(NOWHERE, NOWHERE + "b"),
    "os_path": lambda _: os.listdir(Path(NOWHERE)),
    "os_not_utf8": lambda _: os.stat(NOWHERE + "\udcff"),
    "import": lambda _: __import__("nonexistent_module"),
    "attribute": lambda _: (5).nothing,
    "name": lambda _: eval("nothing"),
    "key": lambda _: {}[1, 2.5],
    "syntax": lambda _: compile("a = (", "f.py", "exec"),
    "decode": lambda _: b"\xff".decode(),
    "encode": lambda _: "\udcff".encode(),
    "json": lambda _: json.loads("{"),
    "address": raises(socket.gaierror(-2, "Name or service not known")),
    "process": raises(subprocess.CalledProcessError(3, ["a", "b"], b"out", "err")),
    "timeout": raises(subprocess.TimeoutExpired("cmd", 3.5, output=b"x")),
    "exit": lambda _: sys.exit(3),
    "exit_with_text": lambda _: sys.exit("enough"),
    "interrupt": raises(KeyboardInterrupt()),
    "generator_exit": raises(GeneratorExit("x")),
    "stop": raises(StopIteration(7)),
    "stop_async": raises(StopAsyncIteration(7)),
    "values": raises(ValueError(10**400, {1, 2}, frozenset("a"), 1 + 2j, None, True, [(), b""])),
    "numpy_values": raises(ValueError(np.float32(0.1), np.arange(6).reshape(2, 3), np.dtype("f4"))),
    "classes": raises(TypeError(int, RaisingClassifier)),
    "memory": lambda _: np.zeros(1 << 50),
    "linalg": lambda _: np.linalg.inv(np.zeros((2, 2))),
    "pandas": lambda _: pd.DataFrame({"a": [1]})["b"],
    "polars": lambda _: pl.DataFrame({"a": [1]}).select("b"),
    "not_fitted": check_is_fitted,
    "unset_metadata": unset_metadata,
    "group": group,
    "local": local,
    "slotted": slotted,
    "keyworded": keyworded,
    "mute": raises(Mute(1)),
    "caused": caused,
    "in_context": in_context,
    "without_context": without_context,
    "cyclic": cyclic,
    "noted": noted,
}


def search(kind: Callable[[Any], Any]) -> Any:
    return GridSearchCV(RaisingClassifier(), {"level": [kind]}, cv=2, error_score="raise")


def raised_by(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def described(error: Any, above: tuple[int, ...] = ()) -> Any:
    """Return everything that a program can see of an exception, except traceback and node."""
    if not isinstance(error, BaseException):
        return type(error), re.sub("0x[0-9a-f]+", "0x", repr(error))
    if id(error) in above:
        return above.index(id(error))
    above = (*above, id(error))
    names = [name for name in dir(error) if name[0] != "_" and hasattr(error, name)]
    held = {name: getattr(error, name) for name in names}
    return {
        "class": type(error),
        "text": None if isinstance(error, Mute) else str(error),
        "held": {name: _plain(value, above) for name, value in held.items() if not callable(value)},
        "attributes": vars(error).keys() - {"__notes__"},
        "notes": [note for note in getattr(error, "__notes__", []) if "Raised by" not in note],
        "linked": [described(one, above) for one in (error.__cause__, error.__context__)],
        "suppressed": error.__suppress_context__,
    }


def _plain(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, list | tuple):
        return type(value), [_plain(item, above) for item in value]
    return described(value, above)


@pytest.fixture(scope="module")
def spawned(_doubles_by_value: None) -> Iterator[Any]:
    """Yield two nodes with one spawned slot each."""
    with skygrid.cluster(on="local", nodes=2, concurrency=1, start_method="spawn") as running:
        yield running


@pytest.mark.parametrize("name", KINDS)
def test_an_error_is_scikit_learns(name: str, cluster: Any) -> None:
    """Class, text, arguments, attributes, cause and context of an error are scikit-learn's."""
    X, y = flowers()
    kind = KINDS[name]
    theirs = raised_by(lambda: search(kind).fit(X, y))
    ours = raised_by(lambda: cluster.fit(search(kind), X, y))
    assert described(ours) == described(theirs)


@pytest.mark.parametrize("name", ["os", "decode", "exit", "local", "keyworded", "group", "stop"])
def test_an_error_of_a_spawned_slot_is_scikit_learns(name: str, spawned: Any) -> None:
    """A spawned slot on one of two nodes raises scikit-learn's error."""
    X, y = flowers()
    theirs = raised_by(lambda: search(KINDS[name]).fit(X, y))
    ours = raised_by(lambda: spawned.fit(search(KINDS[name]), X, y))
    assert described(ours) == described(theirs)


@pytest.mark.parametrize("options", [{}, {"refit": "share"}, {"return_train_score": True}])
def test_several_scores_of_an_estimator_are_scikit_learns_error(
    options: dict[str, Any], cluster: Any
) -> None:
    """A search that needs one score and gets several raises scikit-learn's error."""
    several = GridSearchCV(SeveralScoresClassifier(), {"level": [1, 2]}, cv=2, **options)
    theirs = raised_by(lambda: several.fit(*flowers()))
    ours = raised_by(lambda: cluster.fit(several, *flowers()))
    assert (type(ours), ours.args) == (type(theirs), theirs.args)


def test_an_error_keeps_its_context_while_another_is_handled(cluster: Any) -> None:
    """An error keeps the context of the fit when the caller is handling another exception."""
    try:
        raise OSError("outer")
    except OSError:
        ours = raised_by(lambda: cluster.fit(search(in_context), *flowers()))
    assert isinstance(ours.__context__, KeyError)


def test_the_traceback_of_the_fit_is_attached(cluster: Any) -> None:
    """An error carries the lines of the fit as a note."""
    ours = raised_by(lambda: cluster.fit(search(caused), *flowers()))
    assert any("in caused" in note for note in ours.__notes__)


def made_in_the_fit(estimator: Any) -> None:
    class Inner(LookupError):
        pass

    raise Inner("inner", 3)


def test_a_class_that_exists_only_in_a_fit_is_named(cluster: Any) -> None:
    """An exception class that exists only in the fit is raised as its base class, with a note."""
    ours = raised_by(lambda: cluster.fit(search(made_in_the_fit), *flowers()))
    assert isinstance(ours, SearchFailedError)
    assert isinstance(ours, LookupError)
    assert type(ours).__name__ == "Inner"
    assert (str(ours), ours.args) == ("('inner', 3)", ("inner", 3))
    said = "\n".join(ours.__notes__)
    assert "No class made_in_the_fit.<locals>.Inner is loaded here" in said
    assert "raise Inner" in said


class Dependent(Exception):
    """Builds its text from an object that is not plain data."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __str__(self) -> str:
        return f"about {self.thing.level}"


def test_the_text_of_an_exception_that_holds_an_estimator_is_kept(cluster: Any) -> None:
    """An exception that holds an estimator keeps class and text; the estimator becomes its repr."""
    kind = raises(Dependent(ThresholdClassifier(3)))
    ours = raised_by(lambda: cluster.fit(search(kind), *flowers()))
    assert isinstance(ours, Dependent)
    assert str(ours) == "about 3"
    assert repr(ours.thing) == "ThresholdClassifier(level=3)"


def test_a_huge_text_is_cut(cluster: Any) -> None:
    """A text of megabytes is shortened in the middle, and says so."""
    kind = raises(ValueError("begin" + "x" * 6_000_000 + "end"))
    ours = raised_by(lambda: cluster.fit(search(kind), *flowers()))
    assert type(ours) is ValueError
    assert str(ours).startswith("begin")
    assert str(ours).endswith("end")
    assert "characters left out" in str(ours)
    assert len(str(ours)) < 100_000
