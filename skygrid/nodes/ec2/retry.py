"""Repetition of API calls with growing delays."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from skygrid.config import limits

from .api import api_errors
from .api_errors import Decision, judge

LOGGER = logging.getLogger(__name__)

Pause = Callable[[float], object]
"""Waits for some seconds, or less if further waiting is pointless."""


def delays(
    first: float = limits.EC2_RETRY_FIRST,
    longest: float = limits.EC2_RETRY_LONGEST,
    factor: float = 2.0,
) -> Iterator[float]:
    """Yield the seconds to wait before each further try, growing and with jitter.

    Source: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    seconds = first
    while True:
        yield seconds * random.uniform(0.7, 1.0)
        seconds = min(longest, seconds * factor)


def retried(
    call: Callable[[], Any],
    action: str,
    region: str,
    *,
    again: frozenset[Decision],
    seconds: float,
    pause: Pause = time.sleep,
) -> Any:
    """Repeat a call until it succeeds, fails finally, or `seconds` have passed.

    Parameters
    ----------
    call : callable
    action : str
        Name of the call in IAM.
    region : str
    again : frozenset of Decision
        Failures that are worth another try.
    seconds : float
    pause : callable

    Raises
    ------
    Exception
        The error of the last try.
    """
    deadline = time.monotonic() + seconds
    for delay in delays():
        try:
            return call()
        except api_errors() as error:
            failure = judge(error, action, region)
            if failure.decision not in again or time.monotonic() + delay > deadline:
                raise
            LOGGER.debug("%s is called again in %.1f s: %s", action, delay, failure.text)
            pause(delay)
    raise AssertionError("delays never end")
