"""The worker in an environment with scikit-learn, cloudpickle and msgspec alone."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from skygrid.worker.wire.messages.from_agent import Greeting
from tests import misbehaving as bad
from tests.agent_driver import AgentDriver, search_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "scikit-learn", "cloudpickle", "msgspec", "numpy", "scipy", "joblib", "threadpoolctl",
)  # fmt: skip
FORBIDDEN = ("typer", "click", "rich", "psutil", "pandas", "sqlite3", "pytest", "skygrid.errors")
INSTALL_SECONDS = 300

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    # One test worker installs; the others wait in the meantime.
    pytest.mark.timeout(INSTALL_SECONDS + 60),
]


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a fresh environment, which all workers of a test run share."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "bare"
    python, done = folder / "bin" / "python", folder / "complete"
    with (shared / "bare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _make_environment(folder, python)
            done.touch()
    return python


def _make_environment(folder: Path, python: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    wanted = [f"{name}=={metadata.version(name)}" for name in PACKAGES]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    install = [python, "-m", "pip", "install", *quiet, *wanted]
    ended = subprocess.run(
        install, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if ended.returncode:
        pytest.fail(f"pip could not make the bare environment:\n{ended.stderr}")


@pytest.fixture
def worker_only(tmp_path: Path) -> Path:
    """Folder with ``skygrid/worker`` and an empty ``skygrid/__init__.py``."""
    package = tmp_path / "skygrid"
    shutil.copytree(
        ROOT / "skygrid" / "worker",
        package / "worker",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (package / "__init__.py").touch()
    return tmp_path


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_whole_round_runs_with_nothing_else_installed(
    bare_python: Path, worker_only: Path, method: str
) -> None:
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
    env = kept | {"PYTHONPATH": str(worker_only)}
    command = [str(bare_python), "-P", "-m", "skygrid.worker"]
    estimator = bad.Inquisitive(a=str(worker_only), path=" ".join(FORBIDDEN))
    with AgentDriver(method, slots=2, command=command, env=env) as agent:
        agent.setup()
        versions = agent.wait(Greeting).versions
        assert {versions[name] for name in PACKAGES[:2]} == {
            metadata.version(name) for name in PACKAGES[:2]
        }
        agent.open(search_of(estimator, bad.slot_pid, error_score="raise"), n_splits=10)
        ends = agent.run(*[(0, split) for split in range(10)])
        assert [(end.status, end.fit_error) for end in ends] == [("scored", None)] * 10
    installed = subprocess.run(
        [bare_python, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = {line.partition("==")[0].lower() for line in installed.split()}
    # narwhals comes with newer releases of scikit-learn.
    assert names <= {*PACKAGES, "pip", "setuptools", "narwhals"}, names
