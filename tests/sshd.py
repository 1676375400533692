"""Nodes for tests: real OpenSSH servers, and a client's configuration to reach them.

A node is an `sshd` with its own loopback address, home folder, host key and log. Processes on it
have a mark in their environment, so that a test can find and end them. Only root can give a node a
small disk. An ordinary user can do all else, for that user.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.programs import OPENSSH, SEARCH_PATH, find, install, program
from tests.unix_users import UnixUser

NODE_MARK = "SKYGRID_TEST_NODE"
"""Environment variable of every process that runs on a node; its value names the node."""

BED_MARK = "SKYGRID_TEST_BED"
"""Environment variable of every process that runs in the environment of an `SshBed`."""

PATIENCE_SECONDS = 120.0
"""Seconds to wait for a fact before the test fails; normally it is true much sooner."""

CLAIMS = Path(tempfile.gettempdir()) / f"skygrid-test-claims-{os.getuid()}"
"""Folder of lock files, one for each address that a test process uses."""


def openssh_version() -> tuple[int, int]:
    said = subprocess.run([program("ssh"), "-V"], capture_output=True, text=True, check=True)
    match = re.search(r"OpenSSH_(\d+)\.(\d+)", said.stderr + said.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def make_key(path: Path, comment: str) -> str:
    """Make an ed25519 key pair without a passphrase; return its public line."""
    for old in (path, path.with_name(f"{path.name}.pub")):
        old.unlink(missing_ok=True)
    subprocess.run(
        [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)],
        check=True,
        capture_output=True,
    )
    return path.with_name(f"{path.name}.pub").read_text().strip()


# ---- addresses -----------------------------------------------------------------------------------


class _Claim:
    """A number that no other test process uses now; the kernel frees it when this one ends."""

    def __init__(self, kind: str, count: int) -> None:
        CLAIMS.mkdir(mode=0o700, exist_ok=True)
        for number in random.sample(range(count), count):
            self._lock: IO[str] = (CLAIMS / f"{kind}-{number}").open("w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock.close()
                continue
            self.number = number
            return
        raise AssertionError(f"all {count} addresses of kind {kind} are in use")

    def release(self) -> None:
        self._lock.close()


def _free_port(address: str) -> int:
    """Return a free port below the kernel's ephemeral ports, which no process gets by chance."""
    for port in random.sample(range(20000, 30000), 200):
        with socket.socket() as trial, suppress(OSError):
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((address, port))
            return port
    raise AssertionError(f"no free port on {address}")


# ---- node ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A process of a node."""

    pid: int
    command: str


class SshNode:
    """A real sshd.

    Parameters
    ----------
    public_key
        The line of the client's key that may log in.
    path
        PATH of every command on the node. Default: the node's `bin` folder, /usr/bin and /bin.
    python
        What `python3` in that `bin` folder runs. Default: the interpreter that the environment of
        the tests was made from, without the packages of that environment.
    only_tools
        PATH holds these programs of this machine and nothing else, e.g. to hide every Python.
    environment
        More variables for every command on the node.
    max_startups
        sshd's MaxStartups; OpenSSH's default when not given.
    banner_noise
        Text on standard output before each command, as a talkative .bashrc writes it.
    home_bytes
        The home folder is a disk of this size (a tmpfs, root only), so that "disk full" is real.
    memory
        Folder that every command on the node sees as /dev/shm (root only).
    settings
        More lines for sshd_config.
    login
        A user of this machine, who logs in with the own shell and home. Only `settings` apply.

    The node of an ordinary user runs as that user, and its login shell must be able to run commands
    (`nologin` is not). Processes started with an emptied environment are found as long as their
    parent lives.
    """

    def __init__(
        self,
        public_key: str,
        *,
        path: str | None = None,
        python: str | None = None,
        only_tools: Iterable[str] | None = None,
        environment: dict[str, str] | None = None,
        max_startups: str | None = None,
        banner_noise: str | None = None,
        home_bytes: int | None = None,
        memory: Path | None = None,
        settings: Sequence[str] = (),
        login: UnixUser | None = None,
    ) -> None:
        self._sshd = program("sshd")
        if os.getuid() == 0:
            # Debian's service makes this folder when it starts; sshd of root insists on it.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.id = uuid.uuid4().hex
        self.user = getpass.getuser() if os.getuid() else "root"
        self._login = login
        self._given = {NODE_MARK: self.id, **(environment or {})}
        self.public_key = public_key
        # Unix sockets in the home folder have room for some hundred characters: /tmp, not pytest's.
        self.folder = Path(tempfile.mkdtemp(prefix="n", dir="/tmp"))
        self.home = self.folder / "h"
        self.log = self.folder / "log"
        self._listener: subprocess.Popen[bytes] | None = None
        self._claim: _Claim | None = None
        self._mounted = False
        self._closed = False
        try:
            self.home.mkdir()
            if home_bytes is not None:
                self._mount(home_bytes)
            self._claim = _Claim("loopback", 249 * 250)
            third, fourth = divmod(self._claim.number, 250)
            self.address = f"127.0.{third + 1}.{fourth + 2}"
            self.port = _free_port(self.address)
            bin_folder = self._fill_bin(python, only_tools)
            self.path = path or (
                str(bin_folder) if only_tools is not None else f"{bin_folder}:/usr/bin:/bin"
            )
            self.environment = {
                "HOME": str(self.home),
                "PATH": self.path,
                **self._given,
            }
            if login is None:
                self._write_wrapper(banner_noise, memory)
            else:
                self.user, self.home = login.name, login.home
                # sshd reads the user's keys there as that user.
                self.folder.chmod(0o711)
            self.host_key = make_key(self.folder / "host", f"host-{self.id[:8]}")
            self._authorized = self.folder / "authorized_keys"
            self._authorized.write_text(f"{public_key}\n")
            self._write_config(max_startups, settings)
            self._start()
            # The connection of `_greets` counts for MaxStartups until it is over.
            _wait(lambda: not self._sessions(), "the first look to be over", self._explain)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<SshNode {self.user}@{self.address}:{self.port} {self.folder}>"

    # ---- start ----------------------------------------------------------------------------------

    def _mount(self, size: int) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(self.home)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            why = done.stderr.strip().partition("\n")[0]
            pytest.fail(
                "a node with a small disk needs root that may mount a tmpfs "
                f"(a container needs --cap-add SYS_ADMIN): {why}",
                pytrace=False,
            )
        self._mounted = True

    def _fill_bin(self, python: str | None, only_tools: Iterable[str] | None) -> Path:
        folder = self.folder / "b"
        folder.mkdir()
        if only_tools is None or python is not None:
            base: str = getattr(sys, "_base_executable", sys.executable)
            # A script and no link: an interpreter of a virtual environment finds it by its path.
            script = folder / "python3"
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(python or base)} "$@"\n')
            script.chmod(0o755)
        for tool in only_tools or ():
            found = find(tool)
            if found is None:
                pytest.fail(f"this machine has no {tool} for the node", pytrace=False)
            (folder / tool).symlink_to(found)
        return folder

    def _write_wrapper(self, noise: str | None, memory: Path | None) -> None:
        lines = ["#!/bin/sh"]
        lines += [f"export {name}={shlex.quote(text)}" for name, text in self.environment.items()]
        lines += ['cd "$HOME" || exit 1']
        if noise is not None:
            lines += [f"printf %s {shlex.quote(noise)}"]
        lines += [
            "command=$SSH_ORIGINAL_COMMAND",
            "unset SSH_ORIGINAL_COMMAND OLDPWD",
            'test -n "$command" || exec /bin/sh',
            f'exec {_with_memory(memory)}/bin/sh -c "$command"',
        ]
        wrapper = self.folder / "run"
        wrapper.write_text("\n".join(lines) + "\n")
        wrapper.chmod(0o755)

    def _write_config(self, max_startups: str | None, settings: Sequence[str]) -> None:
        # The wrapper sets the command's variables. SetEnv also sets them for the login shell that
        # runs the wrapper, so that it has the mark and reads no .bashrc of this user.
        marked = f"SetEnv {NODE_MARK}={self.id}"
        given = " ".join(f"{name}={text}" for name, text in self._given.items())
        lines = [
            f"ListenAddress {self.address}:{self.port}",
            f"HostKey {self.folder / 'host'}",
            f"AuthorizedKeysFile {self._authorized}",
            *(
                [f"ForceCommand {self.folder / 'run'}", f"{marked} HOME={self.home}"]
                if self._login is None
                else [f"SetEnv {given}"]
            ),
            f"Subsystem sftp {_sftp_server()}",
            "AuthenticationMethods publickey",
            "PermitRootLogin prohibit-password",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "PidFile none",
            "LogLevel VERBOSE",
        ]
        if openssh_version() >= (9, 8):
            # All clients have the same address: refusals in one test would lock out the next.
            lines.append("PerSourcePenalties no")
        if max_startups is not None:
            lines.append(f"MaxStartups {max_startups}")
        (self.folder / "sshd_config").write_text("\n".join([*lines, *settings]) + "\n")

    def _start(self) -> None:
        command = [self._sshd, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with self.log.open("ab") as log:
            # In its own session, out of reach of the terminal's Ctrl-C.
            self._listener = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": SEARCH_PATH},
                start_new_session=True,
            )
        _wait(self._greets, "sshd to greet", self._explain)

    def _greets(self) -> bool:
        if self._listener is None or self._listener.poll() is not None:
            raise AssertionError(f"sshd did not start:{self._explain()}")
        try:
            with socket.create_connection((self.address, self.port), timeout=5) as trial:
                return trial.recv(7).startswith(b"SSH-2.0")
        except OSError:
            return False

    def _explain(self) -> str:
        tail = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
        return f"\n{self!r}\n{tail}"

    # ---- host keys ------------------------------------------------------------------------------

    def host_key_line(self, address: str | None = None, port: int | None = None) -> str:
        """Return the line for known_hosts; `address` and `port` are those of a proxy, if any."""
        kind, key = self.host_key.split()[:2]
        return f"[{address or self.address}]:{port or self.port} {kind} {key}"

    # ---- processes ------------------------------------------------------------------------------

    def pids(self) -> set[int]:
        """Return the running processes that commands of this node started."""
        return {process.pid for process in self._marked()}

    def processes(self) -> list[Running]:
        """Return the same processes with their command lines."""
        return [Running(process.pid, _command(process)) for process in self._marked()]

    def _marked(self) -> list[psutil.Process]:
        found = {process.pid: process for process in _with_mark(NODE_MARK, self.id)}
        for process in list(found.values()):
            with suppress(psutil.Error):
                for child in process.children(recursive=True):
                    if child.status() != psutil.STATUS_ZOMBIE:
                        found.setdefault(child.pid, child)
        return list(found.values())

    def _sessions(self) -> list[psutil.Process]:
        if self._listener is None:
            return []
        found = []
        try:
            below = psutil.Process(self._listener.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        for process in below:
            with suppress(psutil.Error):
                # sshd, sshd-session or sshd-auth, depending on the OpenSSH release. Processes that
                # a session started have the mark, and are not the server's even if named sshd.
                ours = process.name().startswith("sshd")
                alive = process.status() != psutil.STATUS_ZOMBIE
                if ours and alive and not _has_mark(process, NODE_MARK, self.id):
                    found.append(process)
        return found

    # ---- faults ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the server and all its connections; commands continue."""
        self._signal_listener(signal.SIGSTOP)
        self._signal_sessions(signal.SIGSTOP, psutil.STATUS_STOPPED)

    def cont(self) -> None:
        """Continue the processes that `stop` stopped."""
        for process in self._sessions():
            _signal(process.pid, signal.SIGCONT)
        self._signal_listener(signal.SIGCONT)

    def kill_connections(self) -> None:
        """Kill all connections; new ones are served, and commands continue."""
        self._signal_listener(signal.SIGSTOP)  # so that no connection is made meanwhile
        try:
            self._kill_sessions()
        finally:
            self._signal_listener(signal.SIGCONT)

    def kill_everything(self) -> None:
        """Kill the server and all processes of the node; its files stay."""
        self._kill_server()

        def none_left() -> bool:
            for pid in (left := self.pids()):
                _signal(pid, signal.SIGKILL)
            return not left

        _wait(none_left, "the node's processes to end", self._explain)

    def restart(self) -> None:
        """Restart the server at the same address; connections end, commands continue."""
        self._kill_server()
        self._start()

    def new_host_key(self) -> None:
        """Restart with another host key, as a reinstalled machine does."""
        self._kill_server()
        self.host_key = make_key(self.folder / "host", f"host-{self.id[:8]}")
        self._start()

    def set(self, line: str) -> None:
        """Add a setting to sshd_config; the server begins anew."""
        self._kill_server()
        with (self.folder / "sshd_config").open("a") as config:
            config.write(f"{line}\n")
        self._start()

    def accept_key(self, line: str) -> None:
        """Accept a further key of the user."""
        with self._authorized.open("a") as keys:
            keys.write(line)

    def refuse_keys(self) -> None:
        """Refuse all keys from now on; open connections stay."""
        self._authorized.write_text("")

    def wait_clean(self, timeout: float = PATIENCE_SECONDS) -> None:
        """Wait until no process runs on the node; the failure lists those that do."""
        _wait(lambda: not self.pids(), "nothing to run on the node", self._listed, timeout)

    def _listed(self) -> str:
        return "".join(f"\n  {process.pid} {process.command}" for process in self.processes())

    def close(self) -> None:
        """End everything and remove every trace."""
        if self._closed:
            return
        self._closed = True
        try:
            self.kill_everything()
        finally:
            if self._mounted:
                subprocess.run(["umount", "--lazy", str(self.home)], check=False)
            shutil.rmtree(self.folder, ignore_errors=True)
            if self._claim is not None:
                self._claim.release()

    def _kill_server(self) -> None:
        if self._listener is None:
            return
        # Kill the connections first: they are found as children of the listener.
        self._signal_listener(signal.SIGSTOP)
        self._kill_sessions()
        self._signal_listener(signal.SIGKILL)
        self._listener.wait(PATIENCE_SECONDS)
        self._listener = None

    def _kill_sessions(self) -> None:
        # Stop them first: a session could fork a child before it dies, which would be an orphan.
        self._signal_sessions(signal.SIGSTOP, psutil.STATUS_STOPPED)

        def none_left() -> bool:
            for process in (left := self._sessions()):
                _signal(process.pid, signal.SIGKILL)
            return not left

        _wait(none_left, "the connections to end", self._explain)

    def _signal_listener(self, number: signal.Signals) -> None:
        listener = self._listener
        if listener is None or listener.poll() is not None:
            return
        listener.send_signal(number)
        if number == signal.SIGSTOP:
            process = psutil.Process(listener.pid)
            _wait(
                lambda: process.status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE},
                "sshd to stop",
                self._explain,
            )

    def _signal_sessions(self, number: signal.Signals, status: str) -> None:
        def all_there() -> bool:
            # A session may have forked once more between the listing and its stop.
            late = [process for process in self._sessions() if process.status() != status]
            for process in late:
                _signal(process.pid, number)
            return not late

        _wait(all_there, f"the connections to be {status}", self._explain)


def _with_memory(folder: Path | None) -> str:
    """Return the beginning of a command line that gives the command a folder as its /dev/shm."""
    if folder is None:
        return ""
    mount = f'mount --bind {shlex.quote(str(folder))} /dev/shm && exec "$@"'
    return f"unshare --mount /bin/sh -c {shlex.quote(mount)} sh "


def _sftp_server() -> str:
    for place in ("/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec"):
        if (server := Path(place) / "sftp-server").exists():
            return str(server)
    return "internal-sftp"


def _wait(
    fact: Callable[[], object],
    what: str,
    explain: Callable[[], str],
    seconds: float = PATIENCE_SECONDS,
) -> None:
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}{explain()}")
        pause.wait(0.02)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _has_mark(process: psutil.Process, name: str, value: str) -> bool:
    # Compare raw bytes: parsing the environment of every process, as psutil does, is slow.
    with suppress(OSError):
        return f"{name}={value}".encode() in Path(f"/proc/{process.pid}/environ").read_bytes()
    return False


def _with_mark(name: str, value: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _has_mark(process, name, value)
    ]


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return shlex.join(process.cmdline())
    return "(just ended)"


# ---- client --------------------------------------------------------------------------------------


class SshBed:
    """A user with a key, an ssh configuration and some nodes, in a folder of its own.

    OpenSSH ignores HOME: it looks for its configuration in the home folder of the password
    database. So `ssh`, `scp` and `sftp` on the PATH of `environment()` are scripts that pass the
    bed's configuration (`-F`); a later `-F` overrides it.
    """

    def __init__(self) -> None:
        install(list(OPENSSH))
        self.id = uuid.uuid4().hex
        self.folder = Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))
        dot_ssh = self.folder / ".ssh"
        dot_ssh.mkdir(mode=0o700)
        self.key = dot_ssh / "id_ed25519"
        self.public_key = make_key(self.key, f"bed-{self.id[:8]}")
        self.known_hosts = dot_ssh / "known_hosts"
        self.known_hosts.touch()
        self.config_file = dot_ssh / "config"
        self.nodes: list[SshNode] = []
        self.aliases: dict[str, SshNode] = {}
        self._blocks: list[str] = []
        self._common: list[str] = []
        self._agent: subprocess.Popen[bytes] | None = None
        self._agent_socket = self.folder / "agent"
        self._key_file_used = True
        self._bin = self.folder / "bin"
        self._bin.mkdir()
        for name in ("ssh", "scp", "sftp"):
            if found := find(name):
                script = self._bin / name
                script.write_text(f'#!/bin/sh\nexec {found} -F {self.config_file} "$@"\n')
                script.chmod(0o755)
        self._write_config()

    def node(
        self,
        *,
        alias: str | None = None,
        jump: str | None = None,
        known: bool = True,
        **options: object,
    ) -> SshNode:
        """Start a node with these options of `SshNode` and add it."""
        node = SshNode(self.public_key, **options)  # type: ignore[arg-type]
        self.nodes.append(node)
        self.add(node, alias=alias, jump=jump, known=known)
        return node

    def add(
        self,
        node: SshNode,
        *,
        alias: str | None = None,
        address: str | None = None,
        port: int | None = None,
        jump: str | None = None,
        known: bool = True,
        settings: Sequence[str] = (),
    ) -> str:
        """Write a Host alias (node1, node2, ... unless given) and, if `known`, the host's key.

        `address` and `port` are those of a proxy before the node, `jump` is a ProxyJump, and
        `settings` are more lines of the Host block. The alias is returned. The bed closes the node.
        """
        if node not in self.nodes:
            self.nodes.append(node)
        alias = alias or f"node{len(self.aliases) + 1}"
        self.aliases[alias] = node
        lines = [
            f"Host {alias}",
            f"  HostName {address or node.address}",
            f"  Port {port or node.port}",
            f"  User {node.user}",
        ]
        if jump is not None:
            lines.append(f"  ProxyJump {jump}")
        self._blocks.append("\n".join([*lines, *(f"  {line}" for line in settings)]))
        if known:
            self.know(node.host_key_line(address, port))
        self._write_config()
        return alias

    def alias(self, node: SshNode) -> str:
        """Return the first alias of a node."""
        return next(name for name, one in self.aliases.items() if one is node)

    def know(self, line: str) -> None:
        """Add a line to known_hosts."""
        with self.known_hosts.open("a") as known:
            known.write(f"{line}\n")

    def set_globally(self, line: str) -> None:
        """Add a setting for all hosts, before the bed's own."""
        self._common.append(f"  {line}")
        self._write_config()

    def _write_config(self) -> None:
        common = ["Host *", *self._common, f"  UserKnownHostsFile {self.known_hosts}"]
        if self._key_file_used:
            common += [f"  IdentityFile {self.key}", "  IdentitiesOnly yes"]
        self.config_file.write_text("\n\n".join([*self._blocks, "\n".join(common)]) + "\n")
        self.config_file.chmod(0o600)

    def environment(self) -> dict[str, str]:
        """Return the environment of this user's processes: home, ssh programs, mark, agent."""
        left_out = {"SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "DISPLAY"}
        found = {name: text for name, text in os.environ.items() if name not in left_out}
        found["HOME"] = str(self.folder)
        found["PATH"] = f"{self._bin}{os.pathsep}{SEARCH_PATH}"
        found[BED_MARK] = self.id
        if self._agent is not None:
            found["SSH_AUTH_SOCK"] = str(self._agent_socket)
        return found

    def lock_key(self, passphrase: str) -> None:
        """Give the user's key a passphrase."""
        words = [program("ssh-keygen"), "-q", "-p", "-P", "", "-N", passphrase, "-f"]
        subprocess.run([*words, str(self.key)], check=True, capture_output=True)

    def start_agent(self, *, only: bool = False, passphrase: str = "") -> Path:
        """Run a real ssh-agent that holds the key; with `only`, delete the key's files."""
        # In the foreground, because a background agent is no child to wait for.
        self._agent = subprocess.Popen(
            [program("ssh-agent"), "-D", "-a", str(self._agent_socket)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _wait(self._agent_socket.exists, "the socket of ssh-agent", lambda: "")
        self._add_key(passphrase)
        if only:
            self._key_file_used = False
            self.key.unlink()
            self.key.with_name(f"{self.key.name}.pub").unlink()
            self._write_config()
        return self._agent_socket

    def _add_key(self, passphrase: str) -> None:
        # Without a terminal, ssh-add gets the passphrase from a program.
        asked = self.folder / "askpass"
        asked.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(passphrase)}\n")
        asked.chmod(0o700)
        asking = {"SSH_ASKPASS": str(asked), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": "none"}
        subprocess.run(
            [program("ssh-add"), "-q", str(self.key)],
            env=self.environment() | asking,
            stdin=subprocess.DEVNULL,
            check=True,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
        )

    def ssh(
        self, alias: str, command: str, *options: str, timeout: float = PATIENCE_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run the ssh client with strict host keys, without questions and with empty input."""
        return subprocess.run(
            self.ssh_words(alias, command, *options),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ssh_words(self, alias: str, command: str, *options: str) -> list[str]:
        strict = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
        return [str(self._bin / "ssh"), *strict, *options, alias, command]

    def pids(self) -> set[int]:
        """Return the running processes of this user, by their mark or by their title.

        A connection master of OpenSSH overwrites its environment with a title that contains the
        path of its socket, which is in the bed's folder.
        """
        found = {process.pid for process in _with_mark(BED_MARK, self.id)}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if f"{self.folder}/" in " ".join(process.cmdline()):
                    found.add(process.pid)
        return found - {os.getpid(), self._agent.pid if self._agent else -1}

    def wait_clean(self, timeout: float = PATIENCE_SECONDS) -> None:
        """Wait until no process runs on any node, and none of this user."""
        deadline = time.monotonic() + timeout
        for node in self.nodes:
            node.wait_clean(max(0.0, deadline - time.monotonic()))
        _wait(
            lambda: not self.pids(),
            "the client's processes to end",
            self._listed,
            max(0.0, deadline - time.monotonic()),
        )

    def _listed(self) -> str:
        lines = []
        for pid in self.pids():
            with suppress(psutil.Error):
                lines.append(f"\n  {pid} {_command(psutil.Process(pid))}")
        return "".join(lines)

    def close(self) -> None:
        """End everything and remove every trace."""
        try:
            for node in self.nodes:
                node.close()
        finally:
            for pid in self.pids():
                _signal(pid, signal.SIGKILL)
            if self._agent is not None:
                self._agent.kill()
                self._agent.wait(PATIENCE_SECONDS)
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def opened_bed(bed: SshBed | None = None, *, clean_seconds: float = 20.0) -> Iterator[SshBed]:
    """Open a bed, and close it at the end; fail if processes still run after `clean_seconds`."""
    bed = bed or SshBed()
    try:
        yield bed
        bed.wait_clean(clean_seconds)
    finally:
        bed.close()


@pytest.fixture
def ssh_bed() -> Iterator[SshBed]:
    """Provide a user with an ssh configuration; fail if processes are left after the test."""
    with opened_bed() as bed:
        yield bed
