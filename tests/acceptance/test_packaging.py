"""The distribution: what an index gets, and what a user has who installs it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its end without the settings of this environment; return stdout."""
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    words = [str(one) for one in command]
    done = subprocess.run(words, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_distribution_runs_in_an_empty_environment(tmp_path: Path) -> None:
    """Wheel and sdist pass twine; the wheel, built from the sdist, runs a search alone."""
    if not UV.exists():
        pytest.skip("this environment has no uv")
    dist = tmp_path / "dist"
    here = ("--no-build-isolation", "--python", sys.executable)
    run(UV, "build", "--quiet", *here, "--out-dir", dist, ROOT, cwd=tmp_path)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=tmp_path)
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = [one for one in (ROOT / "skygrid").rglob("*") if one.is_file() and "__" not in one.name]
    missing = {
        str(one.relative_to(ROOT)) for one in files if "__pycache__" not in one.parts
    } - inside
    assert not missing
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/uv.lock") for name in archive.getnames())
    run(UV, "venv", "--quiet", "--python", sys.executable, "new", cwd=tmp_path)
    python = tmp_path / "new" / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--python", python, wheel, cwd=tmp_path)
    skygrid = python.with_name("skygrid")
    run(skygrid, "init", cwd=tmp_path)
    assert "best of" in run(skygrid, "run", "search.py", "--quiet", "--name", "a", cwd=tmp_path)
    code = "import skygrid; print(skygrid.__file__, skygrid.load('a').search.best_score_)"
    assert str(tmp_path) in run(python, "-c", code, cwd=tmp_path)


def test_extras_of_the_message_exist() -> None:
    """Each extra that a message names is one of the distribution."""
    extras = set(metadata("skygrid").get_all("Provides-Extra") or ())
    assert {"all", "dask", "pandas", "polars", "ray"} <= extras
