"""A search file and its neighbours are found, kept separate, and pickled by value."""

from __future__ import annotations

import colorsys
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cloudpickle
import pytest

from skygrid.errors import SearchFileError
from skygrid.search_file import load_search
from skygrid.user_code import imports

HEAD = """\
from sklearn.datasets import load_iris
from sklearn.svm import SVC
estimator = SVC()
param_grid = {"C": [1, 10]}
dataset = load_iris(return_X_y=True)
"""


@pytest.fixture(autouse=True)
def own_import_state(tmp_path: Path) -> Iterator[None]:
    """Remove the import state of earlier tests and of this one."""
    forget(set(imports._brought))
    yield
    forget({name for name, module in sys.modules.items() if lies_under(tmp_path, module)})


def forget(names: set[str]) -> None:
    sys.path[:] = [entry for entry in sys.path if entry not in imports._folders]
    for name in names:
        sys.modules.pop(name, None)
    imports._brought.clear()
    imports._folders.clear()


def lies_under(folder: Path, module: ModuleType) -> bool:
    file = vars(module).get("__file__") or next(iter(vars(module).get("__path__", [])), "")
    return str(file).startswith(str(folder))


def write(folder: Path, **files: str) -> Path:
    """Write modules into `folder` and return the path of its search.py."""
    for name, text in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "search.py"


def test_main_block_does_not_run(tmp_path: Path) -> None:
    """A block under ``__name__ == "__main__"`` is not run."""
    load_search(write(tmp_path, search=HEAD + "if __name__ == '__main__':\n    1 / 0\n"))


def test_file_runs_once(tmp_path: Path) -> None:
    """The file's statements and each of its functions run exactly once."""
    log = tmp_path / "log"
    text = f"""\
def note(word):
    with open({str(log)!r}, "a") as file:
        file.write(word)
note("f")
def estimator():
    note("e")
    from sklearn.svm import SVC
    return SVC()
def param_grid():
    note("g")
    return {{"C": [1]}}
def dataset():
    note("d")
    return [[0.0], [1.0]] * 5, [0, 1] * 5
"""
    load_search(write(tmp_path, search=text))
    assert log.read_text() == "fegd"


def test_prints_go_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Prints of the file and its child processes go to stderr, because stdout is for results."""
    text = HEAD + "import os, sys\nprint('hello')\nos.system('echo child')\n"
    text += "print('raw', file=sys.__stdout__)\n"
    load_search(write(tmp_path, search=text))
    print("result")
    out, err = capfd.readouterr()
    assert out == "result\n"
    assert {"hello", "child"} <= set(err.split())


def test_module_is_registered_under_its_stem(tmp_path: Path) -> None:
    """The module has the file's name, and its folder stays first on the path."""
    (tmp_path / "my_tuning.py").write_text(HEAD + "class Mine(SVC): pass\n")
    spec = load_search(tmp_path / "my_tuning.py")
    assert spec.code.modules == ("my_tuning",)
    assert sys.modules["my_tuning"].Mine.__module__ == "my_tuning"
    assert sys.path[0] == str(tmp_path.resolve())
    assert spec.source == (tmp_path / "my_tuning.py").resolve()


@pytest.mark.parametrize("stem", ["json", "wave", "sklearn", "pytest", "skygrid", "a.b"])
def test_stem_of_another_module(tmp_path: Path, stem: str) -> None:
    """A file with the name of a library does not replace the library."""
    before = sys.modules.get(stem)
    (tmp_path / f"{stem}.py").write_text(HEAD)
    (module,) = load_search(tmp_path / f"{stem}.py").code.modules
    assert module != stem
    assert sys.modules.get(stem) is before


def test_two_files_of_the_same_name(tmp_path: Path) -> None:
    """Two files of one name in different folders import their own neighbours."""
    text = HEAD + "import helpers\nfrom pkg import part\nparam_grid = {'C': [helpers.C, part.C]}\n"
    specs = []
    for folder, c in (("a", 1.5), ("b", 2.5)):
        helper = f"C = {c}\ndef which(): return C\n"
        path = write(
            tmp_path / folder,
            search=text,
            helpers=helper,
            pkg__in____init__="",
            pkg__in__part=helper,
        )
        specs.append(load_search(path))
    assert [spec.search.param_grid["C"] for spec in specs] == [[1.5, 1.5], [2.5, 2.5]]
    modules = [sys.modules[name] for name in ("search", "search_2")]
    assert [module.helpers.which() for module in modules] == [1.5, 2.5]
    assert specs[1].code.modules == ("helpers", "pkg", "pkg.part", "search_2")
    # The earlier function still travels by value, although its module's name was reused.
    blob = cloudpickle.dumps([module.helpers.which for module in modules])
    assert elsewhere(tmp_path, blob, "print([f() for f in loaded])") == "[1.5, 2.5]"


def test_neighbours_of_another_file_are_not_found(tmp_path: Path) -> None:
    """A module beside one search file cannot be imported by another one."""
    load_search(write(tmp_path / "a", search=HEAD + "import only_in_a\n", only_in_a="X = 1"))
    with pytest.raises(SearchFileError, match="'only_in_a' is not installed"):
        load_search(write(tmp_path / "b", search=HEAD + "import only_in_a\n"))
    assert sys.modules["only_in_a"].X == 1
    assert sys.path[0] == str((tmp_path / "a").resolve())


def test_mended_file_starts_afresh(tmp_path: Path) -> None:
    """After a mistake or a success, the file and its neighbours are loaded again."""
    path = write(tmp_path, search=HEAD + "import helpers\nscoring = helpers.S\n", helpers="S = 'x'")
    with pytest.raises(SearchFileError, match="scoring is 'x'"):
        load_search(path)
    assert "helpers" not in sys.modules
    assert str(tmp_path.resolve()) not in sys.path
    (tmp_path / "helpers.py").write_text("S = 'accuracy'")
    assert load_search(path).search.scoring == "accuracy"
    (tmp_path / "helpers.py").write_text("S = 'balanced_accuracy'")
    spec = load_search(path)
    assert spec.search.scoring == "balanced_accuracy"
    assert spec.code.modules == ("helpers", "search")
    assert sys.path.count(str(tmp_path.resolve())) == 1


def test_host_module_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the calling program neither hides the neighbour nor is replaced by it."""
    host = write(tmp_path / "host", helpers="S = 'wrong'").parent
    monkeypatch.syspath_prepend(str(host))
    theirs = __import__("helpers")
    text = HEAD + "from helpers import S as scoring\n"
    spec = load_search(write(tmp_path / "own", search=text, helpers="S = 'accuracy'"))
    assert spec.search.scoring == "accuracy"
    assert sys.modules["helpers"] is theirs


def test_lazy_import_in_a_function(tmp_path: Path) -> None:
    """A neighbour that only a function imports is found and listed."""
    text = HEAD + "def cv():\n    import later\n    return later.N\n"
    spec = load_search(write(tmp_path, search=text, later="N = 3"))
    assert spec.search.cv == 3
    assert spec.code.modules == ("later", "search")


def test_linked_neighbour(tmp_path: Path) -> None:
    """A neighbour that is a symbolic link belongs to the search file's folder."""
    shared = write(tmp_path / "shared", helpers="N = 3").with_name("helpers.py")
    path = write(tmp_path / "own", search=HEAD + "from helpers import N as cv\n")
    path.with_name("helpers.py").symlink_to(shared)
    assert load_search(path).code.modules == ("helpers", "search")


def test_libraries_in_the_folder_are_not_the_users(tmp_path: Path) -> None:
    """Modules of a virtual environment inside the folder count as installed."""
    site = tmp_path / "venv" / "lib" / "site-packages"
    other = tmp_path / "env"
    write(site, in_site="X = 1")
    write(other, in_env="X = 1")
    (other / "pyvenv.cfg").write_text("")
    text = HEAD + f"import sys\nsys.path += [{str(site)!r}, {str(other)!r}]\n"
    text += "import in_site, in_env, mine\n"
    assert load_search(write(tmp_path, search=text, mine="")).code.modules == ("mine", "search")


ESTIMATOR = """\
import numpy as np
import helpers
from pkg.sub import shift
import space.part
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

class Halve(TransformerMixin, BaseEstimator):
    def __init__(self, by=2):
        self.by = by
    def fit(self, X, y=None):
        self.n_features_in_ = np.shape(X)[1]
        return self
    def transform(self, X):
        return shift(helpers.divide(X, self.by)) + space.part.ZERO

def scoring(estimator, X, y):
    return helpers.divide(estimator.score(X, y), 1)

estimator = make_pipeline(Halve(), SVC())
param_grid = {"halve__by": [2, 3]}
dataset = load_iris(return_X_y=True)
"""


def test_estimator_travels_by_value(tmp_path: Path) -> None:
    """A fitted estimator of the file opens elsewhere with plain pickle, neighbours included."""
    path = write(
        tmp_path / "own",
        search=ESTIMATOR,
        helpers="from pkg import sub\ndef divide(a, b): return sub.same(a) / b\n",
        pkg__in____init__="",
        pkg__in__sub="def same(a): return a\ndef shift(a): return a + 1\n",
        space__in__part="ZERO = 0\n",
    )
    spec = load_search(path)
    assert {"helpers", "pkg", "pkg.sub", "search", "space.part"} <= set(spec.code.modules)
    model = spec.search.estimator.fit(spec.X, spec.y)
    blob = cloudpickle.dumps((model, spec.search, spec.X, spec.y))
    code = "m, s, X, y = loaded; print(m.score(X, y), s.scoring(m, X, y))"
    score = model.score(spec.X, spec.y)
    assert elsewhere(tmp_path, blob, code) == f"{score} {score}"


def test_spec_lists_the_libraries_and_not_the_neighbours(tmp_path: Path) -> None:
    """Libraries that the file and its neighbours import are listed, loaded before or not."""
    import polars as pl  # noqa: F401 (some other search of this process used it)

    neighbour = "from hypothesis import given\nfrom polars import DataFrame\n"
    neighbour += "import numpy.linalg as la\n"
    text = "import helpers\nimport yaml_like\n" + HEAD
    spec = load_search(write(tmp_path, search=text, helpers=neighbour, yaml_like="import this\n"))
    assert {"hypothesis", "polars", "numpy", "sklearn"} <= spec.imported
    assert not {"helpers", "search", "yaml_like", "skygrid", "__main__"} & spec.imported


def elsewhere(tmp_path: Path, blob: bytes, code: str) -> str:
    """Open a pickle in a fresh interpreter in an empty folder and return the output of `code`."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "it.pkl").write_bytes(blob)
    program = f"import pickle; loaded = pickle.load(open('it.pkl', 'rb')); {code}"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_neighbour_with_the_name_of_a_loaded_module(tmp_path: Path) -> None:
    """A neighbour replaces a loaded module of its name, unless Python loads that at its start."""
    assert colorsys.__name__ in sys.modules
    text = HEAD + "import os, colorsys\nassert colorsys.OWN and os.sep\n"
    spec = load_search(write(tmp_path, search=text, os="OWN = 1\n", colorsys="OWN = 1\n"))
    assert set(spec.code.by_name) == {"colorsys"}


def test_neighbour_with_a_name_that_scikit_learn_needs(tmp_path: Path) -> None:
    """A neighbour does not replace a standard module that the import of scikit-learn needs."""
    text = HEAD + "import enum\nassert enum.Enum\n"
    assert load_search(write(tmp_path, search=text, enum="OWN = 1\n")).search is not None


def test_neighbours_that_only_a_fit_imports_are_listed(tmp_path: Path) -> None:
    """Libraries with a neighbour's name are listed, so that a node removes them before a fit."""
    spec = load_search(
        write(tmp_path, search=HEAD, msgspec="", turtle="", os="", numpy="", other="")
    )
    assert set(spec.code.unloaded) == {"msgspec", "turtle"}
