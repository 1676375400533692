"""Time limits and sizes of the worker that depend on one another or on the driver's.

Those that concern one module alone stand there. ``tests/unit/config/test_limits.py`` asserts the
inequalities, also with `skygrid.config.limits`.
"""

from __future__ import annotations

# ---- keeper --------------------------------------------------------------------------------------

KEEPER_TICK_SECONDS = 0.25
"""Longest time between two checks of the keeper, such as for a silent connection."""

KEEPER_PING_SECONDS = 3.0
"""Interval between pings on a quiet connection."""

KEEPER_SILENCE_SECONDS = 15.0
"""Time without bytes after which a connection counts as dead; the driver pings more often."""

FIRST_VISIT_SECONDS = 60.0
"""Time in which the driver that started the keeper must connect, if need be over a new connection.
A driver that gave up during the setup of the node does not come back.
"""

LEASE_RENEWAL_SECONDS = 3.0
"""Interval between renewals of a machine's lease. The machine ends itself when the lease expires.
"""

AGENT_END_SECONDS = 5.0
"""Time for an agent to end by itself after its driver is gone."""

KEEPER_LOCK_SECONDS = 0.5
"""Longest wait for the folder's lock when the keeper ends: a bridge that replaces the keeper holds
it.
"""

KEEPER_END_SECONDS = 15.0
"""Time for a keeper to end after SIGTERM before it is killed. It ends its agent first."""

# ---- bridge --------------------------------------------------------------------------------------

KEEPER_START_SECONDS = 30.0
"""Longest time from the start of a keeper to its socket, on a slow disk and a cold cache."""

KEEPER_CONNECT_SECONDS = 30.0
"""Longest time for a running keeper to accept a connection."""

BRIDGE_LOCK_SECONDS = 90.0
"""Longest wait for the folder's lock: another bridge may end a keeper and start one."""

# ---- agent ---------------------------------------------------------------------------------------

ORPHANED_EXIT = 75
"""Exit code of an agent whose driver was silent for too long: EX_TEMPFAIL of sysexits.h."""

AGENT_TICK_SECONDS = 0.1
"""Longest time between two checks of the agent, such as for a heartbeat that is due."""

REPORT_SECONDS = 0.2
"""Longest time that results wait to be reported together.

They are lost when the node dies. A longer time would save messages and lose more fits."""

RECEIVING_SECONDS = 0.5
"""Longest interval between heartbeats while data arrives: they show its progress."""

UNUSED_SECONDS = 30 * 24 * 3600.0
"""Time without use after which data and files of programs are removed from a node: 30 days."""

# ---- sizes, from a fit's result to the connection ------------------------------------------------

EXCEPTION_ROOM = 500_000
"""Characters and bytes for the values of all exceptions of a fit. A character takes at most four
bytes.
"""

MAX_RESULT = 4 * 1024 * 1024
"""Bytes in the largest result that a slot sends uncut; half of `MAX_FRAME`."""

INLINE_BYTES = 256 * 1024
"""Bytes of the largest pickle of a call's results within a message. A larger one is a file, so that
heartbeats and other results pass it."""

MAX_NEWS = MAX_RESULT + 1024
"""Bytes in the largest message that an agent accepts from a slot."""

MAX_FRAME = 8 * 1024 * 1024
"""Bytes of the largest payload of a frame that driver and agent accept."""

MAX_FIRST_FRAME = 1024 * 1024
"""The same for an agent whose greeting the driver has not accepted: it has no results to send."""

CHUNK_BYTES = 1024 * 1024
"""Bytes of data in one message, before compression."""

MOST_QUEUED = 32 * 1024 * 1024
"""Bytes waiting for the agent above which the keeper stops reading from the driver."""

MOST_PRINTED = 4 * 1024 * 1024
"""Bytes waiting for the driver above which the keeper drops printed text."""

MOST_UNSENT = 64 * 1024 * 1024
"""Unacknowledged bytes at which a stream is full: the keeper stops reading from the agent."""

DATA_BYTES = 64 * 1024
"""Most bytes of the stream in one packet."""

ACK_BYTES = 256 * 1024
"""Received bytes after which an ACK is sent although no DATA is due."""
