"""Warning filters on their way to a slot."""

from __future__ import annotations

import sys
import types
import warnings

import pytest

from skygrid.worker.warning_rules import pack_rules, unpack_rules


def test_filters_arrive_as_they_were() -> None:
    """What is unpacked is what was packed, patterns of messages included."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "shown .*", DeprecationWarning)
        filters = list(warnings.filters)
        assert unpack_rules(pack_rules(filters)) == filters


def test_a_category_that_a_node_lacks_costs_only_its_own_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A filter of a library that the node has not got is left out, the others hold."""
    library = types.ModuleType("library_of_the_driver")
    exec("class Noise(Warning): pass", library.__dict__)
    monkeypatch.setitem(sys.modules, library.__name__, library)
    rules = [("always", None, library.Noise, None, 0), ("error", None, UserWarning, None, 0)]
    packed = pack_rules(rules)
    monkeypatch.delitem(sys.modules, library.__name__)
    assert unpack_rules(packed) == rules[1:]
