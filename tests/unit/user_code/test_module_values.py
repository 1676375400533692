"""Plain data of the user's modules, which nodes set after their import."""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skygrid.user_code.module_values import MOST_ITEMS, plain_values

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


def module_of(**values: Any) -> ModuleType:
    module = ModuleType("own_settings")
    vars(module).update(values)
    return module


@given(PLAIN)
def test_plain_data_is_sent_unchanged(value: Any) -> None:
    """Numbers, texts and containers of these are sent themselves."""
    assert plain_values(module_of(value=value))["value"] is value


def test_other_values_are_not_sent() -> None:
    """Arrays, objects, their containers, large values and private names are not sent."""
    found = plain_values(
        module_of(
            array=np.zeros(3),
            held=[1, {"a": object()}],
            large=list(range(MOST_ITEMS)),
            long="x" * MOST_ITEMS,
            __secret__=1,
            kept=[1, 2],
        )
    )
    assert found == {"kept": [1, 2]}


def test_attributes_of_own_classes_are_sent() -> None:
    """Plain attributes of a module's own classes are sent, except those of enums."""

    class Settings:
        limit = 3

    class Mode(enum.Enum):
        A = 1

    class Foreign:
        limit = 4

    for own in (Settings, Mode):
        own.__module__ = "own_settings"
    found = plain_values(module_of(Settings=Settings, Mode=Mode, Foreign=Foreign))
    assert found == {"Settings.limit": 3}


def test_a_recursive_list_is_not_sent() -> None:
    """A list that contains itself is not plain data."""
    endless: list[Any] = []
    endless.append(endless)
    assert plain_values(module_of(endless=endless)) == {}
