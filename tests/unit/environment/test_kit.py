"""The bytes of the kit, and the commands for a node's shell."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skygrid.environment.kit import Kit, build_kit
from skygrid.environment.records import Environment, LocalDistribution, Wheel
from skygrid.environment.shell_commands import (
    NOT_READY_EXIT,
    PROBE_BEGIN,
    PROBE_END,
    SHELL_MARK,
    for_login_shell,
    probe,
    read_probe,
    run_python,
    unpack_and_prepare,
)
from skygrid.errors import ConfigError, PreparationError
from skygrid.nodes.ssh.doctor import problems_of
from tests.programs import SHELLS, program

ENVIRONMENT = Environment(python="3.12", minor="3.12", requirements=("a==1", "b==2"))


def contents(kit: Kit) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(kit.data)) as archive:
        members = [(one, archive.extractfile(one)) for one in archive.getmembers()]
        return {one.name: file.read() for one, file in members if file is not None}


class LoginShell:
    """Shell with a home folder of its own, because fish writes files into its home."""

    def __init__(self, name: str, folder: Path) -> None:
        self._words = [program(name), "sh"] if name == "busybox" else [program(name)]
        self._own = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            **{f"XDG_{kind}_HOME": str(folder / kind) for kind in ("CONFIG", "DATA", "CACHE")},
            "XDG_STATE_HOME": str(folder / "STATE"),
        }

    def run(self, script: str, **variables: str) -> bytes:
        """Return the output of a script, without the line that begins it."""
        done = subprocess.run(
            [*self._words, "-c", for_login_shell(script)],
            capture_output=True,
            env={**self._own, **variables},
            check=False,
        )
        begin, _, output = done.stdout.partition(f"{SHELL_MARK}\n".encode())
        assert begin == b"\n", done
        return output


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoginShell:
    """Each login shell that a node may have."""
    return LoginShell(request.param, tmp_path_factory.mktemp("shell"))


def in_sh(command: str, home: str = "/nowhere") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": home},
        check=False,
    )


# ---- the kit -------------------------------------------------------------------------------------


def test_kit_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    """The kit does not depend on the time, the age of a wheel's file or the hash seed."""
    path = tmp_path / "mine-1-py3-none-any.whl"
    path.write_bytes(b"wheel")
    local = LocalDistribution(name="mine", version="1", source="/x")
    here = replace(ENVIRONMENT, local=(local,), wheels=(Wheel(path=path, digest="d"),))
    first = build_kit(here)
    os.utime(path, (1, 1))
    assert build_kit(here) == first
    assert contents(first)[f"wheels/{path.name}"] == b"wheel"
    code = (
        "import hashlib; from skygrid.environment.kit import build_kit; "
        "from skygrid.environment.records import Environment; "
        "kit = build_kit(Environment(python='3.12', minor='3.12')); "
        "print(hashlib.sha256(kit.data).hexdigest())"
    )
    said = {
        subprocess.check_output(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_kit_holds_the_worker_and_nothing_else_of_skygrid() -> None:
    """The kit contains skygrid.worker under a package that imports nothing."""
    files = contents(build_kit(ENVIRONMENT))
    assert files["requirements.txt"] == b"a==1\nb==2\n"
    assert "code/skygrid/worker/agent/agent.py" in files
    code = [name for name in files if name.startswith("code/") and "/worker/" not in name]
    assert code == ["code/skygrid/__init__.py"]
    assert b"import" not in files["code/skygrid/__init__.py"]
    assert not [name for name in files if "__pycache__" in name]


def test_kit_carries_the_settings() -> None:
    """Indexes, setup commands and a lock are separate files, with any characters."""
    here = Environment(
        python="/opt/it's here/python",
        minor="3.12",
        lock="lock-version = '1.0'\n",
        additions=("msgspec==1",),
        index_url="https://x.org/$HOME",
        extra_index_url=("https://y.org",),
        setup=("echo 'one'", "two"),
    )
    files = contents(build_kit(here))
    assert "requirements.txt" not in files
    assert files["pylock.toml"] == b"lock-version = '1.0'\n"
    assert files["additions.txt"] == b"msgspec==1\n"
    assert files["extra-index-urls.txt"] == b"https://y.org\n"
    assert [files["setup/001.sh"], files["setup/002.sh"]] == [b"echo 'one'\n", b"two\n"]
    script = files["environment"].decode() + 'printf "%s|" "$SKYGRID_PYTHON" "$SKYGRID_INDEX_URL"'
    assert in_sh(script).stdout == "/opt/it's here/python|https://x.org/$HOME|"


def test_code_key_stays_when_the_environment_changes() -> None:
    """Code and environment have separate keys, so new code does not create a new environment."""
    one, other = build_kit(ENVIRONMENT), build_kit(replace(ENVIRONMENT, setup=("true",)))
    assert one.code_key == other.code_key
    assert one.environment_key != other.environment_key


def test_a_missing_wheel_is_named(tmp_path: Path) -> None:
    """A wheel that was deleted after its build is an error that names it."""
    here = replace(
        ENVIRONMENT,
        local=(LocalDistribution(name="mine", version="1", source="/x"),),
        wheels=(Wheel(path=tmp_path / "gone.whl", digest="d"),),
    )
    with pytest.raises(PreparationError, match=r"gone\.whl"):
        build_kit(here)


# ---- commands ------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=3))
@example(
    words=[
        "it's",
        'a "b" c',
        "\\",
        "\\'",
        "\\\\'",
        "'\\",
        "$HOME `id`",
        "a\nb",
        "!x",
        "~",
        "",
        "é%s" * 999,
    ]
)
def test_every_login_shell_reads_a_word_as_it_was(shell: LoginShell, words: list[str]) -> None:
    """Quotes, backslashes, spaces, dollars and line breaks arrive unchanged in every shell."""
    printing = 'for one; do printf "<%s>" "$one"; done'
    said = shell.run(shlex.join(["exec", "sh", "-c", printing, "x", *words]))
    assert said.decode() == "".join(f"<{word}>" for word in words)


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A prepared root below a home, whose Python prints its folder, its path and its arguments."""
    root = tmp_path / "it's a home" / ".cache" / 'sky "grid" $x'
    system, machine = os.uname().sysname, os.uname().machine
    environment, code = root / f"envs/ekey-{system}-{machine}", root / "code/ckey"
    (environment / "bin").mkdir(parents=True)
    code.mkdir(parents=True)
    for folder in (environment, code):
        (folder / "ready").touch()
        os.utime(folder / "ready", (1, 1))
    python = environment / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$PYTHONPATH" "$@"\n')
    python.chmod(0o755)
    for folder in (root, environment, code):
        folder.chmod(0o700)
    return root


@pytest.mark.parametrize("written", ["~/{}", "{}", "absolute"])
def test_the_bridge_is_run_in_any_root(ready: Path, shell: LoginShell, written: str) -> None:
    """A root is found under the home or by its absolute path, with any quotes, and is touched."""
    home = ready.parent.parent
    name = str(ready) if written == "absolute" else written.format(ready.relative_to(home))
    command = run_python(name, "ekey", "ckey", ["--folder", "agents/a b", "--", "it's"])
    said = shell.run(command, HOME=str(home))
    assert said.decode().splitlines() == [
        str(ready),
        f"{ready}/code/ckey",
        *["-P", "-m", "skygrid.worker.keeper.bridge", "--folder", "agents/a b", "--", "it's"],
    ]
    assert all(path.stat().st_mtime > 1 for path in ready.glob("*/*/ready"))


@pytest.mark.parametrize(("environment", "code"), [("other", "ckey"), ("ekey", "other")])
def test_a_missing_part_has_its_own_exit_status(ready: Path, environment: str, code: str) -> None:
    """Without environment or code, the command prints nothing and exits with NOT_READY_EXIT."""
    said = in_sh(run_python(str(ready), environment, code, []))
    assert (said.returncode, said.stdout, said.stderr) == (NOT_READY_EXIT, "", "")


def test_an_unprepared_host_is_not_ready(tmp_path: Path) -> None:
    """Without a root, the command prints nothing and exits with NOT_READY_EXIT."""
    said = in_sh(run_python("~/x", "e", "c", []), str(tmp_path))
    assert (said.returncode, said.stdout, said.stderr) == (NOT_READY_EXIT, "", "")


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone may give a file away")
OTHER_USER = 65534


@pytest.mark.parametrize(
    ("name", "mode", "owner"),
    [
        ("", 0o770, None),
        ("", 0o1777, None),
        ("envs", 0o702, None),
        ("envs/ekey", 0o711, None),
        ("code/ckey", 0o755, None),
        ("code/ckey", 0o720, None),
        ("tools", 0o777, None),
        ("tools/bin/uv", 0o666, None),
        ("uv-cache", 0o777, None),
        ("incoming", 0o730, None),
        pytest.param("", 0o700, OTHER_USER, marks=as_root),
        pytest.param("envs", 0o755, OTHER_USER, marks=as_root),
        pytest.param("envs/ekey", 0o755, OTHER_USER, marks=as_root),
        pytest.param("code/ckey", 0o755, OTHER_USER, marks=as_root),
    ],
)
def test_nothing_is_run_that_another_user_could_have_put_there(
    ready: Path, name: str, mode: int, owner: int | None
) -> None:
    """A folder that others own or can change is named with the next step, and nothing in it runs.

    Others may not even enter the folders of environment and code.
    """
    if name.startswith("envs/"):
        name = next(ready.glob("envs/*")).relative_to(ready).as_posix()
    path = ready / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if name.endswith("uv"):
        path.touch()
    else:
        path.mkdir(exist_ok=True)
    path.chmod(mode)
    if owner is not None:
        os.chown(path, owner, owner)

    said = in_sh(run_python(str(ready), "ekey", "ckey", ["--folder", "a"]))
    assert (said.returncode, said.stdout, said.stderr) == (NOT_READY_EXIT, "", "")

    said = in_sh(unpack_and_prepare(str(ready), "ekey", "ckey"))
    assert said.returncode == 1
    last = said.stderr.splitlines()[-1]
    assert last.startswith(f"skygrid: {path} on this host")
    assert "belongs to another user or can be changed by one" in last
    assert "chmod go-rwx" in last


def test_a_folder_of_this_user_that_others_can_read_is_used(ready: Path) -> None:
    """Only environment and code have to be closed: a root of mode 0755 works, also behind links."""
    ready.chmod(0o755)
    (ready / "envs").rename(ready.parent / "elsewhere")
    (ready / "envs").symlink_to(ready.parent / "elsewhere")

    said = in_sh(run_python(str(ready), "ekey", "ckey", ["--folder", "a"]))

    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("root", ["", "~other/x", "a:b", "a\nb"])
def test_an_impossible_root_is_refused(root: str) -> None:
    """The driver refuses another user's home, colons and line breaks."""
    for make in (lambda: probe(root), lambda: unpack_and_prepare(root, "e", "c")):
        with pytest.raises(ConfigError, match="cannot be the folder on a node"):
            make()


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_a_start_file_that_empties_the_path_hides_no_program(
    shell: LoginShell, tmp_path: Path, path: str
) -> None:
    """Without a usable PATH a script finds the programs of the system."""
    assert shell.run("uname", PATH=path, HOME=str(tmp_path)) == f"{os.uname().sysname}\n".encode()


def test_probe_describes_a_host(shell: LoginShell, tmp_path: Path) -> None:
    """The probe finds system, Pythons, disk space and memory, and creates nothing on the host."""
    said = shell.run("echo welcome; " + probe("~/a b/c"), HOME=str(tmp_path))
    found = read_probe(said.decode())
    assert (found.system, found.machine) == (os.uname().sysname, os.uname().machine)
    assert found.root == f"{tmp_path}/a b/c"
    assert found.pythons
    assert found.free_kib
    assert found.memory_kib > 1000
    assert found.writable
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("group", "files"),
    [
        ("0::/job/step\n", {"job/memory.max": "2147483648", "job/step/memory.max": "max"}),
        ("0::/\n", {"memory.max": "2147483648"}),
        (
            "5:cpu,memory:/job\n0::/\n",
            {"memory/job/memory.limit_in_bytes": "2147483648", "memory.max": "9223372036854771712"},
        ),
        ("0::/../elsewhere\n", {"memory.max": "2147483648"}),
    ],
)
def test_probe_finds_the_limit_of_the_control_group(
    tmp_path: Path, group: str, files: dict[str, str]
) -> None:
    """The least limit of the groups around a login is found, in both versions."""
    (tmp_path / "own").write_text(group)
    for name, text in files.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(f"{text}\n")
    script = probe("~/x").replace("/proc/self/cgroup", str(tmp_path / "own"))
    said = in_sh(script.replace("/sys/fs/cgroup", str(tmp_path / "tree")), str(tmp_path)).stdout
    assert read_probe(said).memory_limit_kib == 2 * 2**20


@pytest.mark.parametrize(("runs", "gets_uv"), [(True, True), (False, False)])
def test_probe_finds_a_host_that_cannot_install_uv(
    tmp_path: Path, runs: bool, gets_uv: bool
) -> None:
    """A Python without venv and pip is enough to fetch uv; without a Python that is a problem."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("uname", "df", "awk", "sed", "cat", "dirname", "sh"):
        (tools / name).symlink_to(program(name))
    bare = tools / "python3"
    bare.write_text(
        f'#!/bin/sh\ncase $* in *ensurepip*|*pip*) exit 1;; esac\nexec {sys.executable} "$@"\n'
        if runs
        else "#!/bin/sh\nexit 127\n"
    )
    bare.chmod(0o755)
    said = subprocess.run(
        [program("sh"), "-c", probe("~/x")],
        capture_output=True,
        text=True,
        env={"PATH": str(tools), "HOME": str(tmp_path)},
        check=False,
    )
    found = read_probe(said.stdout)
    assert found.gets_uv == gets_uv
    problems = problems_of(replace(found, free_kib=None))
    assert any("no uv" in problem for problem in problems) != gets_uv


def test_probe_leaves_missing_facts_unknown() -> None:
    """Missing numbers and a missing uv are unknown; a truncated answer is an error."""
    found = read_probe(f"hello\n{PROBE_BEGIN}\nsystem=Linux\nfree_kib=\n{PROBE_END}\nbye")
    assert (found.system, found.uv, found.free_kib, found.memory_kib) == ("Linux", None, None, 0)
    assert not found.writable
    with pytest.raises(PreparationError, match="did not answer the probe"):
        read_probe(f"{PROBE_BEGIN}\nsystem=Linux\n")


def test_a_truncated_kit_is_refused(tmp_path: Path) -> None:
    """A truncated kit ends in a one-line error and leaves no files."""
    data = build_kit(ENVIRONMENT).data[:1000]
    said = subprocess.run(
        ["sh", "-c", unpack_and_prepare("~/r", "e", "c")],
        input=data,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        check=False,
    )
    assert said.returncode == 1
    assert said.stderr.decode().splitlines()[-1].startswith("skygrid: the kit could not be unpack")
    assert list((tmp_path / "r" / "incoming").iterdir()) == []
