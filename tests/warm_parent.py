"""A process that has imported what an agent imports, and forks agents when it is asked to.

    python -P tests/warm_parent.py DESCRIPTOR

`tests.warm` starts it and speaks with it over the socket DESCRIPTOR. A request is JSON with the
descriptors for the standard streams beside it, the answer is the id of the new process.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import runpy
import socket
import sys
from typing import Any

REQUEST_BYTES = 1 << 20


def main() -> None:
    """Answer requests until the other end is closed; in a forked process, become an agent."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    from skygrid.worker.machine import machine

    machine.limit_threads(1)

    gc.freeze()
    request = _serve(connection)
    if request is not None:
        connection.close()
        _become(request)


def _serve(connection: socket.socket) -> Any:
    """Fork for each request; return the request in the forked process, None at the end here."""
    while True:
        try:
            data, streams, _flags, _address = socket.recv_fds(connection, REQUEST_BYTES, 3)
        except KeyboardInterrupt:
            return None
        if not data:
            return None
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            agent = os.fork()
            if agent == 0:
                os.close(reading)
                os.close(writing)
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                    os.close(stream)
                return json.loads(data)
            # The agent loses its parent with this, and becomes a child of whoever asked for it.
            os.write(writing, str(agent).encode())
            os._exit(0)
        os.waitpid(between, 0)
        connection.send(os.read(reading, 32))
        for descriptor in (reading, writing, *streams):
            os.close(descriptor)


def _become(request: dict[str, Any]) -> None:
    """Be what ``python -P -m MODULE ARGUMENTS`` would be."""
    import numpy as np

    from skygrid.worker.user_code import process_state

    if request["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv[1:] = request["arguments"]
    np.random.seed()
    process_state.START = process_state.taken(numpy=False)
    gc.unfreeze()
    with contextlib.suppress(BrokenPipeError):
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
