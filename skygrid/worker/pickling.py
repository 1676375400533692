"""Pickling for the way to a node: cloudpickle, with code that remembers its file.

Recent releases of cloudpickle write ``<dynamic-code>`` in the place of the file's name. Tracebacks
of failed fits are part of a search's answer, and scikit-learn's own name the file.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any

import cloudpickle


class NodePickler(cloudpickle.Pickler):
    """cloudpickle's pickler; what it writes needs this module to be read."""


def _code(make: Callable[..., CodeType], arguments: tuple[Any, ...], filename: str) -> CodeType:
    return make(*arguments).replace(co_filename=filename)


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    make, arguments, *_ = _reduce(code)
    return _code, (make, arguments, code.co_filename)


_reduce = cloudpickle.Pickler.dispatch_table[CodeType]
NodePickler.dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({CodeType: _reduce_code})
