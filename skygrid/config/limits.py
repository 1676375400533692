"""Time limits of the driver, in seconds unless the name says otherwise.

The limits that a user may set are in `records`. Those of the worker are in `skygrid.worker`, which
runs on nodes without this module. The inequalities between all of them are in
``tests/unit/test_limits.py``.
"""

from __future__ import annotations

# ---- queue ---------------------------------------------------------------------------------------

LEASE = 15.0
"""Leases of a node on this machine expire so long after its last sign of life."""

HEARTBEAT = 1.0
"""Interval between signs of life of an agent that works."""

REMOTE_LEASE = 40.0
"""The same for a node elsewhere. A broken connection is noticed within `CONNECTION_SILENCE`, and
only then mended."""

RECALL = 1.0
"""A node is asked to give leases back at most once in this time, so that a lease that no node can
start yet is not passed to and fro."""

OVERDUE = 30.0
"""A fit is never started a second time before this, however short its estimate."""

# ---- engine --------------------------------------------------------------------------------------

START_SILENCE = 300.0
"""A node that starts or makes ready is lost after this silence: it may be busy unpickling."""

RECORD_AFTER = 0.05
"""Outcomes are recorded together, the oldest at most about so late."""

HOUSEKEEPING = 0.25
"""Interval between looks at leases, silent nodes and the stop condition."""

STOP_GRACE = 1.0
"""Fits that run may go on for so long once a run was told to stop."""

# ---- processes on this machine -------------------------------------------------------------------

AGENT_END = 5.0
"""An agent has so long to end by itself after its channel was closed."""

STREAM_END = 2.0
"""A thread that reads or writes has so long to end before its descriptor is left open."""

# ---- connections that are mended -----------------------------------------------------------------

PING = 3.0
"""Interval between pings on a quiet connection."""

CONNECTION_SILENCE = 15.0
"""A connection that neither takes nor gives a byte for so long is dead."""

RECONNECT_FIRST = 0.2
RECONNECT_LONGEST = 10.0
"""Pauses between attempts to connect: the first, and the longest."""

EC2_RECONNECT_LONGEST = 5.0
"""The longest pause for an instance: it costs money while nobody is connected."""

CLOSE = 2.0
"""The last bytes that were written have so long to arrive when a transport is closed."""

# ---- SSH -----------------------------------------------------------------------------------------

SSH_LOOKUP = 15.0
"""Limit of ``ssh -G``; a Match exec in the user's configuration runs inside it."""

SSH_STEP = 15.0
"""Limit of each step of connecting: the socket, the banner, the keys, a channel."""

SSH_HOST_KEY = 15.0
"""Limit of a question about a host key to the programs of OpenSSH."""

SSH_STATUS = 5.0
"""A host has so long to tell how a command ended whose output has ended."""

SSH_BEAT = 5
"""Interval at which a command that may be silent for long says that it still runs."""

SSH_PROBE = 30.0
"""Limit of the doctor's question to a host."""

HOST_PREPARE = 1800.0
"""A host may take so long to be prepared: it may have to build packages."""

HOST_BRIDGE = 60.0
"""The bridge and the keeper may take so long to start, on a slow disk and a cold cache."""

HOST_RENEW = 5.0
"""Interval between renewals of a host's lease while it is made ready."""

HOST_ANSWER = 30.0
"""A host that is busy may take so long to renew its lease."""

# ---- EC2: calls ----------------------------------------------------------------------------------

EC2_ANSWER = 30.0
"""One answer of the API is waited for so long."""

EC2_PRICE_ANSWER = 5.0
"""The same for the price list: no price is worth waiting for."""

EC2_RETRY_FIRST = 0.5
EC2_RETRY_LONGEST = 8.0
"""Pauses before a call is repeated: the first, and the longest."""

EC2_CLOCK_SKEW = 300.0
"""AWS refuses calls that are signed with a clock further off:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""

EC2_NOTED_SKEW = 30.0
"""The doctor notes a clock that is further off."""

EC2_ADDRESS = 10.0
"""Limit of the question for the caller's own address."""

EC2_ACCESS = 10.0
"""Minimum interval between look-ups of the caller's own address."""

EC2_GROUP_VISIBLE = 60.0
"""A new security group becomes visible everywhere within this."""

S3_URL = 12 * 3600
"""A presigned URL holds so long; one that is signed with temporary credentials ends with them."""

# ---- EC2: instances ------------------------------------------------------------------------------

EC2_MARGIN_HOURS = 1.0
"""Hours after ``max_hours`` at which a node ends itself; results have been handed in by then."""

EC2_LONGEST_HOURS = 24.0 * 30
"""Hours after which a node of a run without an end ends itself."""

EC2_DRY = 300.0
"""A pool that had no capacity is tried after all others for so long."""

EC2_LAUNCH_AGAIN = 120.0
"""A launch that is throttled, or does not get through, is tried again for so long."""

EC2_LOOK_FIRST = 0.5
EC2_LOOK_LONGEST = 5.0
"""Intervals between looks at instances that are waited for: the first, and the longest."""

EC2_LOOK_FRESH = 2.0
"""A look at the instances that is newer answers why a connection failed."""

EC2_BOOT_LOOK = 15.0
"""Interval between looks at why an instance that boots cannot be reached."""

EC2_BOOT_SOCKET = 2.0
"""Limit of one attempt to reach an instance that boots: it is silent until it has a network."""

EC2_BOOT_PAUSE = 0.25
"""Pause after such an attempt."""

EC2_REFUSED_PAUSE = 1.0
"""Pause after a refused key: newer sshds shut out who is refused often,
https://man.openbsd.org/sshd_config (PerSourcePenalties)."""

EC2_HOST_KEY = 30.0
"""Limit of the command that replaces an instance's host key."""

EC2_KEY_RELOAD = 5.0
"""sshd may go on showing the key that was just replaced for so long."""

EC2_ADOPT = 600.0
"""An instance that ends itself in less is not worth adopting."""

EC2_ALIVE = 60.0
"""Interval between notes that a driver is at work: it bounds the error of a cost."""

EC2_UNUSED = 5.0
"""An instance that has had no agent of this run for so long is ended."""

# ---- EC2: the end --------------------------------------------------------------------------------

EC2_END = 900.0
"""Instances are asked to end and waited for so long; AWS mostly takes under a minute."""

EC2_END_AGAIN = 30.0
"""An instance that was told to end and does not is told again after this."""

EC2_GROUP_END = 300.0
"""Network interfaces of instances that have ended use a group for so long."""

EC2_VISIBLE = 120.0
"""After this the API shows what was launched, and no longer what has gone."""

EC2_GOODBYE = 10.0
"""Limit of telling one node over SSH to end itself."""

# ---- what is shown -------------------------------------------------------------------------------

USUAL_START = 150.0
"""Time from the order of a node to its first fit, as a rule: it boots, and packages are installed.
Only estimates of cost use it."""

USUAL_END = 90.0
"""Time from the last fit to the last node's end, as a rule; a budget holds back what that costs."""
