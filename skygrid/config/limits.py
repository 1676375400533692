"""Time limits of the driver, in seconds unless the name says otherwise.

Limits that a user may set are in `records`. Those of the worker are in `skygrid.worker.limits`: it
runs on nodes without this module. ``tests/unit/config/test_limits.py`` asserts the inequalities.
"""

from __future__ import annotations

# ---- queue ---------------------------------------------------------------------------------------

LEASE = 15.0
"""Time from the last message of a node on this machine until its leases expire."""

HEARTBEAT = 1.0
"""Interval between heartbeats of a working agent."""

REMOTE_LEASE = 40.0
"""The same for a remote node. A broken connection is noticed after `CONNECTION_SILENCE`, and must
then be restored.
"""

RECALL = 1.0
"""Minimum interval between recalls from one node, so that leases that no node can start yet do not
move back and forth.
"""

RECALL_ANSWER = 60.0
"""Time for the answer to a recall. An agent answers at once, as it sends heartbeats."""

STALL = 600.0
"""Time for which a node may hold leases without starting one. A slot may have to import large
libraries from a slow disk first.
"""

OVERDUE = 30.0
"""Minimum running time before a fit may get a second copy, however short its estimate."""

# ---- engine --------------------------------------------------------------------------------------

START_SILENCE = 300.0
"""Maximum silence of a node that starts or prepares: it may be busy unpickling."""

PREPARE = 600.0
"""Time without progress after which a node that prepares for a round is lost, although it sends
heartbeats. It may have to import large libraries and unpickle a large search.
"""

RECORD_AFTER = 0.05
"""Maximum delay of an outcome that waits to be recorded together with others."""

HOUSEKEEPING = 0.25
"""Interval between checks of leases, silent nodes and the stop condition."""

STOP_GRACE = 1.0
"""Time that running fits get once a run is stopped."""

# ---- processes on this machine -------------------------------------------------------------------

AGENT_END = 5.0
"""Time that an agent gets to end after its channel was closed."""

ALIVE = 10.0
"""Interval between `Alive` messages to agents whose channel may outlive this process."""

COMMAND_KILLED = 1.0
"""Time that a killed command gets to end by SIGTERM, before SIGKILL."""

STREAM_END = 2.0
"""Time that a reading or writing thread gets to end before its descriptor is left open."""

# ---- Slurm ---------------------------------------------------------------------------------------

SLURM_ANSWER = 60.0
"""Limit of one of Slurm's commands; its controller may be busy."""

SLURM_LOOK_FIRST = 1.0
SLURM_LOOK = 10.0
"""First and later intervals between looks at the queue; sites ask not to look more often."""

SLURM_NOTICE = 60
"""Seconds before the time limit of a job at which its agent takes no more work. Slurm may send the
signal up to 60 seconds earlier still: https://slurm.schedmd.com/srun.html#OPT_signal
"""

SLURM_END = 60.0
"""Limit of the wait for cancelled jobs to leave the queue."""

# ---- connections that are mended -----------------------------------------------------------------

PING = 3.0
"""Interval between pings on a quiet connection."""

CONNECTION_SILENCE = 15.0
"""Time without a byte in either direction after which a connection is dead."""

RECONNECT_FIRST = 0.2
RECONNECT_LONGEST = 10.0
"""First and longest pause between attempts to connect."""

EC2_RECONNECT_LONGEST = 5.0
"""Longest pause for an instance: it costs money while it is disconnected."""

CLOSE = 2.0
"""Time for the last bytes to arrive when a transport is closed."""

# ---- gateways to Ray and Dask --------------------------------------------------------------------

GATEWAY_END = 20.0
"""Time that a gateway gets to end its hosts, and a cluster that it started."""

GATEWAY_LOOK = 1.0
"""Interval between questions to a cluster why a host does not start yet."""

GATEWAY_PROBE = 10.0
"""Time for the address of a cluster to accept a connection."""

# ---- SSH -----------------------------------------------------------------------------------------

SSH_LOOKUP = 15.0
"""Limit of ``ssh -G``, which may run a Match exec of the user's configuration."""

SSH_STEP = 15.0
"""Limit of each step of connecting: the socket, the banner, the keys, a channel."""

SSH_HOST_KEY = 15.0
"""Limit of OpenSSH's programs when they look up a host key."""

SSH_STATUS = 5.0
"""Time for a host to send a command's exit status after the end of its output."""

SSH_SHELL = 5.0
"""Time for a login shell to run a command. A longer wait is examined by a second command."""

SSH_SHELL_SLOW = 30.0
"""Limit of the second command."""

SSH_LINGER = 2.0
"""Time for the last output of a command that has ended; a process in the background may keep its
output open."""

SSH_BEAT = 5
"""Interval at which a command without output reports that it still runs."""

SSH_PROBE = 30.0
"""Limit of the doctor's probe of a host."""

HOST_PREPARE = 1800.0
"""Limit of a host's preparation: it may have to build packages."""

HOST_BRIDGE = 60.0
"""Limit of the start of bridge and keeper, on a slow disk and a cold cache."""

HOST_RENEW = 5.0
"""Interval between renewals of a host's lease while it is prepared."""

HOST_ANSWER = 30.0
"""Time for a busy host to renew its lease."""

# ---- EC2: calls ----------------------------------------------------------------------------------

EC2_ANSWER = 30.0
"""Limit of one answer of the API."""

EC2_PRICE_ANSWER = 5.0
"""The same for the price list: a price is not worth a longer wait."""

EC2_RETRY_FIRST = 0.5
EC2_RETRY_LONGEST = 8.0
"""First and longest pause before a call is repeated."""

EC2_CLOCK_SKEW = 300.0
"""Difference of clocks from which AWS refuses signed calls:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

EC2_NOTED_SKEW = 30.0
"""Difference of clocks from which the doctor notes it."""

EC2_ADDRESS = 10.0
"""Limit of a look-up of the caller's public IP address."""

EC2_ACCESS = 10.0
"""Minimum interval between look-ups of the caller's public IP address."""

EC2_GROUP_VISIBLE = 60.0
"""Time until a new security group is visible everywhere."""

S3_URL = 12 * 3600
"""Lifetime of a presigned URL; temporary credentials may end it earlier."""

# ---- EC2: instances ------------------------------------------------------------------------------

EC2_MARGIN_HOURS = 1.0
"""Hours after ``max_hours`` at which a node ends itself; its results have been sent by then."""

EC2_LONGEST_HOURS = 24.0 * 30
"""Hours after which a node of a run without a time limit ends itself."""

EC2_DRY = 300.0
"""Time for which a pool without capacity is tried after all others."""

EC2_LAUNCH_AGAIN = 120.0
"""Time for which a throttled or unanswered launch is repeated."""

EC2_LOOK_FIRST = 0.5
EC2_LOOK_LONGEST = 5.0
"""First and longest interval between API calls while instances are awaited."""

EC2_LOOK_FRESH = 2.0
"""Age up to which a list of instances explains a failed connection without a new call."""

EC2_BOOT_LOOK = 15.0
"""Interval between API calls that explain why a booting instance cannot be reached."""

EC2_BOOT_SOCKET = 2.0
"""Limit of one attempt to reach a booting instance, which is silent until it has a network."""

EC2_BOOT_PAUSE = 0.25
"""Pause after such an attempt."""

EC2_REFUSED_PAUSE = 1.0
"""Pause after a refused key: newer sshds block clients that are refused often,
https://man.openbsd.org/sshd_config (PerSourcePenalties).
"""

EC2_HOST_KEY = 30.0
"""Limit of the command that replaces an instance's host key."""

EC2_KEY_RELOAD = 5.0
"""Time for which sshd may still present the key that was just replaced."""

EC2_ADOPT = 600.0
"""Minimum remaining lifetime of an instance that is adopted."""

EC2_ALIVE = 60.0
"""Interval between notes that a driver runs: it limits the error of a cost."""

EC2_UNUSED = 5.0
"""Time without an agent of this run after which an instance is ended."""

# ---- EC2: the end --------------------------------------------------------------------------------

EC2_END = 900.0
"""Limit of the wait for instances to end; AWS mostly takes under a minute."""

EC2_END_AGAIN = 30.0
"""Interval between repeated requests to end an instance."""

EC2_GROUP_END = 300.0
"""Time for which network interfaces of ended instances may still use a group."""

EC2_VISIBLE = 120.0
"""Time after which the API shows all launched instances, and no ended ones."""

EC2_GOODBYE = 10.0
"""Limit of telling one node over SSH to end itself."""

# ---- what is shown -------------------------------------------------------------------------------

USUAL_START = 150.0
"""Usual time from the order of a node to its first fit: boot, then installation of packages. Only
cost estimates use it.
"""

USUAL_END = 90.0
"""Usual time from the last fit to the last node's end; a budget reserves its cost."""
