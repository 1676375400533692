"""The script prepares a real environment with uv and the package index, in a home of its own."""

from __future__ import annotations

import base64
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest

from skygrid.environment.fetch_uv import pinned
from skygrid.environment.kit import Kit, build_kit
from skygrid.environment.records import Environment, LocalDistribution, Wheel
from skygrid.environment.resolve import resolve
from skygrid.environment.settings import EnvironmentConfig
from skygrid.environment.shell_commands import NOT_READY_EXIT, run_python, unpack_and_prepare
from skygrid.environment.wheels import build_wheels
from skygrid.nodes.ssh.reconnecting import ResumingTransport
from skygrid.worker.machine import machine
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages.from_agent import FromAgent, Greeting
from tests.disks import small_disk
from tests.kept import BridgeProcess
from tests.package_index import add_file, add_wheel, served
from tests.processes import wait_until
from tests.programs import program

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
UV = str(Path(sysconfig.get_path("scripts")) / "uv")
"""uv of the tests' environment, because a new machine has none on its PATH."""

INSTALL_SECONDS = 200
DAY = 86400
SMALL = Environment(
    python=MINOR,
    minor=MINOR,
    requirements=("cloudpickle==3.1.1", f"msgspec=={metadata.version('msgspec')}"),
)
"""Environment that is quickly made: enough for the bridge, too little for an agent."""

UNREACHABLE = "http://127.0.0.1:9/simple"

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.timeout(3 * INSTALL_SECONDS),
]


@dataclass(frozen=True)
class Host:
    """Home of a node's user, whose root has a name that needs quotes."""

    home: Path
    cache: Path
    """uv's cache, which all hosts of a test run share to save downloads."""

    root: str = "~/it's root"

    @property
    def folder(self) -> Path:
        return self.home / self.root.removeprefix("~/")

    def variables(self, **changes: str) -> dict[str, str]:
        foreign = ("PYTHON", "VIRTUAL_ENV", "UV_", "COV_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        own = {"HOME": str(self.home), "UV_CACHE_DIR": str(self.cache)}
        if "PATH" not in changes:
            own["SKYGRID_UV"] = UV
        return {**kept, **own, **changes}

    def start(self, kit: Kit, **changes: str) -> subprocess.Popen[bytes]:
        command = unpack_and_prepare(self.root, kit.environment_key, kit.code_key)
        process = subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.variables(**changes),
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            process.stdin.write(kit.data)
            process.stdin.close()
        except BrokenPipeError:  # it ended before it had read the kit; stderr has the reason
            pass
        process.stdin = None
        return process

    def prepare(self, kit: Kit, **changes: str) -> tuple[int, list[str]]:
        """Return the exit status and the lines on stderr."""
        process = self.start(kit, **changes)
        out, err = process.communicate(timeout=INSTALL_SECONDS)
        assert out == b""
        return process.returncode, err.decode().splitlines()

    def environment(self, kit: Kit) -> Path:
        system = os.uname()
        return self.folder / f"envs/{kit.environment_key}-{system.sysname}-{system.machine}"

    def is_ready(self, kit: Kit) -> bool:
        command = run_python(self.root, kit.environment_key, kit.code_key, ["--help"])
        said = subprocess.run(
            ["sh", "-c", command], env=self.variables(), capture_output=True, check=False
        )
        assert said.returncode in (0, NOT_READY_EXIT), said
        return said.returncode == 0

    def left(self) -> list[str]:
        """Return files of unfinished preparations."""
        return [
            str(path.relative_to(self.folder))
            for name in ("envs", "code", "tools", "incoming")
            for path in self.folder.glob(f"{name}/*")
            if path.name.startswith((".making-", "kit-"))
        ]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that all workers of a test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def full_kit() -> Kit:
    """Kit with this driver's libraries for an agent."""
    return build_kit(resolve(EnvironmentConfig(), {"sklearn"}))


@pytest.fixture(scope="session")
def prepared(shared: Path, full_kit: Kit) -> Host:
    """Host with an agent's environment, made by the first worker that needs it."""
    host = Host(shared / "prepared home", shared / "uv-cache")
    host.home.mkdir(exist_ok=True)
    with (shared / "prepared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, said = host.prepare(full_kit)
        assert status == 0, "\n".join(said)
    return host


@pytest.fixture
def host(tmp_path: Path, shared: Path) -> Host:
    """Host that skygrid has not used before."""
    return Host(tmp_path, shared / "uv-cache")


# ---- preparation ---------------------------------------------------------------------------------


def test_an_agent_greets_from_the_environment(prepared: Host, full_kit: Kit) -> None:
    """In the prepared environment an agent starts behind a keeper, with the driver's versions."""
    agent = ["--folder", "agents/one", "--", "python", "-P", "-m", "skygrid.worker", "--slots", "1"]
    command = run_python(prepared.root, full_kit.environment_key, full_kit.code_key, agent)
    transport = ResumingTransport(
        lambda: BridgeProcess(["sh", "-c", command], prepared.variables())
    )
    transport.start()
    try:
        reader, greetings = FrameReader(FromAgent), list[Greeting]()
        while not greetings:
            data = transport.read()
            assert data, transport.ended()
            greetings += [m for m in reader.feed(data) if isinstance(m, Greeting)]
        assert dict(greetings[0].versions) == machine.versions()
        assert (prepared.folder / "agents/one").is_dir()
    finally:
        transport.close()
    wait_until(lambda: not (prepared.folder / "agents/one").exists(), "the keeper to end")


def test_a_second_run_needs_no_network(prepared: Host, full_kit: Kit) -> None:
    """An existing environment is found without uv or an index, and with one line of output."""
    status, said = prepared.prepare(full_kit, UV_OFFLINE="1", SKYGRID_UV="/nowhere")
    assert (status, said) == (0, [f"environment {full_kit.environment_key} is ready"])
    assert prepared.left() == []


def test_busybox_makes_an_environment(host: Host) -> None:
    """A node with the shell, tar and find of busybox can prepare an environment."""
    tools = host.home / "tools"
    tools.mkdir()
    busybox = program("busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for name in {*applets.stdout.split()} - {"env"}:
        (tools / name).symlink_to(busybox)
    kit = build_kit(SMALL)
    status, said = host.prepare(kit, PATH=f"{tools}:{os.environ['PATH']}")
    assert status == 0, said
    assert host.is_ready(kit)
    status, said = host.prepare(
        build_kit(replace(SMALL, requirements=("cloudpickle==99.1",))),
        PATH=f"{tools}:{os.environ['PATH']}",
    )
    assert status == 1
    assert "cloudpickle==99.1" in said[-1]


def test_two_simultaneous_runs_succeed(host: Host) -> None:
    """Two runs that prepare one environment at the same time succeed and leave no other files."""
    kit = build_kit(replace(SMALL, setup=("true",)))
    both = [host.start(kit), host.start(kit)]
    ends = [process.communicate(timeout=INSTALL_SECONDS)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert host.is_ready(kit)
    assert host.left() == []


def test_a_killed_run_leaves_nothing_ready(host: Host) -> None:
    """After SIGKILL of a preparation nothing is ready, and the next run completes it."""
    pipe = host.home / "pipe"
    os.mkfifo(pipe)
    # The setup command waits until the pipe has a writer, which it does not get.
    kit = build_kit(replace(SMALL, setup=(f"test -e '{host.home}/go' || cat '{pipe}'",)))
    process = host.start(kit)
    assert process.stderr is not None
    while not process.stderr.readline().startswith(b"setup: "):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert host.left()
    assert not host.is_ready(kit)
    (host.home / "go").touch()
    status, said = host.prepare(kit)
    assert status == 0, said
    assert host.is_ready(kit)


@contextmanager
def _writer(pipe: Path) -> Iterator[None]:
    """Open the pipe for writing once it has a reader."""
    opened: list[int] = []

    def opens() -> bool:
        with suppress(OSError):
            opened.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    wait_until(opens, "somebody to read the pipe", INSTALL_SECONDS)
    try:
        yield
    finally:
        os.close(opened[0])


def test_a_terminated_run_cleans_up(host: Host) -> None:
    """SIGTERM ends a run and removes its unfinished environment and its kit."""
    pipe = host.home / "pipe"
    os.mkfifo(pipe)
    process = host.start(build_kit(replace(SMALL, setup=(f"cat '{pipe}'",))))
    # A shell that gets SIGTERM while it starts a command waits for that command, and a shell that
    # has not yet become the command may ignore it. So wait until the command runs: only then does
    # the pipe have a reader, without which a writer cannot open it.
    with _writer(pipe):
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()
    assert process.returncode != 0
    wait_until(lambda: not host.left(), "nothing to be left")


def test_a_local_project_travels_as_a_wheel(host: Host, tmp_path: Path) -> None:
    """A project that no index has can be imported in the environment."""
    source = tmp_path / "mine"
    source.mkdir()
    (source / "mine_of_own.py").write_text("x = 7\n")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "mine-of-own"\nversion = "3.0"\ndependencies = ["cloudpickle"]\n'
    )
    local = LocalDistribution(name="mine-of-own", version="3.0", source=str(source))
    environment = build_wheels(replace(SMALL, local=(local,)), tmp_path / "wheels")
    kit = build_kit(environment)
    status, said = host.prepare(kit)
    assert status == 0, said
    code = "import mine_of_own, cloudpickle; print(mine_of_own.x, cloudpickle.__version__)"
    python = host.environment(kit) / "bin" / "python"
    assert subprocess.check_output([python, "-P", "-c", code], text=True) == "7 3.1.1\n"


def test_a_lock_and_its_additions_are_installed(host: Host, tmp_path: Path) -> None:
    """A pylock.toml is installed first, then the libraries of skygrid that it lacks."""
    (tmp_path / "in.txt").write_text("cloudpickle==3.1.1\n")
    compile_ = [UV, "pip", "compile", "--quiet", "in.txt", "--format", "pylock.toml"]
    subprocess.run([*compile_, "-o", "pylock.toml"], cwd=tmp_path, check=True)
    lock = (tmp_path / "pylock.toml").read_text()
    kit = build_kit(replace(SMALL, requirements=(), lock=lock, additions=("threadpoolctl==3.5.0",)))
    status, said = host.prepare(kit)
    assert status == 0, said
    found = {path.name for path in host.environment(kit).glob("lib/*/site-packages/*.dist-info")}
    assert found == {"cloudpickle-3.1.1.dist-info", "threadpoolctl-3.5.0.dist-info"}


def test_setup_commands_run_in_order_in_the_environment(host: Host) -> None:
    """Setup commands run in order in the home folder, with the environment's python and uv."""
    kit = build_kit(
        replace(SMALL, setup=("python -c 'import cloudpickle' && pwd > a", "cat a > b; uv -V"))
    )
    status, said = host.prepare(kit)
    assert status == 0, said
    assert (host.home / "b").read_text().strip() == str(host.home)
    assert host.prepare(kit)[1] == said[-1:]


# ---- removal -------------------------------------------------------------------------------------


def test_old_files_are_removed(host: Host) -> None:
    """Environments unused for 30 days and old unfinished ones are removed; others stay."""
    old, young = time.time() - 31 * DAY, time.time() - 29 * DAY
    for name, when in {"envs/old": old, "envs/young": young, "code/old": old}.items():
        (host.folder / name).mkdir(parents=True)
        (host.folder / name / "ready").touch()
        os.utime(host.folder / name / "ready", (when, when))
    for name, hours in {
        "envs/.making-old": 49,
        "envs/.making-new": 1,
        "incoming/kit-old": 49,
    }.items():
        (host.folder / name / "inside").mkdir(parents=True)
        when = time.time() - hours * 3600
        os.utime(host.folder / name, (when, when))
    kit = build_kit(SMALL)
    assert host.prepare(kit)[0] == 0
    environments = {path.name for path in (host.folder / "envs").iterdir()}
    assert environments == {"young", ".making-new", host.environment(kit).name}
    assert [path.name for path in (host.folder / "code").iterdir()] == [kit.code_key]
    assert list((host.folder / "incoming").iterdir()) == []


def test_an_environment_without_its_python_is_made_again(host: Host) -> None:
    """An environment whose Python was removed is not ready and is made again."""
    kit = build_kit(SMALL)
    assert host.prepare(kit)[0] == 0
    python = host.environment(kit) / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert not host.is_ready(kit)
    assert host.prepare(kit)[0] == 0
    assert host.is_ready(kit)
    assert host.left() == []


def test_an_extra_index_is_not_overridden_by_the_public_one(host: Host, tmp_path: Path) -> None:
    """A package of an extra index is not replaced by a newer one of its name on the main index."""
    add_wheel(tmp_path / "private", "acme", "1.0")
    add_wheel(tmp_path / "public", "acme", "99.0")
    add_wheel(tmp_path / "public", "other", "2.0")
    add_wheel(tmp_path / "private", "other", "1.0")
    with served(tmp_path / "private") as private, served(tmp_path / "public") as public:
        environment = replace(
            SMALL,
            requirements=("acme", "other==2.0"),
            index_url=public,
            extra_index_url=(private,),
        )
        kit = build_kit(environment)
        status, said = host.prepare(kit, UV_FIND_LINKS="", UV_CACHE_DIR=str(host.home / "cache"))
    assert status == 0, said
    found = {path.name for path in host.environment(kit).glob("lib/*/site-packages/*.dist-info")}
    assert found == {"acme-1.0.dist-info", "other-2.0.dist-info"}


# ---- failures ------------------------------------------------------------------------------------


def failure(host: Host, environment: Environment, **changes: str) -> str:
    """Return the last line of a run that must fail and leave nothing."""
    kit = build_kit(environment)
    status, said = host.prepare(kit, **changes)
    assert status == 1, said
    assert said[-1].startswith("skygrid: "), said
    assert not host.is_ready(kit)
    assert host.left() == []
    return said[-1]


@pytest.mark.parametrize(
    ("requirement", "named", "advice"),
    [
        ("cloudpickle==99.1", "cloudpickle==99.1", "check name and version"),
        ("no-such-thing-of-skygrid==1.0", "no-such-thing-of-skygrid", "check name and version"),
        ("tensorflow==1.15.0", "tensorflow==1.15.0", "choose a version that has a wheel"),
    ],
)
def test_a_package_that_cannot_be_installed_is_named(
    host: Host, requirement: str, named: str, advice: str
) -> None:
    """The last line names the package and the remedy."""
    said = failure(host, replace(SMALL, requirements=(requirement,)))
    assert named in said
    assert advice in said


def test_a_wheel_of_another_platform_is_named(host: Host, tmp_path: Path) -> None:
    """A wheel for another system is named, with a remedy."""
    path = tmp_path / "mine-1.0-cp311-cp311-win_amd64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        described = "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n"
        archive.writestr("mine-1.0.dist-info/METADATA", described)
    local = LocalDistribution(name="mine", version="1.0", source="/x")
    wheels = (Wheel(path=path, digest="d"),)
    said = failure(host, replace(SMALL, local=(local,), wheels=wheels))
    assert "mine-1.0-cp311-cp311-win_amd64.whl" in said
    assert "choose a version that has a wheel" in said


def test_an_unreachable_index_is_reported(host: Host) -> None:
    """The given index is used, and the error says that it cannot be reached."""
    environment = replace(SMALL, index_url=UNREACHABLE)
    said = failure(host, environment, UV_HTTP_RETRIES="0", UV_CACHE_DIR=str(host.home / "cache"))
    assert "let this host reach the package index" in said


def test_the_hosts_own_pip_configuration_is_used(host: Host) -> None:
    """Without an index from the driver, that of the host's pip configuration is used."""
    changes = {"PIP_INDEX_URL": UNREACHABLE, "UV_HTTP_RETRIES": "0"}
    said = failure(host, SMALL, UV_CACHE_DIR=str(host.home / "cache"), **changes)
    assert "let this host reach the package index" in said


def test_a_missing_python_is_reported(host: Host) -> None:
    """A minor version that the host lacks and cannot download is named with a remedy."""
    said = failure(
        host,
        Environment(python="3.99", minor="3.99"),
        UV_PYTHON_INSTALL_MIRROR="http://127.0.0.1:9",
    )
    found = subprocess.check_output(["python3", "--version"], text=True).split()[1]
    assert said == (
        f"skygrid: no Python 3.99 on this host (its python3 is {found}) and none could be "
        "downloaded; install it or set python under [environment]"
    )


@pytest.mark.parametrize(
    ("python", "minor", "message"),
    [
        ("/nowhere/python", MINOR, "there is no Python at /nowhere/python on this host"),
        (sys.executable, "3.99", f"is Python {MINOR} and the driver runs 3.99"),
    ],
)
def test_a_wrong_path_of_python_is_reported(
    host: Host, python: str, minor: str, message: str
) -> None:
    """A path that is no Python, or one of another minor version, is named."""
    assert message in failure(host, Environment(python=python, minor=minor))


def test_a_setup_command_that_fails_is_named(host: Host) -> None:
    """The last line has the command and its exit status."""
    said = failure(host, replace(SMALL, setup=("true", "echo 'it is' >&2; exit 7", "touch no")))
    assert "\"echo 'it is' >&2; exit 7\" failed on this host with exit status 7" in said
    assert not (host.home / "no").exists()


@pytest.mark.parametrize("size", ["16k", "400k", "8m"])
def test_a_full_disk_is_reported(host: Host, size: str) -> None:
    """If kit, environment or packages do not fit, the last line says that the disk is full."""
    with small_disk(host.folder, size):
        environment = replace(SMALL, requirements=("numpy==2.2.6",))
        said = failure(host, environment, UV_CACHE_DIR=f"{host.folder}/uv-cache")
        assert "disk" in said
        assert "full" in said
        assert "KiB free" in said


def test_a_root_that_cannot_be_written_is_reported(shared: Path, tmp_path: Path) -> None:
    """A root below a file is an error that names it."""
    (tmp_path / "file").touch()
    host = Host(tmp_path, shared / "uv-cache", "~/file/root")
    status, said = host.prepare(build_kit(SMALL))
    assert status == 1
    assert said[-1].startswith(f"skygrid: cannot write to {tmp_path}/file/root on this host")


# ---- uv ------------------------------------------------------------------------------------------


@pytest.fixture
def bare_path(host: Host) -> str:
    """PATH with common tools and this Python's pip, but without uv, curl and wget."""
    tools = host.home / "bare"
    tools.mkdir()
    wanted = (
        "sh uname mkdir mktemp tar gzip rm df awk sed tail head find cp mv touch grep cat tr "
        "dirname getconf env id"
    )
    for name in wanted.split():
        (tools / name).symlink_to(shutil.which(name) or "")
    base = Path(sys.base_prefix) / "bin" / f"python{MINOR}"
    launcher = f'#!/bin/sh\nexec {shlex.quote(str(base))} "$@"\n'
    (tools / "python3").write_text(launcher)
    (tools / "python3").chmod(0o755)
    return str(tools)


def test_uv_is_installed_where_it_is_missing(host: Host, bare_path: str) -> None:
    """A host with Python and without uv gets uv under the root once."""
    kit = build_kit(replace(SMALL, python=f"{sys.base_prefix}/bin/python{MINOR}"))
    status, said = host.prepare(kit, PATH=bare_path)
    assert status == 0, said
    assert "getting uv" in said
    assert [path.name for path in (host.folder / "tools").iterdir()] == ["bin"]
    other = build_kit(
        replace(SMALL, python=f"{sys.base_prefix}/bin/python{MINOR}", setup=("true",))
    )
    status, said = host.prepare(other, PATH=bare_path)
    assert status == 0, said
    assert "getting uv" not in said


def test_uv_is_fetched_without_pip(host: Host, bare_path: str) -> None:
    """A host whose Python has neither pip nor venv gets uv from the index, with its hash."""
    launcher = Path(bare_path) / "python3"
    whole = launcher.read_text()
    launcher.write_text(
        whole.replace(
            "exec ", 'case "$*" in "-m "*) echo No module named $2 >&2; exit 1;; esac\nexec '
        )
    )
    kit = build_kit(replace(SMALL, python=f"{sys.base_prefix}/bin/python{MINOR}"))
    status, said = host.prepare(kit, PATH=bare_path)
    assert status == 0, said
    assert "No module named venv" in said
    version = subprocess.check_output([host.folder / "tools/bin/uv", "--version"], text=True)
    assert f"uv=={version.split()[1]} " in kit.files["uv.txt"].decode()


def test_a_replaced_uv_is_refused(host: Host, bare_path: str, tmp_path: Path) -> None:
    """An index whose uv has another hash than the kit's is not used, with or without pip."""
    version = pinned(build_kit(SMALL).files["uv.txt"].decode())[0]
    name = f"uv-{version}-py3-none-any.whl"
    add_file(tmp_path / "index", "uv", name, {f"uv-{version}.data/scripts/uv": "#!/bin/sh\n"})
    musl = f"uv-{version}-py3-none-musllinux_1_1_{os.uname().machine}.whl"
    add_file(tmp_path / "index", "uv", musl, {f"uv-{version}.data/scripts/uv": "#!/bin/sh\n"})
    with served(tmp_path / "index") as url:
        kit = build_kit(replace(SMALL, index_url=url))
        status, said = host.prepare(kit, PATH=bare_path, PIP_NO_INDEX="", PIP_FIND_LINKS="")
    assert status == 1
    assert "another hash than the one that skygrid expects" in "\n".join(said)
    assert f"a package index that has uv=={version}" in said[-1]
    assert not (host.folder / "tools/bin").exists()


def test_a_python_that_does_not_run_is_skipped(host: Host, bare_path: str) -> None:
    """A shim of pyenv that does not run is skipped for the next Python."""
    shims = host.home / "shims"
    shims.mkdir()
    (shims / f"python{MINOR}").write_text("#!/bin/sh\necho not chosen >&2\nexit 127\n")
    (shims / f"python{MINOR}").chmod(0o755)
    shutil.copy(Path(bare_path) / "python3", Path(bare_path) / f"python{MINOR}")
    kit = build_kit(SMALL)
    changes = {"SKYGRID_UV": UV, "UV_PYTHON_INSTALL_MIRROR": "http://127.0.0.1:9"}
    status, said = host.prepare(kit, PATH=f"{shims}:{bare_path}", **changes)
    assert status == 0, said
    assert host.is_ready(kit)


def test_a_host_without_uv_and_network_is_reported(host: Host, bare_path: str) -> None:
    """If uv cannot be installed, the last line reports that."""
    (Path(bare_path) / "python3").unlink()
    said = failure(host, SMALL, PATH=bare_path)
    assert "has no uv that skygrid can use and none could be installed" in said


# ---- private indexes -----------------------------------------------------------------------------


class PrivateIndex:
    """A package index that wants a password, with one wheel, at an address of this machine.

    Attributes
    ----------
    url : str
        Address with user and password.
    answered : list of str
        Paths that were asked for with the password.
    seen : set of str
        Command lines of this machine that had the password in them during a request.
    """

    def __init__(self, wheel: Path, password: str) -> None:
        self.answered: list[str] = []
        self.seen: set[str] = set()
        name = wheel.name.partition("-")[0]
        pages = {
            f"/simple/{name}/": f'<a href="/{wheel.name}">{wheel.name}</a>'.encode(),
            f"/{wheel.name}": wheel.read_bytes(),
        }
        wanted = f"Basic {base64.b64encode(f'me:{password}'.encode()).decode()}"
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.seen.update(_command_lines_with(password))
                if self.headers.get("Authorization") != wanted:
                    self._answer(401, b"", ("WWW-Authenticate", "Basic realm=index"))
                    return
                index.answered.append(self.path)
                page = pages.get(self.path)
                kind = "text/html" if self.path.endswith("/") else "application/zip"
                self._answer(404 if page is None else 200, page or b"", ("Content-Type", kind))

            do_HEAD = do_GET  # noqa: N815  # http.server calls it

            def _answer(self, status: int, body: bytes, header: tuple[str, str]) -> None:
                self.send_response(status)
                self.send_header(*header)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://me:{password}@127.0.0.1:{self._server.server_port}/simple"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> PrivateIndex:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _command_lines_with(word: str) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process has ended
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if word in line:
                yield line


def small_wheel(folder: Path, name: str) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_passwords_of_indexes_are_on_no_command_line(host: Host, tmp_path: Path) -> None:
    """Packages come from indexes with passwords, which no other user of the host can see."""
    first, second = small_wheel(tmp_path, "mine"), small_wheel(tmp_path, "ours")
    with PrivateIndex(first, "s3cret-a") as one, PrivateIndex(second, "s3cret-b") as two:
        environment = Environment(
            python=MINOR,
            minor=MINOR,
            requirements=("mine==1.0", "ours==1.0"),
            index_url=one.url,
            extra_index_url=(two.url, one.url),
        )
        status, said = host.prepare(build_kit(environment), UV_CACHE_DIR=str(tmp_path / "cache"))

    assert status == 0, said
    assert f"/{first.name}" in one.answered
    assert f"/{second.name}" in two.answered
    assert (one.seen, two.seen) == (set(), set())
    assert "s3cret" not in "\n".join(said)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_the_password_of_an_index_is_not_shown_to_fetch_uv(
    host: Host, tmp_path: Path, bare_path: str
) -> None:
    """pip, which fetches uv where it is missing, gets the password unseen too."""
    with PrivateIndex(small_wheel(tmp_path, "mine"), "s3cret-a") as index:
        said = failure(host, replace(SMALL, index_url=index.url), PATH=bare_path)

    assert "/simple/uv/" in index.answered
    assert index.seen == set()
    assert "s3cret" not in said
