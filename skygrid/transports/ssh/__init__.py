"""SSH, the only room that knows paramiko.

`targets` reads the user's SSH configuration, `connection` opens a connection and runs commands over
it, `channel` carries a `transports.resuming` stream over one command, `failures` says in a user's
words what went wrong.
"""

import sys

# paramiko imports invoke for one thing, `Match exec` in what it reads of SSH configurations itself;
# that is a third of the time that it takes, and nodes wait for it. OpenSSH reads them here.
if "invoke" not in sys.modules:
    sys.modules["invoke"] = None  # type: ignore[assignment]  # as if it were not installed
    import paramiko  # noqa: F401

    del sys.modules["invoke"]
