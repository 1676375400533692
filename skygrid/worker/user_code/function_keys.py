"""Identity of functions that travel by value.

The pickles of a search (data, search, plan of each round) may hold the same function. A key makes
it one function on a node, as cloudpickle does for classes: ``TABLE[self.function]`` is found.
"""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Callable
from typing import Any

_keys: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
"""On the driver, by function."""

_made: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
"""On a node, by key."""


def key_of(function: Any) -> str:
    """Return the key of a function, the same for its whole life."""
    return _keys.setdefault(function, uuid.uuid4().hex)


def made_once(key: str, make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Return the function with this key; make it unless it exists."""
    function = _made.get(key)
    if function is None:
        function = _made[key] = make(*arguments)
    return function
