"""Types of fields that several messages have, with their limits."""

from __future__ import annotations

from typing import Annotated

import msgspec

MOST_SECONDS = 1e9
"""Largest duration in a message, in seconds: 31 years."""

Seconds = Annotated[float, msgspec.Meta(ge=-MOST_SECONDS, le=MOST_SECONDS)]
"""Duration from a node; negative if its clock was set back."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Non-negative integer from a node that a float and a SQLite column hold exactly."""

Line = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""Number of a line, as the compiler stores it."""

Processors = Annotated[int, msgspec.Meta(ge=1, le=65536)]
"""Number of slots or processors; larger than any machine has."""

MOST_IN_HAND = 100_000
"""Most leases that a node may ask for at a time, and most leases or results in one message."""

Leases = Annotated[list[int], msgspec.Meta(max_length=MOST_IN_HAND)]
"""Leases that a node names. A list of small numbers takes eight times its size on the wire."""

Digest = Annotated[str, msgspec.Meta(max_length=200)]
"""Name of a blob."""
