"""The driver's warning filters on a node."""

from __future__ import annotations

import sys
import types
import warnings

import pytest

from skygrid.worker.user_code.warning_rules import filters_of, rules_now


class OwnWarning(UserWarning):
    """Warning of a module that a node may not have loaded."""


def test_a_filter_holds_for_a_class_that_is_loaded_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is loaded after the filters is recognised by its name, with its subclasses."""
    name = "never_loaded_before"
    made = type("Late", (OwnWarning,), {"__module__": name})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=made)
        rules = rules_now()
    assert name not in sys.modules
    with warnings.catch_warnings():
        warnings.filters[:] = filters_of(rules)  # type: ignore[index]  # a list, typed as a sequence
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        warnings.warn_explicit("of a subclass", type("Own", (made,), {}), "file", 1)
        with pytest.raises(OwnWarning):
            warnings.warn_explicit("of another", OwnWarning, "file", 1)
