"""Program for a node's Python: it checks the Python, takes the worker's code, becomes the agent.

It travels as text behind ``python -c``. Old releases of Python 3 must be able to run it, in order
to name their version.
"""

import os
import sys
from importlib.util import find_spec

MARK = b"\nskygrid-agent" + b"-1\n"  # in two parts: a terminal that echoes this text is no agent
NEEDED = {"sklearn": "scikit-learn", "cloudpickle": "cloudpickle", "msgspec": "msgspec"}


def problem(minor: str, size: int) -> str:
    """Return why this Python cannot run the agent of a driver; empty if it can.

    Parameters
    ----------
    minor : str
        Version of the driver's Python, as ``3.12``.
    size : int
        Bytes of code that will arrive.
    """
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if here != minor:
        return f"it is Python {here}, and the driver's is {minor}"
    if size and not hasattr(os, "memfd_create"):
        return "only Linux can take the worker's code: install skygrid there and set shared = true"
    missing = [name for module, name in NEEDED.items() if find_spec(module) is None]
    return f"it lacks {', '.join(missing)}" if missing else ""


def start(size: int, seed: str, arguments: "list[str]") -> None:
    """Print the mark, read the code from standard input, and become the agent."""
    variables = dict(os.environ, PYTHONHASHSEED=seed)
    os.write(1, MARK)
    if size:
        # An unnamed file: nothing is left of it when the agent has ended. The path names this
        # process, because slots open it too.
        file = os.memfd_create("skygrid-worker", 0)
        while size:
            data = os.read(0, min(size, 1 << 20))
            if not data:
                sys.exit("skygrid: the channel ended before the worker's code had arrived")
            size -= os.write(file, data)
        path = f"/proc/{os.getpid()}/fd/{file}"
        others = [variables["PYTHONPATH"]] if variables.get("PYTHONPATH") else []
        variables["PYTHONPATH"] = os.pathsep.join([path, *others])
    command = [sys.executable, "-P", "-m", "skygrid.worker", *arguments]
    os.execve(sys.executable, command, variables)


def main() -> None:
    """Check this Python, or start the agent."""
    sys.path[:] = [folder for folder in sys.path if folder]  # not the working directory
    if sys.argv[1] == "check":
        sys.exit(problem(sys.argv[2], int(sys.argv[3])) or None)
    start(int(sys.argv[2]), sys.argv[3], sys.argv[4:])


if __name__ == "__main__":
    main()
