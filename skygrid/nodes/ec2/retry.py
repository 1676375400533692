"""Trying again: how long to wait, and for how long to go on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from skygrid.config import limits

from .api import api_errors
from .api_errors import Decision, judge

Pause = Callable[[float], object]
"""Waits for so many seconds, or until there is no more point in waiting."""


def delays(
    first: float = limits.EC2_RETRY_FIRST,
    longest: float = limits.EC2_RETRY_LONGEST,
    factor: float = 2.0,
) -> Iterator[float]:
    """Seconds to wait before each further try: ever longer, and never the same for two threads.

    Exponential back-off with jitter:
    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    seconds = first
    while True:
        yield seconds * random.uniform(0.7, 1.0)
        seconds = min(longest, seconds * factor)


def patiently(
    call: Callable[[], Any],
    action: str,
    region: str,
    *,
    again: frozenset[Decision],
    seconds: float,
    pause: Pause = time.sleep,
) -> Any:
    """Call until it succeeds, fails for good, or `seconds` have gone by.

    Parameters
    ----------
    call : callable
    action : str
        As IAM names it.
    region : str
    again : frozenset of Decision
        Failures after which another try makes sense.
    seconds : float
    pause : callable

    Raises
    ------
    Exception
        What the last try raised.
    """
    deadline = time.monotonic() + seconds
    for delay in delays():
        try:
            return call()
        except api_errors() as error:
            failure = judge(error, action, region)
            if failure.decision not in again or time.monotonic() + delay > deadline:
                raise
            pause(delay)
    raise AssertionError("delays never end")
