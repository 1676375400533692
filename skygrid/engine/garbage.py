"""Keeps the collector of garbage from holding up a round."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Look for garbage among new objects only; what there was before is looked at afterwards.

    A driver with scikit-learn and a few libraries more has half a million objects. To go through
    all of them takes a tenth of a second, in which nodes wait for their leases.
    """
    if gc.get_freeze_count():
        # Somebody does so already, and only they know until when.
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
