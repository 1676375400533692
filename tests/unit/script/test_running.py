"""A script runs in skygrid's process as it runs under Python itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = """
import sys
from pathlib import Path
from skygrid.script.running import become_program, read_script, run_script
from skygrid.util.process import Interruption, interrupt_on_signals, last_signal
from skygrid.util.process import open_standard_streams

open_standard_streams()
interrupt_on_signals()
script = read_script(Path(sys.argv[1]))
main = become_program(script, sys.argv[2:])
try:
    code = run_script(script, main)
except Interruption:
    code = 128 + last_signal()
sys.exit(code)
"""

SCRIPTS = {
    "ends": "print('done')",
    "sys.exit": "import sys; sys.exit(7)",
    "sys.exit without a code": "import sys; sys.exit()",
    "sys.exit with a text": "import sys; sys.exit('no data')",
    "sys.exit with a large code": "import sys; sys.exit(-1)",
    "sys.exit in a function at exit": "import atexit; atexit.register(print, 'at exit')",
    "raises": "def f():\n    raise ValueError('bad')\n\nf()",
    "raises in a finally": "try:\n    1 / 0\nfinally:\n    {}['x']",
    "raises a group": "raise ExceptionGroup('two', [ValueError(1), KeyError(2)])",
    "has a hook of its own": "import sys\nsys.excepthook = lambda *e: print(e[0])\n1 / 0",
    "has a hook that fails": "import sys\nsys.excepthook = lambda *e: e[5]\n",
    "has a thread that goes on": (
        "import threading\nmain = threading.main_thread()\n"
        "threading.Thread(target=lambda: (main.join(), print('thread'))).start()\nprint('main')"
    ),
    "leaves a pool of threads": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "print(ThreadPoolExecutor(1).submit(abs, -3).result())"
    ),
    "asks for its surroundings": (
        "import sys\nprint(sys.argv, sys.path[0], __file__, __name__, __spec__, __package__)\n"
        "print(sorted(globals().keys() - {'__annotations__', '__cached__'}))\n"
        "print(sys.modules['__main__'].__file__)"
    ),
    "reads stdin": "print(input(), input())",
    "writes bytes": "import sys; sys.stdout.buffer.write(b'\\xff\\x00')",
    "warns": "import warnings; warnings.warn('old\\x1b[0m')",
    "imports a neighbour": "import beside; print(beside.__file__)",
    "pickles its own class": (
        "import pickle\nclass Own: pass\nprint(type(pickle.loads(pickle.dumps(Own()))) is Own)"
    ),
    "starts processes": (
        "import multiprocessing as mp\ndef f(x): return x + 1\n"
        "if __name__ == '__main__':\n"
        "    with mp.get_context('spawn').Pool(1) as pool: print(pool.map(f, [1, 2]))"
    ),
    "ends at once": "import os; os._exit(9)",
}


def _run(command: list[str], folder: Path) -> tuple[int, bytes, bytes]:
    (folder / "beside.py").touch()
    done = subprocess.run(
        [sys.executable, *command, "script.py", "--nodes", "-v"],
        cwd=folder,
        input=b"first\nsecond\n",
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_as_under_python(name: str, tmp_path: Path) -> None:
    """Exit code, output, tracebacks and surroundings of a script are those of ``python script``."""
    (tmp_path / "script.py").write_text(SCRIPTS[name])
    (tmp_path / "runner.py").write_text(RUNNER)
    assert _run([str(tmp_path / "runner.py")], tmp_path) == _run([], tmp_path)


def test_a_forked_child_ends_nothing_of_its_parent(tmp_path: Path) -> None:
    """A child that a script forks ends at its own exit and leaves the clean-up to the parent."""
    (tmp_path / "script.py").write_text(
        "import os, sys\nchild = os.fork()\nif not child:\n    sys.exit(5)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    (tmp_path / "runner.py").write_text(RUNNER.replace("sys.exit(code)", "print('cleaned up')"))
    assert _run([str(tmp_path / "runner.py")], tmp_path) == (0, b"5\ncleaned up\n", b"")


@pytest.mark.parametrize(
    ("number", "script", "code"),
    [
        (signal.SIGINT, "", 130),
        (signal.SIGTERM, "", 143),
        (signal.SIGINT, "except KeyboardInterrupt: sys.exit(3)", 3),
        (signal.SIGTERM, "except Exception: sys.exit(3)", 143),
    ],
)
def test_signals_reach_the_script(
    number: signal.Signals, script: str, code: int, tmp_path: Path
) -> None:
    """Ctrl-C is the script's KeyboardInterrupt; SIGTERM unwinds the script and ends it."""
    waiting = f"try:\n    print('ready', flush=True); input()\n{script or 'finally: pass'}"
    (tmp_path / "script.py").write_text(f"import sys\n{waiting}")
    (tmp_path / "runner.py").write_text(RUNNER)
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "runner.py", "script.py"],
        cwd=tmp_path,
        stdin=read,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    os.close(read)
    os.close(write)
    assert process.returncode == code
    assert b"running.py" not in err
    assert (b"KeyboardInterrupt" in err) == (code == 130)
