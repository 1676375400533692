"""Values of the user's modules travel in pickles that a node opens one by one."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from skygrid.user_code.module_values import values_of
from skygrid.user_code.pickled_values import packed_values
from skygrid.worker.user_code.module_values import ModuleValues


def packed(search: Any = None, **modules: dict[str, Any]) -> ModuleValues:
    made = {name: ModuleType(name) for name in modules}
    for name, values in modules.items():
        vars(made[name]).update(values)
    return packed_values(values_of(made, {}), search)[0]


def groups(values: ModuleValues) -> list[tuple[str, ...]]:
    return [pickled.modules for pickled in values.pickles]


def test_each_module_has_a_pickle() -> None:
    """Modules without common objects, or with values that cannot change, have separate pickles."""
    text, pair = "text", (1, 2)
    found = packed(a={"held": [text, pair]}, b={"held": [text, pair]}, c={})
    assert groups(found) == [("a",), ("b",)]
    assert found.values == {}


def test_modules_with_a_common_object_share_a_pickle() -> None:
    """An object that two modules hold stays one object."""
    first, second = [1], [2]
    found = packed(
        a={"held": [first]}, b={"held": 1}, c={"held": [first, second]}, d={"x": (second,)}
    )
    assert groups(found) == [("a", "c", "d"), ("b",)]


def test_objects_of_the_search_stay_in_its_pickle() -> None:
    """Values of a module that holds an object of the search travel with the search."""
    part = [1]
    found = packed({"estimator": part}, a={"held": [part]}, b={"held": 1})
    assert found.values.keys() == {"a"}
    assert groups(found) == [("b",)]


def test_one_value_that_cannot_be_pickled_keeps_no_other_from_being_sent() -> None:
    """Values beside one that cannot be pickled are sent."""
    found = packed(a={"held": (one for one in "ab"), "limit": 5}, b={"held": [1]})
    assert groups(found) == [("a",), ("b",)]
    assert b"limit" in found.pickles[0].data
    assert b"held" not in found.pickles[0].data
