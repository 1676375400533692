"""Keeps garbage collection from delaying a round."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Exclude the objects that exist now from garbage collection until the block ends.

    A driver with scikit-learn and a few more libraries has half a million objects. A full
    collection takes a tenth of a second, and nodes would wait for leases meanwhile.
    """
    if gc.get_freeze_count():
        # Other code froze objects and decides when to unfreeze them.
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
