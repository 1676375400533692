"""Modules beside the search file: which are sent, and how a node imports them."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from skygrid.errors import SearchFileError
from skygrid.plan.spec import UserCode
from skygrid.user_code import sources
from skygrid.user_code.sources import files_to_send
from skygrid.worker.user_code.user_modules import UserFiles


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / (name.replace("_", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def sent(folder: Path, search: str) -> UserFiles:
    (folder / "search.py").write_text(search)
    return files_to_send(UserCode(program=folder / "search.py", folder=folder))


def names(folder: Path, search: str) -> set[str]:
    return set(sent(folder, search).files) - {"search.py"}


def test_imported_modules_alone_are_sent(tmp_path: Path) -> None:
    """Imports in modules, functions and neighbours are followed; other files stay."""
    write(
        tmp_path, top="def f():\n    import inner\n", inner="import numpy, top\n", other="x = 1\n"
    )
    write(tmp_path, late="thing = 1\n")
    search = "import top, json\ndef g():\n    from late import thing\n"
    assert names(tmp_path, search) == {"top.py", "inner.py", "late.py"}


def test_a_whole_package_is_sent(tmp_path: Path) -> None:
    """All modules and files of an imported package are sent, except caches and hidden files."""
    pack = tmp_path / "pack"
    (pack / "deep").mkdir(parents=True)
    (pack / "__pycache__").mkdir()
    for name in ("__init__.py", "far.py", "deep/__init__.py", "deep/near.py", "data.csv"):
        (pack / name).write_text("")
    for name in ("__pycache__/far.cpython-311.pyc", ".hidden", "deep/old.pyc"):
        (pack / name).write_text("")
    assert names(tmp_path, "import pack.far\n") == {
        "pack/__init__.py",
        "pack/far.py",
        "pack/deep/__init__.py",
        "pack/deep/near.py",
        "pack/data.csv",
    }


def test_a_file_that_a_module_names_is_sent(tmp_path: Path) -> None:
    """A file beside the modules is sent if a module names it."""
    for name in ("words.txt", "secret.txt"):
        (tmp_path / name).write_text(name)
    write(
        tmp_path, helper="from pathlib import Path\nwords = Path(__file__).with_name('words.txt')\n"
    )
    assert names(tmp_path, "import helper\n") == {"helper.py", "words.txt"}


@pytest.mark.parametrize("name", ["hy-pkg", "Hy.Pkg", "a-b_c.d", "plain"])
@pytest.mark.parametrize("version", ["1.0", "1.0-rc1", "1.0+local-2"])
def test_metadata_of_an_editable_package_is_found_by_its_name(
    name: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hyphens, dots and capitals in a distribution's name or version do not hide its metadata."""
    folder = tmp_path / "installed" / f"{re.sub('[-.]', '_', name).lower()}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    origin = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    (folder / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(folder.parent)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    node = tmp_path / "node"
    for place, content in sent(tmp_path, "import pack\n").files.items():
        (node / place).parent.mkdir(parents=True, exist_ok=True)
        (node / place).write_bytes(content)
    found = list(metadata.distributions(name=name, path=[str(node)]))
    assert [one.version for one in found] == [version]


def test_large_data_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data files are sent up to a size, the smallest first; code is always sent."""
    monkeypatch.setattr(sources, "MOST_FILE_BYTES", 100)
    monkeypatch.setattr(sources, "MOST_DATA_BYTES", 120)
    write(tmp_path, pack_near="")
    (tmp_path / "pack" / "__init__.py").write_text("")
    for name, size in (("a", 90), ("b", 30), ("c", 10), ("d", 101)):
        (tmp_path / "pack" / name).write_bytes(bytes(size))
    assert names(tmp_path, "import pack\n") == {
        "pack/__init__.py",
        "pack/near.py",
        "pack/b",
        "pack/c",
    }


def test_a_neighbour_with_a_syntax_error_is_sent(tmp_path: Path) -> None:
    """A module with a syntax error is sent as it is, so that only its import fails."""
    write(tmp_path, broken="def (:\n")
    assert names(tmp_path, "def f():\n    import broken\n") == {"broken.py"}


def test_too_much_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that hold large data are refused with advice."""
    monkeypatch.setattr(sources, "MOST_BYTES", 100)
    write(tmp_path, huge="x = 1\n" * 100)
    with pytest.raises(SearchFileError, match="put data that they hold into files"):
        sent(tmp_path, "import huge\n")


NODE = """
import pickle, sys, traceback
for data in pickle.loads(sys.stdin.buffer.read()):
    pickle.loads(data)
    import changing
    print(changing.value, changing.__file__.startswith(sys.argv[1]))
import pack.near
try:
    pack.near.fail()
except ValueError:
    print(traceback.format_exc())
"""


def test_another_interpreter_imports_sent_modules(tmp_path: Path) -> None:
    """Modules are imported from copies, with the driver's tracebacks, and anew when they change."""
    driver, node = tmp_path / "driver", tmp_path / "node"
    node.mkdir()
    write(driver, pack_near="def fail():\n    raise ValueError('here')\n")
    (driver / "pack" / "__init__.py").write_text("")
    searches = []
    for value in (1, 2):
        write(driver, changing=f"value = {value}\n")
        searches.append(pickle.dumps(sent(driver, "import pack.near, changing\n")))
    done = subprocess.run(
        [sys.executable, "-P", "-c", NODE, str(node)],
        input=pickle.dumps(searches),
        capture_output=True,
        check=False,
        env={"SKYGRID_ROOT": str(node), "PYTHONPATH": str(Path(sources.__file__).parents[2])},
    )
    out = done.stdout.decode()
    assert out.startswith("1 True\n2 True\n"), done.stderr.decode()
    assert f'File "{driver}/pack/near.py", line 2, in fail\n    raise ValueError' in out
