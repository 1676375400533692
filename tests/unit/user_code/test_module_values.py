"""Values of the user's modules: those that are sent, and their state on a node."""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skygrid.user_code import sendable_values
from skygrid.user_code.imports import pickle_by_value, registered_by_program
from skygrid.user_code.module_values import UserValues, values_of
from skygrid.user_code.sendable_values import has_large, without_obstacles
from skygrid.worker.user_code.module_values import forget_values, put_data
from skygrid.worker.user_code.pickling import forget_module, import_by_name
from skygrid.worker.user_code.references import node_pickler
from skygrid.worker.user_code.unpickling import node_unpickled

TEXT = """
import collections, enum, functools, threading
from os import environ
from random import shuffle
from numpy.random import rand

class Plain:
    limit, table = 1, {}

    def __init__(self):
        self.held, self.lock = {}, threading.Lock()

class Slotted:
    __slots__ = ("alpha",)

    def __init__(self):
        self.alpha = 0

class Listed(list):
    pass

class Mode(enum.Enum):
    A = 1

class Odd:
    broken = False

    def __reduce__(self):
        if self.broken:
            raise ValueError("not this one")
        return Odd, ()

def first():
    return 1

def second():
    return 2

CHOSEN = first
__private = 0
value, MISSING, plain, slotted, listed = None, object(), Plain(), Slotted(), Listed()
table, items, names, counts = {}, [], set(), collections.Counter()
ALIAS = table
MIXED = {"odd": Odd(), "lock": threading.Lock(), "limit": 1}
inner = []

class Compiled:
    def __init__(self, function):
        functools.update_wrapper(self, function)

    def __call__(self):
        return self.__wrapped__()

    def __reduce__(self):
        return Compiled, (self.__wrapped__,)

@Compiled
def fast():
    return 1

def keeps(function):
    inner.append(function)
    return lambda: function

def bound(value):
    return lambda: value

def preset(value):
    return lambda value=value: value

table |= {"f": bound(1), "g": preset(1)}

@keeps
def kept():
    return 1
"""

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Yield a user's module that nodes import by name."""
    (tmp_path / "own_state.py").write_text(TEXT)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("own_state")
    import_by_name(module)
    yield module
    forget_module("own_state")
    del sys.modules["own_state"]


def sent(module: ModuleType, data: Any = None) -> UserValues:
    return values_of({"own_state": module}, data or {})


def on_a_node(found: UserValues, rest: Any = None) -> tuple[Any, Any]:
    """Return the module as a node has it after a new import, and the rest of the search."""
    stream, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    content = {"values": found.values, "rest": rest}
    pickler = node_pickler(stream, found.references, protocol=5, buffer_callback=buffers.append)
    pickler.dump(content)
    del sys.modules["own_state"]
    views = [memoryview(buffer) for buffer in buffers]
    opened = node_unpickled(memoryview(stream.getvalue()), views)
    return importlib.import_module("own_state"), opened["rest"]


@given(PLAIN)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_plain_data_travels_as_it_is(own: Any, value: Any) -> None:
    """Numbers, texts and containers of these arrive with their types."""
    own.value = value
    node, _ = on_a_node(sent(own))
    sys.modules["own_state"] = own
    assert repr(node.value) == repr(value)


def test_objects_keep_their_identity(own: Any) -> None:
    """Objects of a module that the search holds are those of the node's module."""
    own.table["a"], own.plain.held["b"] = own.plain, own.MISSING
    held = ["table", "MISSING", "plain", "slotted", "listed", "counts", "names"]
    node, rest = on_a_node(sent(own), [getattr(own, name) for name in held])
    for name, one in zip(held, rest, strict=True):
        assert getattr(node, name) is one
    assert node.ALIAS is node.table
    assert node.table["a"] is node.plain
    assert node.plain.held["b"] is node.MISSING


def test_content_changes_in_place(own: Any) -> None:
    """An object has the driver's attributes and items; its locks are the node's own."""
    own.plain.new, own.slotted.alpha = 1, 2
    del own.plain.held
    own.listed += [1, 2]
    own.listed.name = "x"
    own.names.add("n")
    own.counts.update("aab")
    own.Plain.limit, own.Plain.table["t"] = 5, 6
    node, _ = on_a_node(sent(own))
    assert node is not own
    assert sorted(vars(node.plain)) == ["lock", "new"]
    assert node.plain.lock is not own.plain.lock
    assert (node.slotted.alpha, node.listed, node.listed.name) == (2, [1, 2], "x")
    assert (node.names, node.counts["a"]) == ({"n"}, 2)
    assert (node.Plain.limit, node.Plain.table) == (5, {"t": 6})


def test_objects_that_the_program_made_arrive(own: Any) -> None:
    """New globals, and objects of other classes than after the import, exist on a node."""
    own.new, own.table = own.Plain(), SimpleNamespace(alpha=1)
    own.new.held["x"] = np.arange(3.0)
    node, rest = on_a_node(sent(own), [own.new])
    assert rest[0] is node.new
    assert node.new.held["x"].tolist() == [0, 1, 2]
    assert node.table.alpha == 1


def test_unchanged_parts_stay_the_objects_of_the_import(own: Any) -> None:
    """Functions that a decorator has stored are those that the node's module calls."""
    node, _ = on_a_node(sent(own))
    assert node.kept() is node.inner[0]
    assert node.kept is not own.kept


def test_functions_with_other_variables_arrive(own: Any) -> None:
    """A function of the same code with another closure or default replaces the node's."""
    own.table["f"], own.table["g"] = own.bound(5), own.preset(6)
    node, _ = on_a_node(sent(own))
    assert (node.table["f"](), node.table["g"]()) == (5, 6)


def test_objects_of_libraries_stay_theirs(own: Any) -> None:
    """Objects that a module imports, methods of these, and compiled functions are not sent."""
    found = sent(own)
    names = found.values.values["own_state"]
    assert not {"environ", "shuffle", "rand", "Mode", "fast"} & names.keys()
    own.SETTINGS = own.environ
    node, rest = on_a_node(sent(own), {"held": own.environ})
    assert rest["held"] is node.environ is node.SETTINGS is own.environ


def test_data_of_the_search_is_sent_once(own: Any) -> None:
    """A global that is part of the search's data refers to that part."""
    X = own.value = np.arange(4.0)
    found = sent(own, {"X": X})
    node, _ = on_a_node(found)
    assert node.value is None
    put_data(found.values.shared, {"X": X})
    assert node.value is X


def test_a_node_holds_data_of_the_search_during_a_round_only(own: Any) -> None:
    """A global that is part of the data gets the value of the import back after the round."""
    X = own.value = own.new = np.arange(4.0)
    found = sent(own, {"X": X})
    node, _ = on_a_node(found)
    put_data(found.values.shared, {"X": X})
    assert node.value is node.new is X
    forget_values()
    assert node.value is None
    assert not hasattr(node, "new")


def test_a_node_keeps_its_own_parts_for_those_that_cannot_be_sent(own: Any) -> None:
    """An object that cannot be pickled keeps no other from being sent."""
    own.Odd.broken = True
    own.MIXED["limit"], own.value = 5, (one for one in "ab")
    kept, too_large = without_obstacles(sent(own))
    node, _ = on_a_node(kept)
    assert too_large == ()
    assert node.value is None
    assert node.MIXED["limit"] == 5
    assert type(node.MIXED["odd"]) is node.Odd
    assert node.MIXED["lock"].acquire(blocking=False)


def test_values_have_a_limit(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest values are left out, and named."""
    monkeypatch.setattr(sendable_values, "MOST_BYTES", 100_000)
    own.value, own.table["a"] = np.zeros(10_000), np.zeros(20_000)
    own.table["b"] = 1
    kept, too_large = without_obstacles(sent(own))
    assert too_large == ("own_state.table",)
    assert has_large(sent(own))
    assert without_obstacles(sent(own))[1] == too_large
    node, _ = on_a_node(kept)
    assert node.value.shape == (10_000,)
    assert "a" not in node.table
    assert node.table["b"] == 1
    del node.table, own.table["b"]
    own.table.clear()
    assert not has_large(sent(own))


@pytest.mark.parametrize("assigned", [np.log, sum, sorted, UserValues])
def test_a_function_that_was_assigned_arrives(own: Any, assigned: Any) -> None:
    """A function or class of a library under another name is sent."""
    own.METRIC = assigned
    node, _ = on_a_node(sent(own))
    assert node.METRIC is assigned


def test_a_switch_among_functions_of_a_module_arrives(own: Any) -> None:
    """A global that names another function or class of its own module is sent."""
    own.CHOSEN, own.__private = own.second, 7
    node, _ = on_a_node(sent(own))
    assert node.CHOSEN is node.second
    assert node.__dict__["__private"] == 7


def test_a_program_may_register_modules_with_cloudpickle(own: Any) -> None:
    """A module that was registered for a saved search does not count as the program's choice."""
    pickle_by_value([own])
    assert not registered_by_program("own_state")
    cloudpickle.unregister_pickle_by_value(own)
    package = ModuleType("own_package")
    sys.modules["own_package"] = package
    cloudpickle.register_pickle_by_value(package)
    assert registered_by_program("own_package.inner")
    assert not registered_by_program("own_packages")
    cloudpickle.unregister_pickle_by_value(package)
    del sys.modules["own_package"]
