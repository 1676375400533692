"""Hosts whose users have other login shells and start files, with real users and real sshd."""

from __future__ import annotations

import shutil
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import pytest

from skygrid.config import RunConfig, limits
from skygrid.environment.kit import Kit, build_kit
from skygrid.environment.records import Environment
from skygrid.errors import NodeError
from skygrid.nodes.ssh.agent_host import AgentPlace, HostNode
from skygrid.nodes.ssh.doctor import examine_host
from skygrid.nodes.ssh.failures import HostError
from skygrid.nodes.ssh.targets import SshOptions, find_target
from skygrid.worker.keeper.code import BYTECODE_HEADER
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


# ---- start files and accounts --------------------------------------------------------------------

UNHARMFUL = {
    "empty PATH": "PATH=",
    "wrong PATH": "PATH=/nowhere",
    "background process": "sleep 1000 &",
    "text": "echo welcome; echo to all >&2",
}


@pytest.mark.parametrize("bashrc", UNHARMFUL.values(), ids=UNHARMFUL)
def test_a_start_file_that_leaves_the_command_alone_is_no_trouble(
    ssh_bed: SshBed, account: UnixUser, kit: Kit, uv: str, bashrc: str
) -> None:
    """A host is prepared and used with any PATH, text and processes that a start file leaves."""
    account.change_shell(program("bash"))
    account.write(".bashrc", f"{bashrc}\n")
    shutil.rmtree(account.home / ".cache/skygrid/code", ignore_errors=True)
    try:
        host = UserHost(ssh_bed, account, kit, uv)
        assert not examine_host("h", host.target, RunConfig()).problems
        host.connect()
    finally:
        (account.home / ".bashrc").unlink()
        account.end_processes()


@dataclass(frozen=True)
class Hindrance:
    """An account that runs no command, and the message about it."""

    message: str
    shell: str = "bash"
    bashrc: str = ""
    settings: tuple[str, ...] = ()


HINDRANCES = {
    "exit": Hindrance("ended with exit code 3 and printed: no more", bashrc="echo no more; exit 3"),
    "other shell": Hindrance("ended with exit code 0 and printed nothing", bashrc="exec sh"),
    "input": Hindrance("a start file of its login shell waits for input", bashrc="read answer"),
    "nologin": Hindrance("exit code 1 and printed: This account is", shell="nologin"),
    "false": Hindrance("exit code 1 and printed nothing", shell="false"),
    "ForceCommand": Hindrance(
        "exit code 0 and printed: menu", settings=("ForceCommand echo menu",)
    ),
    "sftp alone": Hindrance(
        "allows sftp connections only", settings=("ForceCommand internal-sftp",)
    ),
}


@pytest.mark.parametrize("hindrance", HINDRANCES.values(), ids=HINDRANCES)
def test_an_account_that_runs_no_command_is_named_at_once(
    ssh_bed: SshBed,
    kit: Kit,
    uv: str,
    hindrance: Hindrance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error of run and doctor has the host's last lines and the next step, without a retry."""
    # A second command tells a shell that waits from a slow one, however short the first wait is.
    monkeypatch.setattr(limits, "SSH_SHELL", 1.0)
    with unix_user(program(hindrance.shell)) as user:
        user.write(".bashrc", f"{hindrance.bashrc}\n")
        host = UserHost(ssh_bed, user, kit, uv, hindrance.settings)
        message = host.refusal()
        assert hindrance.message in message
        assert "echo works" in message
        assert examine_host("h", host.target, RunConfig()).problems == (message,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("size=1m", "disk full"),
        ("size=100k", "disk full"),
        ("size=500m,noexec", "its disk is mounted with noexec; set folder under [ssh]"),
    ],
)
def test_a_home_that_cannot_hold_an_environment_is_named(
    ssh_bed: SshBed, kit: Kit, uv: str, options: str, message: str
) -> None:
    """The error names a home without room, and one from which no program can run."""
    with unix_user(program("bash"), home_options=options) as user:
        host = UserHost(ssh_bed, user, kit, uv)
        with pytest.raises(NodeError) as caught:
            host.connect()
        assert message in str(caught.value)
        assert examine_host("h", host.target, RunConfig()).problems


# ---- files that are kept on a host ---------------------------------------------------------------


def shorten(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "shortened code": ("code/*/skygrid/worker/agent/agent.py", shorten),
    "missing code": ("code/*/skygrid/worker/slots/pool.py", Path.unlink),
    "empty bridge": ("code/*/skygrid/worker/keeper/bridge.py", empty),
    "shortened bridge": ("code/*/skygrid/worker/keeper/bridge.py", shorten),
    "shortened bytecode": ("code/*/skygrid/worker/wire/__pycache__/stream.*.pyc", shorten),
    "shortened library": ("envs/*/lib/*/site-packages/msgspec/_core.*.so", shorten),
}


@pytest.mark.parametrize(("pattern", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_on_a_host_are_replaced(
    ssh_bed: SshBed,
    account: UnixUser,
    kit: Kit,
    uv: str,
    pattern: str,
    damage: Callable[[Path], None],
) -> None:
    """A run finds code and libraries that a crash of the host damaged, and makes them anew."""
    account.change_shell(program("bash"))
    host = UserHost(ssh_bed, account, kit, uv)
    host.connect()
    wait_until(lambda: not account.pids(), "the user's processes to end")
    (damaged,) = (account.home / ".cache/skygrid").glob(pattern)
    before = damaged.read_bytes()
    damage(damaged)
    host.connect()
    # Bytecode begins with the time of its source, which is a new copy.
    assert damaged.read_bytes()[BYTECODE_HEADER:] == before[BYTECODE_HEADER:]
