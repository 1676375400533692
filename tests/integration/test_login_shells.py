"""Hosts whose users have other login shells and start files, with real users and real sshd."""

from __future__ import annotations

import shutil
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import pytest

from skygrid.config import RunConfig
from skygrid.environment.kit import Kit, build_kit
from skygrid.environment.records import Environment
from skygrid.nodes.ssh.agent_host import AgentPlace, HostNode
from skygrid.nodes.ssh.doctor import examine_host
from skygrid.nodes.ssh.failures import HostError
from skygrid.nodes.ssh.targets import SshOptions, find_target
from tests.processes import wait_until
from tests.programs import SHELLS, program
from tests.sshd import SshBed
from tests.unix_users import UnixUser, python_for_all, unix_user

pytestmark = pytest.mark.timeout(600)

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"


@dataclass
class Log:
    """A watcher that keeps states and output."""

    states: list[str] = field(default_factory=list)
    output: bytes = b""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def state(self, text: str) -> None:
        with self.lock:
            self.states.append(text)

    def log(self, data: bytes) -> None:
        with self.lock:
            self.output += data


@pytest.fixture(scope="module")
def uv() -> Iterator[str]:
    """uv at a path that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="uv", dir="/tmp"))
    folder.chmod(0o755)
    yield shutil.copy(Path(sysconfig.get_path("scripts")) / "uv", folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def python() -> Iterator[str]:
    """An interpreter at a path that every user can reach."""
    with python_for_all() as path:
        yield path


@pytest.fixture(scope="module")
def kit(python: str) -> Kit:
    """A kit with all that a bridge needs, which is quickly installed."""
    wanted = ("cloudpickle==3.1.1", f"msgspec=={metadata.version('msgspec')}")
    return build_kit(Environment(python=python, minor=MINOR, requirements=wanted))


class UserHost:
    """A user's account on a host, as skygrid reaches it."""

    def __init__(
        self, bed: SshBed, user: UnixUser, kit: Kit, uv: str, settings: tuple[str, ...] = ()
    ) -> None:
        self.user = user
        self.node = bed.node(login=user, settings=settings, environment={"SKYGRID_UV": uv})
        self.target = find_target(bed.alias(self.node), SshOptions(config_file=bed.config_file))
        self.log = Log()
        self._kit: Future[Kit] = Future()
        self._kit.set_result(kit)

    def connect(self, folder: str = "~/.cache/skygrid") -> None:
        """Prepare the host, start a keeper and reach it."""
        place = AgentPlace(
            root=folder,
            name="one",
            arguments=(),
            cache_max_gb=1.0,
            hash_seed=0,
            orphan_after=1.0,
        )
        node = HostNode(self.target, place, self._kit, self.log)
        try:
            node.connect().close()
        finally:
            node.close()

    def refusal(self) -> str:
        """Return the message of an attempt that no later one would better."""
        with pytest.raises(HostError) as caught:
            self.connect()
        return str(caught.value)


@pytest.fixture(scope="module")
def account() -> Iterator[UnixUser]:
    """A user for all shells, so that packages are installed once."""
    with unix_user("/bin/sh") as user:
        yield user


@pytest.fixture(scope="module")
def ash() -> Iterator[str]:
    """Busybox under the name of its shell, as it goes by the name of the program."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    (folder / "ash").symlink_to(program("busybox"))
    yield str(folder / "ash")
    shutil.rmtree(folder)


# ---- login shells --------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_a_host_is_prepared_and_used_with_any_login_shell(
    ssh_bed: SshBed, account: UnixUser, kit: Kit, uv: str, ash: str, shell: str
) -> None:
    """A user of any common shell changes nothing for skygrid."""
    account.change_shell(ash if shell == "busybox" else program(shell))
    shutil.rmtree(account.home / ".cache/skygrid/code", ignore_errors=True)
    host = UserHost(ssh_bed, account, kit, uv)
    assert not examine_host("h", host.target, RunConfig()).problems
    host.connect()
    assert host.log.states == ["connecting", "preparing"]
    assert (account.home / ".cache/skygrid/code" / kit.code_key / "ready").exists()
    wait_until(lambda: not account.pids(), "the user's processes to end")
