"""Settings of places behind a gateway, refused before anything starts."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from skygrid.config import load_config
from skygrid.errors import ConfigError
from skygrid.nodes.registry import place_of

LIBRARIES = {"ray": "ray", "dask": "distributed"}
"""Place -> library."""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the libraries look as if they were installed; nothing imports them here."""
    found = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, None) if name in LIBRARIES.values() else found(name, package)

    monkeypatch.setattr("skygrid.nodes.gateway.checks.find_spec", find)


@pytest.mark.parametrize(("place", "library"), LIBRARIES.items())
def test_a_missing_library_is_one_line(
    monkeypatch: pytest.MonkeyPatch, place: str, library: str
) -> None:
    """Without the extra, the place names the command that installs it."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"pip install 'skygrid\[{place}\]'"):
        place_of(load_config({"on": place}, {}, cwd=Path("/")))


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ('[ray]\naddress = "two words"', "must be an address without spaces"),
        ("[ray]\nresources = { CPU = 4 }", "set concurrency"),
        ("[ray]\nresources = { GPU = 0 }", "must be a table of names and positive"),
        ("[ray]\nadress = 1", "did you mean address"),
        ('[environment]\nsetup = ["true"]', "has no effect with on"),
        ('[environment]\npackages = "none.txt"', "no requirements file"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_settings_of_ray_are_checked(tmp_path: Path, table: str, error: str) -> None:
    """Wrong settings are refused with the key and the remedy."""
    (tmp_path / "own.toml").write_text(f'on = "ray"\n{table}\n')
    with pytest.raises(ConfigError, match=error):
        place_of(load_config({}, {}, config_file=Path("own.toml"), cwd=tmp_path))


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ('[dask]\naddress = "tcp://x:1"\nscheduler_file = "file"', "keep one"),
        ("[dask]\nadress = 1", "did you mean address"),
        ('[environment]\nsetup = ["true"]', "install the packages on the workers"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_settings_of_dask_are_checked(tmp_path: Path, table: str, error: str) -> None:
    """Wrong settings are refused with the key and the remedy."""
    (tmp_path / "own.toml").write_text(f'on = "dask"\n{table}\n')
    with pytest.raises(ConfigError, match=error):
        place_of(load_config({}, {}, config_file=Path("own.toml"), cwd=tmp_path))


@pytest.mark.parametrize("place", LIBRARIES)
@pytest.mark.usefixtures("installed")
def test_the_address_of_a_found_file_is_refused(tmp_path: Path, place: str) -> None:
    """A skygrid.toml that was found, not named, cannot make this machine join a cluster."""
    (tmp_path / "skygrid.toml").write_text(f'on = "{place}"\n[{place}]\naddress = "tcp://x:1"\n')
    with pytest.raises(ConfigError, match=r"name the file yourself: --config .*skygrid\.toml"):
        place_of(load_config({}, {}, cwd=tmp_path))
