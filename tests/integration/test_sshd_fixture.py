"""The nodes for tests behave as promised to a real OpenSSH client."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import wait_gone, wait_until
from tests.proxy import FaultProxy
from tests.sshd import SshBed, opened_bed

WAITS = "sleep 1000"
"""Command that runs until it is killed."""


@contextmanager
def _open_session(bed: SshBed, alias: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Open a session of `cat` and wait for its first answer."""
    client = subprocess.Popen(
        bed.ssh_words(alias, "cat", *options),
        env=bed.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        _say(client, b"hello\n")
        assert _heard(client, 60) == b"hello\n"
        yield client
    finally:
        client.kill()
        client.communicate(timeout=60)


def _say(client: subprocess.Popen[bytes], line: bytes) -> None:
    assert client.stdin is not None
    client.stdin.write(line)
    client.stdin.flush()


def _heard(client: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Return the next output of the session, or nothing after `seconds` of silence."""
    assert client.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(client.stdout, selectors.EVENT_READ)
        return os.read(client.stdout.fileno(), 4096) if selector.select(seconds) else b""


def _start(bed: SshBed, alias: str, command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        bed.ssh_words(alias, command),
        env=bed.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_command_has_the_nodes_home_and_mark(ssh_bed: SshBed) -> None:
    """A command runs in the node's home by `sh -c`, with the node's mark and PATH."""
    node = ssh_bed.node(environment={"EXTRA": "a b"})
    done = ssh_bed.ssh("node1", 'pwd; echo "$HOME|$SKYGRID_TEST_NODE|$PATH|$EXTRA"; exit 7')
    assert done.returncode == 7
    assert done.stdout.splitlines() == [
        str(node.home),
        f"{node.home}|{node.id}|{node.folder}/b:/usr/bin:/bin|a b",
    ]
    assert len(str(node.home)) < 20


def test_python_is_the_given_one(ssh_bed: SshBed) -> None:
    """`python3` on the node is the given interpreter, with its packages."""
    ssh_bed.node(python=sys.executable)
    done = ssh_bed.ssh("node1", "python3 -c 'import sys, psutil; print(sys.executable)'")
    assert (done.stdout.strip(), done.stderr) == (sys.executable, "")


def test_a_python_can_be_hidden(ssh_bed: SshBed) -> None:
    """With `only_tools` the node has these programs alone."""
    ssh_bed.node(only_tools=["cat", "uname"])
    done = ssh_bed.ssh("node1", "command -v python3 uv ls; echo x | cat && uname")
    assert done.stdout.splitlines() == ["x", "Linux"]


def test_noise_comes_before_the_output(ssh_bed: SshBed) -> None:
    """A noisy node prints its text on stdout before the command does."""
    ssh_bed.node(banner_noise="Welcome to\nnode 100%\n")
    assert ssh_bed.ssh("node1", "echo done").stdout == "Welcome to\nnode 100%\ndone\n"


def test_files_are_copied_to_the_nodes_home(ssh_bed: SshBed, tmp_path: Path) -> None:
    """`scp` with a relative path writes to the node's home folder."""
    node = ssh_bed.node()
    (tmp_path / "file").write_text("content")
    subprocess.run(
        ["scp", "-q", "-B", str(tmp_path / "file"), "node1:copied"],
        env=ssh_bed.environment(),
        check=True,
        timeout=60,
    )
    assert (node.home / "copied").read_text() == "content"


def test_an_unknown_host_key_is_refused(ssh_bed: SshBed) -> None:
    """A strict client refuses a node without a line in known_hosts."""
    node = ssh_bed.node(known=False)
    done = ssh_bed.ssh("node1", "true")
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr
    ssh_bed.know(node.host_key_line())
    assert ssh_bed.ssh("node1", "true").returncode == 0


def test_a_new_host_key_makes_a_strict_client_fail(ssh_bed: SshBed) -> None:
    """A node with a new host key has the same address but is not trusted."""
    node = ssh_bed.node()
    before = (node.address, node.port, node.host_key)
    node.new_host_key()
    assert (node.address, node.port) == before[:2]
    assert node.host_key != before[2]
    done = ssh_bed.ssh("node1", "true")
    assert done.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_refused_keys_have_no_access(ssh_bed: SshBed) -> None:
    """After `refuse_keys` the key is denied."""
    node = ssh_bed.node()
    node.refuse_keys()
    done = ssh_bed.ssh("node1", "true")
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


def test_a_stopped_node_freezes_and_resumes(ssh_bed: SshBed) -> None:
    """Sessions of a stopped node are silent and new ones wait; later all data arrives."""
    node = ssh_bed.node()
    with _open_session(ssh_bed, "node1") as client:
        commands = node.pids()
        node.stop()
        _say(client, b"more\n")
        # The kernel still accepts the connection, but sshd does not greet.
        with (
            socket.create_connection((node.address, node.port), timeout=0.3) as newcomer,
            pytest.raises(TimeoutError),
        ):
            newcomer.recv(1)
        assert _heard(client, 0.3) == b""
        assert node.pids() == commands
        node.cont()
        assert _heard(client, 60) == b"more\n"


def test_killed_connections_end_and_commands_stay(ssh_bed: SshBed) -> None:
    """Clients lose their connections, commands continue, and new connections are served."""
    node = ssh_bed.node()
    client = _start(ssh_bed, "node1", WAITS)
    wait_until(lambda: any(p.command == WAITS for p in node.processes()), "the command to run")
    node.kill_connections()
    assert client.wait(60) == 255
    assert any(process.command == WAITS for process in node.processes())
    assert ssh_bed.ssh("node1", "true").returncode == 0
    node.kill_everything()


def test_kill_everything_leaves_nothing(ssh_bed: SshBed) -> None:
    """A killed node serves no connection and runs no process, even outside its sessions."""
    node = ssh_bed.node()
    assert ssh_bed.ssh("node1", f"setsid {WAITS} </dev/null >/dev/null 2>&1 &").returncode == 0
    client = _start(ssh_bed, "node1", WAITS)
    wait_until(lambda: sum(p.command == WAITS for p in node.processes()) == 2, "both to run")
    pids = node.pids()
    node.kill_everything()
    assert client.wait(60) == 255
    wait_gone(pids)
    assert node.processes() == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((node.address, node.port), timeout=20)


def test_a_restarted_node_has_its_address(ssh_bed: SshBed) -> None:
    """A node has the same address after a restart, also after kill_everything."""
    node = ssh_bed.node()
    node.restart()
    assert ssh_bed.ssh("node1", "echo 1").stdout == "1\n"
    node.kill_everything()
    node.restart()
    assert ssh_bed.ssh("node1", "echo 2").stdout == "2\n"


def test_remaining_processes_are_named_and_ended() -> None:
    """A test that leaves a process on a node fails with its command line."""
    bed = SshBed()
    node = bed.node()
    bed.ssh("node1", f"{WAITS} </dev/null >/dev/null 2>&1 &")
    with pytest.raises(AssertionError, match=WAITS):
        _end(bed)
    assert node.pids() == set()
    assert not node.folder.exists()
    assert not bed.folder.exists()


def test_a_remaining_connection_master_is_named_and_ended() -> None:
    """A test that leaves a connection master at the client fails."""
    bed = SshBed()
    bed.node()
    options = [f"ControlPath={bed.folder}/c", "ControlMaster=yes", "ControlPersist=yes"]
    subprocess.run(
        bed.ssh_words("node1", "true", *(word for option in options for word in ("-o", option))),
        env=bed.environment(),
        # No pipes, because the master keeps its stderr open.
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    with pytest.raises(AssertionError, match=r"\[mux\]"):
        _end(bed)
    wait_until(lambda: not bed.pids(), "the master to end")


def _end(bed: SshBed) -> None:
    """End the bed as the fixture does, after half a second."""
    with opened_bed(bed, clean_seconds=0.5):
        pass


def test_the_limit_of_new_connections_applies(ssh_bed: SshBed) -> None:
    """Beyond `max_startups` connections without a login, the next one is refused."""
    node = ssh_bed.node(max_startups="1:100:1")

    def turned_away() -> bool:
        # The server counts the waiting connection at its own pace.
        return ssh_bed.ssh("node1", "true").returncode == 255

    with socket.create_connection((node.address, node.port), timeout=20) as waiting:
        assert waiting.recv(4) == b"SSH-"
        wait_until(turned_away, "a newcomer to be turned away")


def test_a_jump_host_forwards_the_connection(ssh_bed: SshBed) -> None:
    """With ProxyJump the command runs on the node, through the jump host."""
    jump = ssh_bed.node(alias="jump")
    node = ssh_bed.node(alias="inner", jump="jump")
    assert ssh_bed.ssh("inner", "echo $SKYGRID_TEST_NODE").stdout.strip() == node.id
    assert "Accepted publickey" in jump.log.read_text()


def test_two_nodes_are_independent(ssh_bed: SshBed) -> None:
    """Two nodes have different addresses and processes."""
    first, second = ssh_bed.node(), ssh_bed.node()
    assert first.address != second.address
    with _open_session(ssh_bed, "node1"), _open_session(ssh_bed, "node2"):
        assert first.pids()
        assert second.pids()
        assert not first.pids() & second.pids()
        second.kill_everything()
        assert first.pids()


def test_a_key_can_be_in_ssh_agent_alone(ssh_bed: SshBed) -> None:
    """A key that only ssh-agent holds is accepted, and not without the agent."""
    ssh_bed.node()
    ssh_bed.start_agent(only=True)
    assert not ssh_bed.key.exists()
    assert ssh_bed.ssh("node1", "echo in").stdout == "in\n"
    assert ssh_bed.ssh("node1", "true", "-o", "IdentityAgent=none").returncode == 255


def test_a_small_disk_becomes_full(ssh_bed: SshBed) -> None:
    """A home folder of a given size refuses a file that does not fit."""
    node = ssh_bed.node(home_bytes=1 << 20)
    done = ssh_bed.ssh("node1", "head -c 2000000 /dev/zero >big")
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    (node.home / "big").unlink()
    assert ssh_bed.ssh("node1", "head -c 500000 /dev/zero >small").returncode == 0


def test_a_proxy_counts_the_bytes_of_ssh(ssh_bed: SshBed) -> None:
    """ssh works through the proxy with the node's host key, and its bytes are counted."""
    node = ssh_bed.node()
    with FaultProxy(node.address, node.port) as proxy:
        far = ssh_bed.add(node, address=proxy.address, port=proxy.port)
        assert ssh_bed.ssh(far, "head -c 300000 /dev/zero | wc -c").stdout.strip() == "300000"
        few = proxy.bytes_down
        assert len(ssh_bed.ssh(far, "head -c 300000 /dev/zero").stdout) == 300000
        assert proxy.bytes_down - few > 300000
        assert proxy.bytes_up > 1000
        assert proxy.connections == 2


def test_a_flipped_bit_is_noticed_by_ssh(ssh_bed: SshBed) -> None:
    """One flipped bit ends the connection with an integrity error."""
    node = ssh_bed.node()
    with FaultProxy(node.address, node.port) as proxy:
        far = ssh_bed.add(node, address=proxy.address, port=proxy.port)
        with _open_session(ssh_bed, far) as client:
            # The first packet of the answer: four bytes of length, then the bytes under the MAC.
            proxy.corrupt("down", 8)
            _say(client, b"more\n")
            assert client.wait(60) == 255
            assert client.stderr is not None
            assert b"message authentication code incorrect" in client.stderr.read()
            assert proxy.corrupted == 1


def test_a_cut_connection_fails_and_the_next_works(ssh_bed: SshBed) -> None:
    """A reset on the way ends the session; the node serves the next one."""
    node = ssh_bed.node()
    with FaultProxy(node.address, node.port) as proxy:
        far = ssh_bed.add(node, address=proxy.address, port=proxy.port)
        with _open_session(ssh_bed, far) as client:
            proxy.cut()
            assert client.wait(60) == 255
        assert ssh_bed.ssh(far, "echo back").stdout == "back\n"
