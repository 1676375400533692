"""The contents of a node's environment, from settings, imports and the driver's packages."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from skygrid.environment.installed import Distribution, Installed, read_installed
from skygrid.environment.records import Environment, Wheel
from skygrid.environment.resolve import NEEDED, resolve
from skygrid.environment.settings import EnvironmentConfig
from skygrid.environment.wheels import build_wheels
from skygrid.errors import ConfigError, PreparationError

BASE = {name: Distribution(name=name, version="1.2") for name in NEEDED}
PINNED_BASE = {f"{name}==1.2" for name in NEEDED}


def driver(
    *others: Distribution,
    providers: dict[str, tuple[str, ...]] | None = None,
    files: dict[str, Path] | None = None,
) -> Installed:
    return Installed(
        python="3.12",
        distributions=BASE | {one.name: one for one in others},
        providers={"sklearn": ("scikit-learn",)} | (providers or {}),
        files=files or {},
    )


def from_url(name: str, **direct_url: Any) -> Distribution:
    return Distribution(name=name, version="3.0", direct_url=direct_url)


def settings(packages: str | tuple[str, ...] = "auto", **others: Any) -> EnvironmentConfig:
    return EnvironmentConfig(packages=packages, **others)


# ---- auto ----------------------------------------------------------------------------------------


def test_imports_become_the_drivers_versions() -> None:
    """Imported packages and the libraries of skygrid are pinned; the standard library is not."""
    here = driver(Distribution(name="polars", version="1.9"), providers={"pl_module": ("polars",)})
    found = resolve(settings(), {"pl_module", "sklearn", "os", "skygrid", "__main__"}, here)
    assert set(found.requirements) == PINNED_BASE | {"polars==1.9"}
    assert found.python == found.minor == "3.12"


def test_loaded_dependencies_are_pinned_and_others_left_open() -> None:
    """A dependency is pinned if this process has loaded it, also an optional one."""
    big = Distribution(
        name="big", version="1", requires=("used>=1", "never>=1", "extra-one; extra == 'all'")
    )
    others = [Distribution(name=name, version="2") for name in ("used", "never", "extra-one")]
    here = driver(
        big,
        *others,
        providers={"big": ("big",), "u": ("used",), "n": ("never",), "e": ("extra-one",)},
        files={name: Path("/x/site-packages") / name for name in ("big", "u", "e")},
    )
    found = set(resolve(settings(), {"big"}, here).requirements)
    assert found == PINNED_BASE | {"big==1", "used==2", "extra-one==2"}


@pytest.mark.parametrize(
    ("direct_url", "line"),
    [
        (
            {"url": "https://x.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "mine @ git+https://x.org/a.git@abc",
        ),
        ({"url": "https://x.org/mine.whl", "archive_info": {}}, "mine @ https://x.org/mine.whl"),
        (
            {"url": "https://x.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "abc"},
             "subdirectory": "in/it"},
            "mine @ git+https://x.org/a.git@abc#subdirectory=in/it",
        ),
    ],
)  # fmt: skip
def test_packages_from_an_address_keep_it(direct_url: dict[str, Any], line: str) -> None:
    """A package from a repository or an address is installed from there, at the same commit."""
    here = driver(from_url("mine", **direct_url), providers={"mine": ("mine",)})
    assert line in resolve(settings(), {"mine"}, here).requirements


def test_local_projects_are_to_be_built(tmp_path: Path) -> None:
    """An editable project travels as a wheel; until that is built the environment has no key."""
    url = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    here = driver(from_url("mine", **url), providers={"mine": ("mine",)})
    found = resolve(settings(), {"mine"}, here)
    assert [(one.name, one.source) for one in found.local] == [("mine", str(tmp_path))]
    assert set(found.requirements) == PINNED_BASE
    with pytest.raises(ValueError, match="wheels are built"):
        _ = found.key


def test_a_missing_project_folder_is_named(tmp_path: Path) -> None:
    """A missing source folder is an error, except for a package of conda."""
    url = {"url": (tmp_path / "gone").as_uri(), "dir_info": {}}
    one = from_url("mine", **url)
    with pytest.raises(PreparationError, match=r"mine 3\.0 was installed from .*gone"):
        resolve(settings(), {"mine"}, driver(one, providers={"mine": ("mine",)}))
    here = driver(replace(one, installer="conda"), providers={"mine": ("mine",)})
    assert "mine==3.0" in resolve(settings(), {"mine"}, here).requirements


def test_a_module_of_no_distribution_is_named() -> None:
    """A module without a distribution is an error if it has a file."""
    here = driver(files={"stray": Path("/home/me/lib/stray.py")})
    with pytest.raises(PreparationError, match=r"imports stray \(/home/me/lib/stray\.py\)"):
        resolve(settings(), {"stray", "cython_runtime"}, here)
    assert set(resolve(settings(), {"cython_runtime"}, here).requirements) == PINNED_BASE


def test_a_missing_need_is_named() -> None:
    """A driver that lacks a library of every node is refused, with the library's name."""
    here = driver()
    few = {name: one for name, one in here.distributions.items() if name != "msgspec"}
    with pytest.raises(PreparationError, match="msgspec is not installed here"):
        resolve(settings(), set(), replace(here, distributions=few))


def test_a_local_version_keeps_its_pin_and_is_noted() -> None:
    """A build such as +cu121 stays pinned; without an index, a note names the setting for one."""
    here = driver(Distribution(name="torch", version="2.4.0+cu121"), providers={"t": ("torch",)})
    found = resolve(settings(), {"t"}, here)
    assert "torch==2.4.0+cu121" in found.requirements
    (note,) = found.notes
    assert "torch 2.4.0+cu121" in note
    assert "extra_index_url" in note
    assert not resolve(settings(index_url="https://x.org"), {"t"}, here).notes


def test_the_packages_of_this_driver_are_resolved() -> None:
    """The packages of this interpreter are matched, and an editable skygrid is left out."""
    found = resolve(settings(), {"hypothesis", "_pytest", "skygrid"})
    assert f"hypothesis=={metadata.version('hypothesis')}" in found.requirements
    assert f"pytest=={metadata.version('pytest')}" in found.requirements
    assert not any("skygrid" in line for line in found.requirements)
    assert not found.local


def test_an_editable_project_is_matched_by_its_modules_files() -> None:
    """An editable project whose record lists no modules is found by the file of its module."""
    assert read_installed().providers["skygrid"] == ("skygrid",)


# ---- a tuple -------------------------------------------------------------------------------------


def test_open_versions_become_the_drivers() -> None:
    """Open versions become those of the driver, exact ones stay, needed libraries are added."""
    here = driver(Distribution(name="xgboost", version="2.1"))
    found = resolve(settings(("xgboost[plot]>=2", "other==5", "scikit-learn")), set(), here)
    assert set(found.requirements) == PINNED_BASE | {"xgboost[plot]==2.1", "other==5"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other>=1", "it is not installed here; write other==VERSION"),
        ("xgboost>=9", "this machine has 2.1"),
        ("numpy==1.1", "asks for numpy==1.1 and this machine runs 1.2"),
        ("not a name", "is no requirement"),
    ],
)
def test_a_wrong_requirement_is_named(text: str, message: str) -> None:
    """A requirement that cannot be pinned or read, or that contradicts the driver, is quoted."""
    here = driver(Distribution(name="xgboost", version="2.1"))
    with pytest.raises(ConfigError) as caught:
        resolve(settings((text,)), set(), here)
    assert message in str(caught.value)


# ---- a file --------------------------------------------------------------------------------------


def test_a_requirements_file_is_followed(tmp_path: Path) -> None:
    """Hashes, options and markers stay, comments are removed, missing libraries are added."""
    path = tmp_path / "requirements.txt"
    path.write_text(
        "# made by uv\n--index-url https://x.org/simple\n"
        "numpy==1.2 ; sys_platform == 'linux' \\\n    --hash=sha256:ab \\\n"
        "    --hash=sha256:cd\n    # via here\nxgboost\n"
    )
    here = driver(Distribution(name="xgboost", version="2.1"))
    found = resolve(settings(str(path)), set(), here)
    assert found.requirements == (
        "--index-url https://x.org/simple",
        "numpy==1.2 ; sys_platform == 'linux' --hash=sha256:ab --hash=sha256:cd",
        "xgboost==2.1",
    )
    assert set(found.additions) == PINNED_BASE - {"numpy==1.2"}


@pytest.mark.parametrize("line", ["-r base.txt", "-e .", "./mine", "-f /opt/wheels", "a.whl"])
def test_lines_that_refer_to_this_machine_are_refused(tmp_path: Path, line: str) -> None:
    """A line that a node cannot use is an error with its number."""
    path = tmp_path / "requirements.txt"
    path.write_text(f"numpy==1.2\n{line}\n")
    with pytest.raises(ConfigError, match=r"requirements\.txt, line 2: "):
        resolve(settings(str(path)), set(), driver())


LOCK = """\
lock-version = "1.0"
[[packages]]
name = "scikit-learn"
version = "1.2"
[[packages]]
name = "numpy"
version = "9.9"
marker = "sys_platform == 'never'"
"""


def test_a_pylock_is_copied(tmp_path: Path) -> None:
    """A pylock.toml is copied as it is, and the entries that apply are compared with the driver."""
    path = tmp_path / "pylock.toml"
    path.write_text(LOCK)
    found = resolve(settings(str(path)), set(), driver())
    assert found.lock == LOCK
    assert set(found.additions) == PINNED_BASE - {"scikit-learn==1.2", "numpy==1.2"}
    path.write_text(LOCK.replace('"1.2"', '"1.1"'))
    with pytest.raises(ConfigError, match=r"asks for scikit-learn==1\.1"):
        resolve(settings(str(path)), set(), driver())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("uv.lock", "version = 1\n", "uv export"),
        ("other.toml", "a = 1\n", "is no pylock.toml"),
        ("other.toml", "a = \n", "is not TOML"),
        ("missing.txt", None, "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    """A file that is no requirements file is an error that names the remedy."""
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        resolve(settings(str(tmp_path / name)), set(), driver())


# ---- Python --------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", ["3.12", "3.12.4", "/opt/python/bin/python"])
def test_a_matching_python_is_kept(python: str) -> None:
    """The driver's minor version and a path are passed on with the minor version."""
    found = resolve(settings(python=python), set(), driver())
    assert (found.python, found.minor) == (python, "3.12")


@pytest.mark.parametrize(
    ("python", "message"), [("3.11", "this machine runs 3.12"), ("python3", "must be a version")]
)
def test_a_wrong_python_is_refused(python: str, message: str) -> None:
    """Another minor version than the driver's, or text that is no version, is an error."""
    with pytest.raises(ConfigError, match=message):
        resolve(settings(python=python), set(), driver())


# ---- the key -------------------------------------------------------------------------------------


def test_key_follows_the_content() -> None:
    """Every part of the content changes the key; notes do not."""
    base = Environment(python="3.12", minor="3.12")
    changes: list[dict[str, Any]] = [
        {},
        {"python": "/usr/bin/python3"},
        {"minor": "3.13"},
        {"requirements": ("a==1",)},
        {"lock": "a==1"},
        {"additions": ("a==1",)},
        {"index_url": "https://x.org"},
        {"extra_index_url": ("https://x.org",)},
        {"setup": ("true",)},
        {"setup": ("true", "true")},
    ]
    keys = [replace(base, **change).key for change in changes]
    assert len(set(keys)) == len(changes)
    assert all(len(key) >= 16 and int(key, 16) >= 0 for key in keys)
    assert replace(base, notes=("read this",)).key == base.key


def project(folder: Path, body: str) -> Path:
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    # This build backend needs no index.
    (folder / "backend.py").write_text(
        "import zipfile\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        "    name = 'mine-3.0-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(f'{folder}/{name}', 'w') as wheel:\n"
        "        for path, text in FILES.items():\n"
        "            wheel.writestr(path, text)\n"
        "    return name\n"
        f"FILES = {{'mine.py': {body!r},\n"
        "    'mine-3.0.dist-info/METADATA': 'Metadata-Version: 2.1\\nName: mine\\nVersion: 3.0\\n',"
        "\n    'mine-3.0.dist-info/WHEEL': 'Wheel-Version: 1.0\\nGenerator: x\\n"
        "Root-Is-Purelib: true\\nTag: py3-none-any\\n',\n"
        "    'mine-3.0.dist-info/RECORD': ''}\n"
    )
    return folder


def built(source: Path, into: Path) -> Environment:
    url = {"url": source.as_uri(), "dir_info": {"editable": True}}
    here = driver(from_url("mine", **url), providers={"mine": ("mine",)})
    return build_wheels(resolve(settings(), {"mine"}, here), into)


def test_key_depends_on_the_wheels_content(tmp_path: Path) -> None:
    """Equal sources give equal keys in any folder, and other sources another key."""
    one = built(project(tmp_path / "a", "x = 1"), tmp_path / "w1")
    same = built(tmp_path / "a", tmp_path / "w2")
    other = built(project(tmp_path / "b", "x = 2"), tmp_path / "w3")
    assert [wheel.path.name for wheel in one.wheels] == ["mine-3.0-py3-none-any.whl"]
    assert one.wheels[0].path != same.wheels[0].path
    assert one.key == same.key != other.key


def test_a_build_that_fails_is_named(tmp_path: Path) -> None:
    """A project that cannot be built is an error with its name and the output of the build."""
    broken = project(tmp_path / "a", "")
    (broken / "backend.py").write_text("raise RuntimeError('the moon is full')")
    with pytest.raises(PreparationError, match=r"(?s)mine 3\.0 is installed here .*the moon is"):
        built(broken, tmp_path / "w")


def test_an_installed_wheel_is_copied(tmp_path: Path) -> None:
    """A package that was installed from a wheel's file travels as that file."""
    first = built(project(tmp_path / "a", "x = 1"), tmp_path / "w").wheels[0]
    here = driver(
        from_url("mine", url=first.path.as_uri(), archive_info={}), providers={"mine": ("mine",)}
    )
    found = build_wheels(resolve(settings(), {"mine"}, here), tmp_path / "again")
    (wheel,) = found.wheels
    assert isinstance(wheel, Wheel)
    assert wheel.digest == first.digest


def test_resolving_imports_nothing_heavy() -> None:
    """Settings and records load neither NumPy nor rich, so the command line can import them."""
    code = "import sys, skygrid.environment.resolve; print({'numpy', 'rich'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_installed_packages_equal_those_of_importlib() -> None:
    """Modules, versions and dependencies equal those of importlib.metadata."""
    found = read_installed()
    for module, names in metadata.packages_distributions().items():
        assert {canonicalize_name(name) for name in names} <= set(found.providers[module]), module
    for one in metadata.distributions():
        mine = found.distributions[canonicalize_name(one.metadata["Name"])]
        assert (mine.version, mine.requires) == (one.version, tuple(one.requires or ()))
