"""uv from a package index without pip: choice of the wheel, and refusal of every other file."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from skygrid.environment import fetch_uv
from skygrid.environment.fetch_uv import choose, main, pinned
from skygrid.environment.kit import SCRIPT
from tests.package_index import add_file, served, sha256

ROOT = Path(__file__).parents[3]
UV_TXT = SCRIPT.with_name("uv.txt")
NAMES = [
    "uv-1.2.3-py3-none-linux_armv6l.whl",
    "uv-1.2.3-py3-none-macosx_10_12_x86_64.whl",
    "uv-1.2.3-py3-none-macosx_11_0_arm64.whl",
    "uv-1.2.3-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "uv-1.2.3-py3-none-manylinux_2_28_aarch64.whl",
    "uv-1.2.3-py3-none-musllinux_1_1_x86_64.whl",
    "uv-1.2.3-py3-none-win_amd64.whl",
    "uv-1.2.3.tar.gz",
    "uv-1.2.4-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
]


@pytest.mark.parametrize(
    ("system", "machine", "glibc", "chosen"),
    [
        ("Linux", "x86_64", (2, 39), "manylinux_2_17_x86_64.manylinux2014_x86_64"),
        ("Linux", "x86_64", (2, 12), "musllinux_1_1_x86_64"),
        ("Linux", "x86_64", None, "musllinux_1_1_x86_64"),
        ("Linux", "aarch64", (2, 28), "manylinux_2_28_aarch64"),
        ("Linux", "aarch64", (2, 27), None),
        ("Darwin", "arm64", None, "macosx_11_0_arm64"),
        ("Darwin", "x86_64", None, "macosx_10_12_x86_64"),
        ("Linux", "s390x", (2, 39), None),
    ],
)
def test_the_wheel_of_the_host_is_chosen(system, machine, glibc, chosen):
    """The wheel has the pinned version and suits system, processor and C library."""
    expected = chosen and f"uv-1.2.3-py3-none-{chosen}.whl"
    assert choose(NAMES, "1.2.3", system, machine, glibc) == expected


def test_the_pinned_version_has_hashes():
    """The kit's requirements pin one version of uv, with hashes of its files."""
    version, hashes = pinned(UV_TXT.read_text(encoding="utf-8"))
    assert version[0].isdigit()
    assert len(hashes) > 5


def test_the_uv_of_hosts_is_that_of_the_lock():
    """Hosts get the version of uv that the tests ran with, with the hashes of uv.lock."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    (uv,) = (one for one in lock["package"] if one["name"] == "uv")
    hashes = {wheel["hash"].removeprefix("sha256:") for wheel in uv["wheels"]}
    assert pinned(UV_TXT.read_text(encoding="utf-8")) == (uv["version"], hashes)


def test_what_is_installed_for_development_has_hashes():
    """Targets install uv with its hash and everything else from uv.lock; nothing runs a script."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line for line in installs)
    assert all("--locked" in line for line in text.splitlines() if "uv sync " in line)
    for path in (ROOT / "Makefile", ROOT / ".ci" / "run", *SCRIPT.parent.glob("*.sh")):
        code = path.read_text(encoding="utf-8")
        assert not re.search(r"curl|wget|install\.sh|unsafe-best-match", code), path


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Folder of an index with a wheel of uv 1.2.3 for this host."""
    name = f"uv-1.2.3-py3-none-musllinux_1_1_{platform.machine()}.whl"
    add_file(tmp_path / "index", "uv", name, {"uv-1.2.3.data/scripts/uv": "#!/bin/sh\necho hi\n"})
    return tmp_path / "index"


def fetched(index: Path, folder: Path, digest: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Fetch uv 1.2.3 with this hash from an index; return the exit status."""
    requirements = folder / "uv.txt"
    requirements.write_text(f"# comment\nuv==1.2.3 \\\n    --hash=sha256:{digest}\n")
    with served(index) as url:
        monkeypatch.setenv("SKYGRID_FETCH_FROM", url)
        return main([str(requirements), str(folder / "got")])


def test_uv_is_fetched_with_its_hash(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel with the expected hash is unpacked into an executable program."""
    (wheel,) = (index / "uv").glob("*.whl")
    assert fetched(index, tmp_path, sha256(wheel), monkeypatch) == 0
    assert subprocess.check_output([tmp_path / "got" / "bin" / "uv"], text=True) == "hi\n"


def test_a_wheel_with_another_hash_is_refused(
    index: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file that the index replaced is not used, whatever hash the index itself names."""
    assert fetched(index, tmp_path, "0" * 64, monkeypatch) == 1
    assert "has another hash than the one that skygrid expects" in capsys.readouterr().err
    assert not (tmp_path / "got").exists()


def test_an_index_without_uv_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An index that has no uv is reported in one line."""
    assert fetched(tmp_path / "empty", tmp_path, "0" * 64, monkeypatch) == 1
    assert "uv could not be fetched without pip: HTTP Error 404" in capsys.readouterr().err


def test_the_script_needs_nothing_but_python() -> None:
    """The script imports the standard library alone, also without site-packages."""
    command = [sys.executable, "-I", "-S", "-c", f"exec(open({fetch_uv.__file__!r}).read())"]
    done = subprocess.run(
        [*command, "uv.txt", "folder"], capture_output=True, text=True, check=False
    )
    assert "uv could not be fetched without pip" in done.stderr
