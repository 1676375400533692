"""The README and the guides run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import result, skygrid

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_search_file_of_the_readme_runs(tmp_path: Path) -> None:
    """The README's search file is one that run takes as it stands."""
    (text,) = [block for block in BLOCKS if "param_grid =" in block]
    (tmp_path / "search.py").write_text(text)
    skygrid(tmp_path, "run", "search.py", "--name", "readme")
    assert result(tmp_path, "readme")["failed"] == 0


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    """The README's other Python runs in an interpreter of its own."""
    (text,) = [block for block in BLOCKS if "import skygrid" in block]
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "'C':" in done.stdout


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *ROOT.glob("guides/*.md"), ROOT / "CONTRIBUTING.md"], ids=str
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there."""
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_module_of_the_package_stands_in_a_room_of_the_guide() -> None:
    """guides/architecture.md names every top-level module and package."""
    guide = (ROOT / "guides" / "architecture.md").read_text(encoding="utf-8")
    rooms = {
        path.stem
        for path in (ROOT / "skygrid").iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or path.is_dir())
    }
    assert not {room for room in rooms if f"`{room}" not in guide}
