"""Modules beside the search file: which of them travel, and how a node finds them."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

from skygrid.errors import SearchFileError
from skygrid.loading import sources
from skygrid.loading.sources import neighbour_sources
from skygrid.worker.neighbours import add_neighbours


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(folder: Path, search: str) -> set[str]:
    return set(neighbour_sources(ast.parse(search), folder))


def test_what_is_imported_anywhere_travels_and_nothing_else(tmp_path: Path) -> None:
    """Imports at the top, in functions and in neighbours are followed; other files stay."""
    write(
        tmp_path, top="def f():\n    import inner\n", inner="import numpy, top\n", other="x = 1\n"
    )
    search = "import top, json\ndef g():\n    from late import thing\n"
    write(tmp_path, late="thing = 1\n")
    assert found(tmp_path, search) == {"top", "inner", "late"}


def test_packages_travel_with_their_parents(tmp_path: Path) -> None:
    """Of a package what is imported goes, by absolute and by relative names."""
    (tmp_path / "pack" / "deep").mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "deep" / "__init__.py").write_text("from . import near\n")
    (tmp_path / "pack" / "deep" / "near.py").write_text("from ..far import x\n")
    (tmp_path / "pack" / "far.py").write_text("x = 1\n")
    (tmp_path / "pack" / "unused.py").write_text("")
    names = found(tmp_path, "import pack.deep\n")
    assert names == {"pack", "pack.deep", "pack.deep.near", "pack.far"}


def test_a_neighbour_that_does_not_parse_is_no_error_until_it_is_imported(tmp_path: Path) -> None:
    """A broken file is the business of whoever imports it."""
    write(tmp_path, broken="def (:\n")
    assert found(tmp_path, "def f():\n    import broken\n") == {"broken"}


def test_no_mountain_of_text_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that are really data are refused with what to do."""
    monkeypatch.setattr(sources, "MOST_BYTES", 100)
    write(tmp_path, huge="x = 1\n" * 100)
    with pytest.raises(SearchFileError, match="put data that they hold into files"):
        found(tmp_path, "import huge\n")


NODE = """
import pickle, sys, traceback
from skygrid.worker.neighbours import add_neighbours
add_neighbours(pickle.loads(sys.stdin.buffer.read()))
import pack.near
print(pack.near.value, pack.near.__file__, pack.__path__)
import helper
try:
    helper.fail()
except ValueError:
    print(traceback.format_exc())
"""


def test_another_interpreter_imports_them(tmp_path: Path) -> None:
    """Where the files are not, the modules are imported all the same, with tracebacks of text."""
    write(tmp_path, helper="def fail():\n    raise ValueError('here')\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "near.py").write_text("from helper import fail\nvalue = 42\n")
    texts = neighbour_sources(ast.parse("import pack.near"), tmp_path)
    for name in ("helper.py", "pack/near.py", "pack/__init__.py"):
        (tmp_path / name).unlink()
    done = subprocess.run(
        [sys.executable, "-P", "-c", NODE],
        input=cloudpickle.dumps(texts),
        capture_output=True,
        check=False,
    )
    out = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert out.startswith(f"42 {tmp_path}/pack/near.py []")
    assert "raise ValueError('here')" in out


def test_a_module_that_changed_is_imported_anew() -> None:
    """A process that runs several searches has each one's own modules."""
    for value in (1, 2):
        text = f"value = {value}\n"
        add_neighbours({"changing_neighbour": ("/nowhere/changing_neighbour.py", False, text)})
        assert importlib.import_module("changing_neighbour").value == value
    add_neighbours({})
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("changing_neighbour")
