"""A process that has imported scikit-learn and forks agents and commands on request.

    python -P tests/warm_parent.py DESCRIPTOR

`tests.warm` starts it and sends requests over the socket DESCRIPTOR. A request is JSON, with the
descriptors of the standard streams. The answer is the id of the new process.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import socket
import sys
from pathlib import Path
from typing import Any

REQUEST_BYTES = 1 << 20
COMMAND = "skygrid"


def main() -> None:
    """Answer requests until the socket closes; in a forked process, run the requested module."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    importlib.import_module("skygrid.worker.machine.machine").limit_threads(1)
    for name in ("agent.agent", "agent.spot_interruption", "data.cache"):
        importlib.import_module(f"skygrid.worker.{name}")
    gc.freeze()
    request = _serve(connection)
    if request is not None and request["module"] == COMMAND:
        request = _with_parent_of_its_own(request)
    if request is not None:
        _become(request)


def _serve(connection: socket.socket) -> Any:
    """Fork for each request; return the request in the forked process, None in this one."""
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
            child = os.fork()
            if child == 0:
                os.close(reading)
                os.close(writing)
                connection.close()
                _take_streams(streams)
                return json.loads(data)
            # This exit makes the child a child of the requesting process.
            os.write(writing, str(child).encode())
            os._exit(0)
        os.waitpid(between, 0)
        connection.send(os.read(reading, 32))
        for descriptor in (reading, writing, *streams):
            os.close(descriptor)


def _take_streams(streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)


def _with_parent_of_its_own(request: dict[str, Any]) -> Any:
    """Fork once more, so that a command's agents can be forked as well.

    Returns
    -------
    request : dict or None
        Request of this process: the command's, or that of one of its agents.
    """
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        mine.close()
        # Release the command's streams: its reader waits until no process holds the pipe.
        _take_streams([os.open(os.devnull, os.O_RDWR) for _ in range(3)])
        return _serve(theirs)
    theirs.close()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    warm = importlib.import_module("tests.warm")
    del sys.path[0]
    warm.fork_with(mine)
    return request


def _become(request: dict[str, Any]) -> None:
    """Run ``python -m MODULE ARGUMENTS`` in this process."""
    import numpy as np

    from skygrid.worker.user_code import process_state

    if request["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    if request["module"] == COMMAND:
        sys.path.insert(0, request["folder"])
    sys.argv[1:] = request["arguments"]
    np.random.seed()
    process_state.START = process_state.taken(numpy=False)
    with contextlib.suppress(BrokenPipeError):
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
