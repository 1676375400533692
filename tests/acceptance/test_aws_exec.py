"""Scripts of ``skygrid exec`` on rented nodes, which end however the script ends."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.cloud.client import Cloud, cloud, cloud_server
from tests.cloud_runs import CloudBench
from tests.command import Command, wait_for

__all__ = ["cloud", "cloud_server"]

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(500)]

SCRIPT = """
import os, sys, time
from pathlib import Path
from joblib import Parallel, delayed


def wait(number):
    time.sleep(600)


print(Parallel(n_jobs=-1)(delayed(abs)(-number) for number in range(3)))
Path(__file__).with_name("used").touch()
way = sys.argv[1]
if way == "raises":
    raise ValueError("no more")
if way == "sys.exit":
    sys.exit(7)
Parallel(n_jobs=-1)(delayed(wait)(number) for number in range(4))
"""

ENDS = {"raises": (1, "ValueError: no more"), "sys.exit": (7, ""), "SIGTERM": (143, "interrupted")}


@pytest.mark.parametrize("way", ENDS)
def test_rented_nodes_end_with_the_script(way: str, tmp_path: Path, cloud: Cloud) -> None:
    """The price comes first; after an exception, sys.exit or SIGTERM no node is left, verified."""
    bench = CloudBench(tmp_path, cloud)
    bench.write_config()
    (tmp_path / "script.py").write_text(SCRIPT)
    options = ("--nodes", "1", "--trust-nodes", "--yes")
    command = Command(tmp_path, "exec", *options, "script.py", way, env=bench.bed.environment())
    wait_for((tmp_path / "used").exists, "the nodes work", 200.0)
    if way == "SIGTERM":
        command.signal(signal.SIGTERM)
    code, out, err = command.end(200.0)
    expected, words = ENDS[way]
    assert code == expected, err
    assert out == "[0, 1, 2]\n"
    assert words in err
    assert err.index("an hour") < err.index("0 nodes left, verified")
    assert not list((tmp_path / "skygrid-runs").iterdir())
    cloud.check_nothing_left()


def test_nothing_is_rented_without_consent(tmp_path: Path, cloud: Cloud) -> None:
    """Without a terminal and --yes, or without --trust-nodes, the script does not start."""
    bench = CloudBench(tmp_path, cloud)
    bench.write_config()
    config = tmp_path / "skygrid.toml"
    config.write_text(config.read_text().replace("yes = true\n", ""))
    (tmp_path / "script.py").write_text("print('started')\n")
    for options, words in (
        (["--trust-nodes"], "add --yes to spend it"),
        (["--yes"], "--trust-nodes"),
    ):
        command = Command(tmp_path, "exec", *options, "script.py", env=bench.bed.environment())
        code, out, err = command.end()
        assert (code, out) == (2, "")
        assert words in err
    assert not cloud.calls["ec2:RunInstances"]
