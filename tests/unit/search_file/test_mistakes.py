"""A mistake in a search file is one short message with the name, the line and the remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skygrid.errors import SearchFileError
from skygrid.search_file import load_search

# Ten lines, so that the parts start in line 11.
HEAD = """\
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from scipy.stats import uniform
A = np.arange(40.0).reshape(20, 2)
B = np.arange(20) % 2
# The parts under test follow.
"""
PARTS = {
    "estimator": "estimator = SVC()",
    "param_grid": "param_grid = {'C': [1, 10]}",
    "dataset": "dataset = (A, B)",
}
PIPE = "estimator = Pipeline([('scale', None), ('clf', SVC())])"


def message_of(folder: Path, text: str) -> str:
    path = folder / "search.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SearchFileError) as caught:
        load_search(path)
    assert caught.value.exit_code == 2
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message.removeprefix(str(path))


def compose(*parts: str, without: tuple[str, ...] = ()) -> str:
    """Return the head, `parts` from line 11 on, and good parts for the other names."""
    given = {part.split("=")[0].strip() for part in parts}
    good = [text for name, text in PARTS.items() if name not in given and name not in without]
    return HEAD + "\n".join([*parts, *good]) + "\n"


# (line 11 of the file, part of the message)
WRONG_VALUES = [
    # estimator
    ("estimator = SVC", "line 11: estimator is the class SVC, not an instance; write SVC()"),
    ("estimator = 'svc'", "line 11: estimator is 'svc', which has no fit; write e.g. SVC()"),
    ("estimator = None", "estimator is None, which has no fit"),
    ("estimator = GridSearchCV(SVC(), {'C': [1]})", "already a GridSearchCV; call it 'search'"),
    ("estimator = lambda: SVC", "line 11: estimator is the class SVC"),
    ("estimator = Pipeline([('clf', SVC)])", "its step 'clf', not an instance; write ('clf', SVC"),
    ("estimator = type('Bare', (), {'fit': 1})()", "has no get_params; derive its class from"),
    # param_grid
    ("param_grid = [('C', [1])]", "line 11: param_grid[0] is a tuple, not a dict"),
    ("param_grid = 'C'", "param_grid is 'C', not a dict or a list of dicts"),
    ("param_grid = []", "param_grid is an empty list"),
    ("param_grid = None", "param_grid is None; write e.g. param_grid = {"),
    ("param_grid = {'C': 1.0}", "param_grid['C'] is 1.0, not a list of values; write [1.0]"),
    ("param_grid = {'kernel': 'rbf'}", "param_grid['kernel'] is the string 'rbf'; write ['rbf']"),
    ("param_grid = {'C': []}", "param_grid['C'] is empty"),
    ("param_grid = {'C': np.array([])}", "param_grid['C'] is empty"),
    ("param_grid = {'C': np.ones((2, 2))}", "an array of 2 dimensions"),
    ("param_grid = {'C': (c for c in [1])}", "is an iterator, which can be read only once; write"),
    ("param_grid = {'C': map(int, '12')}", "param_grid['C'] is an iterator"),
    ("param_grid = {'C': {1, 2}}", "param_grid['C'] is a set, which has no order; write a list"),
    ("param_grid = {'C': {1: 2}.keys()}", "is a dict_keys, not a list; write list(...)"),
    ("param_grid = {'C': {1: 2}}", "param_grid['C'] is a dict; write a list"),
    ("param_grid = {'C': uniform(0, 1)}", "is a distribution; name the dict 'param_distributions'"),
    ("param_grid = {1: [1]}", "param_grid has 1 as a key; write the parameter's name as a string"),
    ("param_grid = [{'C': [1]}, {'C': 2}]", "param_grid[1]['C'] is 2, not a list"),
    ("param_grid = iter([{'C': [1]}])", "param_grid is an iterator"),
    ("param_grid = {'c': [1]}", "names 'c', which an SVC does not have; did you mean 'C'?"),
    ("param_grid = {'gama': [1]}", "names 'gama', which an SVC does not have; did you mean"),
    ("param_grid = {'clf__C': [1]}", "did you mean 'C'?"),
    ("param_grid = {'zzz': [1]}", "which an SVC does not have; it has C, break_ties, cache_size"),
    ("param_grid = [{}, {'gama': [1]}]", "param_grid[1] names 'gama'"),
    # dataset
    ("dataset = A", "line 11: dataset is an ndarray, which could be X alone; write (X, y), (X,)"),
    ("dataset = None", "dataset is None; write (X, y)"),
    ("dataset = [A, B]", "dataset is a list; write (X, y)"),
    ("dataset = (A, A, B, B)", "write dataset = (X_train, y_train) and holdout = (X_test, y_test)"),
    ("dataset = ()", "dataset has 0 parts"),
    ("dataset = (A, B[:7])", "dataset has 20 samples in X and 7 values in y; make them equally"),
    ("dataset = (A[:0], B[:0])", "dataset has no samples: X is empty"),
    ("dataset = ([], [])", "dataset has no samples: X is empty"),
    ("dataset = (None, B)", "dataset has None as X; write X as an array, a DataFrame"),
    ("dataset = ('A', B)", "dataset has 'A' as X"),
    ("dataset = (3, B)", "dataset has 3 as X"),
    ("dataset = (np.array(3), B)", "dataset has an ndarray as X"),
    ("dataset = (iter(A), B)", "write list(X)"),
    ("dataset = (A, 1)", "dataset has 1 as y; write y as an array"),
    ("dataset = {'y': B}", "dataset is a dict without 'X'"),
    ("dataset = {'x': A, 'y': B}", "dataset has the key 'x'; write 'X'"),
    ("dataset = {'X': A, 'Y': B}", "dataset has the key 'Y'; write 'y'"),
    ("dataset = (A[:3], B[:3])", "dataset has 3 samples, too few for 5 folds; add samples, or"),
    ("dataset = {'X': A, 'y': B, 3: B}", "dataset has 3 as a key"),
    ("dataset = {'X': A, 'y': B, 'group': B}", "dataset has the key 'group'; did you mean"),
    ("dataset = {'X': A, 'y': B, 'sample_weight': [1]}", "20 samples in X and 1 values in sample"),
    ("dataset = __import__('sklearn').utils.Bunch(a=1)", "dataset is a Bunch without 'data'"),
    ("dataset = np", "dataset is a module"),
    # holdout
    ("holdout = A", "line 11: holdout is an ndarray; write (X_test, y_test)"),
    ("holdout = (A,)", "holdout has 1 parts; write (X_test, y_test)"),
    ("holdout = (A, B[:3])", "holdout has 20 samples in X_test and 3 values in y_test"),
    ("holdout = (A[:, :1], B)", "holdout has 1 features and the dataset 2; prepare both"),
    ("holdout = (A, B); refit = False", "holdout is scored after the refit, but refit is False"),
    # cv
    ("cv = 0", "line 11: cv is 0, but a split needs at least 2 folds; write a number of folds"),
    ("cv = 1", "cv is 1, but"),
    ("cv = -3", "cv is -3, but"),
    ("cv = 'five'", "cv is 'five'; write a number of folds such as 5"),
    ("cv = 5.0", "cv is 5.0; write a number of folds"),
    ("cv = True", "cv is True; write a number"),
    ("cv = KFold", "cv is the class KFold, not an instance; write KFold()"),
    ("cv = []", "cv holds no splits"),
    ("cv = [1, 2]", "cv is a list whose first item is 1; write (train, test) pairs"),
    ("cv = {'n': 5}", "cv is a dict"),
    ("cv = object()", "cv is an object"),
    ("cv = 21", "cv makes 21 folds of 20 samples; write at most 20"),
    ("cv = KFold(30)", "cv makes 30 folds of 20 samples"),
    ("cv = GroupKFold(3)", "dataset has no groups, which GroupKFold needs"),
    # scoring, refit
    ("scoring = 'acuracy'", "line 11: scoring is 'acuracy', which names no scorer; did you mean"),
    ("scoring = 'accuracy_score'", "did you mean 'accuracy'?"),
    ("scoring = 'qqqqqqqqqq'", "scoring is 'qqqqqqqqqq', which names no scorer; write a scorer's"),
    ("scoring = accuracy_score", "scoring is a metric, not a scorer; write"),
    ("scoring = make_scorer", "scoring cannot be called with (estimator, X, y)"),
    ("scoring = lambda y: 0", "scoring cannot be called with (estimator, X, y)"),
    ("scoring = lambda t, p: 0", "scoring cannot be called with (estimator, X, y)"),
    ("scoring = {'a': lambda t, p: 0}; refit = 'a'", "scoring['a'] cannot be called with"),
    ("scoring = 3", "scoring is 3; write a scorer's name"),
    ("scoring = []", "scoring is empty"),
    ("scoring = {}", "scoring is empty"),
    ("scoring = {'accuracy'}", "scoring is a set"),
    ("scoring = ['accuracy', 'accuracy']", "scoring names a scorer twice"),
    ("scoring = ['accuracy', make_scorer]", "scoring lists a function; list names only"),
    ("scoring = {'a': 'acuracy'}", "scoring['a'] is 'acuracy'"),
    ("scoring = {1: 'accuracy'}", "scoring has 1 as a key"),
    ("scoring = ['accuracy', 'f1']", "scoring leaves open which of several scores decides; set"),
    ("refit = 1", "line 11: refit is 1; write True, False, a scorer's name or a function"),
    ("refit = None", "refit is None"),
    ("refit = 'f2'; scoring = ['accuracy', 'f1']", "refit is 'f2', which is not among the scorers"),
    # the other options
    ("error_score = 'rise'", "line 11: error_score is 'rise'; write 'raise', or a number such as"),
    ("error_score = None", "error_score is None"),
    ("return_train_score = 'yes'", "line 11: return_train_score is 'yes'; write True or False"),
    ("n_iter = 3", "line 11: n_iter goes with 'param_distributions'; delete it"),
    # functions
    ("dataset = lambda: None", "dataset is a function that returned None; end it with `return"),
    ("dataset = lambda n: (A, B)", "dataset is a function that needs 'n'; write one without"),
    ("dataset = lambda: 1 / 0", "line 11: dataset() raised ZeroDivisionError: division by zero"),
    ("dataset = lambda: exit(3)", "dataset() raised SystemExit: 3"),
    # misspelt names
    ("scorng = 'accuracy'", "line 11: scorng is not a name that skygrid reads; did you mean"),
    ("hold_out = (A, B)", "line 11: hold_out is not a name that skygrid reads; did you mean"),
    ("retrun_train_score = True", "did you mean 'return_train_score'?"),
    ("error_scores = 0", "did you mean 'error_score'?"),
    # search with its parts
    ("search = GridSearchCV(SVC(), {})", "line 11: search and 'estimator' (line 12) are both"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "words"), WRONG_VALUES, ids=[line for line, _ in WRONG_VALUES])
def test_wrong_value(tmp_path: Path, line: str, words: str) -> None:
    """The message about a wrong value has its name, its line and the remedy."""
    assert words in message_of(tmp_path, compose(line))


WRONG_DISTRIBUTIONS = [
    ("param_distributions = {'C': 1}", "param_distributions['C'] is 1, not a list of values"),
    ("param_distributions = {'C': 'rbf'}", "is the string 'rbf'"),
    ("param_distributions = {'C': []}", "param_distributions['C'] is empty"),
    ("param_distributions = {'C': uniform}", None),
    ("param_distributions = {'gama': uniform(0, 1)}", "did you mean 'gamma'?"),
    ("n_iter = 0", "n_iter is 0, so there is nothing to fit; write at least 1"),
    ("n_iter = 2.0", "n_iter is 2.0; write a whole number such as 10"),
    ("n_iter = '5'", "n_iter is '5'"),
    ("n_iters = 5", "n_iters is not a name that skygrid reads; did you mean 'n_iter'?"),
    ("random_state = 'x'", "random_state is 'x'; write a whole number such as 42"),
    ("random_state = -1", "random_state is -1; write a whole number from 0 to"),
    ("random_state = np.random.default_rng(0)", "is a Generator, which scikit-learn does not take"),
    ("param_grid = {}", "param_distributions and 'param_grid' (line 11) are both given; keep one"),
]


@pytest.mark.parametrize(("line", "words"), WRONG_DISTRIBUTIONS)
def test_wrong_distributions(tmp_path: Path, line: str, words: str | None) -> None:
    """The names of a randomized search are checked like those of a grid."""
    parts = [line]
    if not line.startswith("param_distributions"):
        parts.append("param_distributions = {'C': uniform(0, 1)}")
    text = compose(*parts, without=("param_grid",))
    if words is None:
        (tmp_path / "search.py").write_text(text)
        load_search(tmp_path / "search.py")
    else:
        assert words in message_of(tmp_path, text)


WRONG_SEARCHES = [
    ("search = GridSearchCV", "line 11: search is the class GridSearchCV, not an instance; write"),
    ("search = SVC", "line 11: search is the class SVC, which is no search; write e.g. GridSear"),
    ("search = SVC()", "search is an SVC, which is no search; write e.g. GridSearchCV(SVC(...), "),
    ("search = Pipeline([('clf', GridSearchCV(SVC(), {}))])",
     "search is a Pipeline around a GridSearchCV; write GridSearchCV(Pipeline(...), ...) instead"),
    ("from sklearn.feature_selection import RFECV; search = RFECV(SVC())",
     "line 11: search is an RFECV, which cross-validates by itself, so its fits cannot be distri"),
    ("search = type('Own', (GridSearchCV,), {'fit': lambda self, X, y: self})(SVC(), {})",
     "search is an Own, whose fit does not call super().fit(), so its fits cannot be distributed"),
    ("search = 5", "search is 5; write e.g. GridSearchCV(estimator, param_grid)"),
    ("search = GridSearchCV(SVC, {})", "search.estimator is the class SVC, not an instance"),
    ("search = GridSearchCV(SVC(), {'c': [1]})", "search.param_grid names 'c', which an SVC does"),
    ("search = GridSearchCV(SVC(), {'C': 1})", "search.param_grid['C'] is 1"),
    ("search = GridSearchCV(SVC(), {}, cv=1)", "search.cv is 1"),
    ("search = GridSearchCV(SVC(), {}, cv=KFold(50))", "search.cv makes 50 folds of 20 samples"),
    ("search = GridSearchCV(SVC(), {}, scoring='acc')", "search.scoring is 'acc', which names no"),
    ("search = GridSearchCV(SVC(), {}, scoring=['accuracy'])", "search.refit leaves open which"),
    ("search = RandomizedSearchCV(SVC(), {'C': [1]}, n_iter=0)", "search.n_iter is 0"),
    ("search = RandomizedSearchCV(SVC(), {'C': [1]}); random_state = 3",
     "random_state is not used by 'search'; write RandomizedSearchCV(..., random_state="),
    ("search = GridSearchCV(SVC(), {}); cv = 3", "search and 'cv' (line 11) are both given"),
    ("search = GridSearchCV(SVC(), {}); scoring = 'f1'", "search and 'scoring' (line 11) are both"),
    ("search = GridSearchCV(SVC(), {}); hold_out = 3", "did you mean 'holdout'?"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "words"), WRONG_SEARCHES)
def test_wrong_search(tmp_path: Path, line: str, words: str) -> None:
    """A whole search is checked like its parts, and the message names the part."""
    text = compose(line, without=("estimator", "param_grid"))
    assert words in message_of(tmp_path, text)


MISSING = [
    (
        "estimator",
        "model = SVC()",
        "line 11: model is not a name that skygrid reads; did you mean ",
    ),
    ("estimator", "estimators = SVC()", "line 11: estimators is not a name that skygrid reads"),
    (
        "estimator",
        "gs = GridSearchCV(SVC(), {})",
        "gs is a search, but is not called so; write",
    ),
    ("estimator", "", "search.py has no 'estimator'; write e.g. estimator = SVC(), or search ="),
    (
        "param_grid",
        "params_grid = {'C': [1]}",
        "line 11: params_grid is not a name that skygrid",
    ),
    ("param_grid", "grid = {'C': [1]}", "did you mean 'param_grid'?"),
    ("param_grid", "param_distribution = {'C': [1]}", "did you mean 'param_distributions'?"),
    ("param_grid", "", "search.py has no 'param_grid' or 'param_distributions'; write e.g."),
    (
        "dataset",
        "datset = (A, B)",
        "line 11: datset is not a name that skygrid reads; did you mean",
    ),
    ("dataset", "from sklearn import datasets", "search.py has no 'dataset'; write e.g. dataset"),
    ("dataset", "X, y = A, B", "search.py has no 'dataset'; write dataset = (X, y)"),
    ("dataset", "X_train, y_train = A, B", "write dataset = (X_train, y_train)"),
]


@pytest.mark.parametrize(("name", "line", "words"), MISSING)
def test_missing_name(tmp_path: Path, name: str, line: str, words: str) -> None:
    """The message about a missing name has a similar name of the file, or an example."""
    message = message_of(tmp_path, compose(line, without=(name,)))
    assert words in f"search.py{message}"


SWAPS = [
    ("{'clf__n_estimators': [5]}",
     "names 'clf__n_estimators', which an SVC as 'clf' does not have"),
    ("{'clf__gama': [5]}", "did you mean 'clf__gamma'?"),
    ("{'C': [5]}", "names 'C', which a Pipeline does not have; did you mean 'clf__C'?"),
    ("{'clf_C': [5]}", "did you mean 'clf__C'?"),
    ("{'svc__C': [5]}", "did you mean 'clf__C'?"),
    ("{'clf': [SVC(), RandomForestClassifier()], 'clf__C': [1]}",
     "names 'clf__C', which a RandomForestClassifier as 'clf' does not have; give each 'clf' a"),
    ("{'clf': [RandomForestClassifier()], 'clf__C': [1]}",
     "names 'clf__C', which a RandomForestClassifier as 'clf' does not have"),
    ("{'clf': [RandomForestClassifier()], 'clf__n_estimator': [1]}",
     "did you mean 'clf__n_estimators'?"),
    ("{'clf': [SVC, RandomForestClassifier()]}",
     "param_grid['clf'] lists the class SVC, not an instance; write SVC()"),
    ("{'scale': ['passthrough'], 'scale__with_mean': [True]}",
     "names 'scale__with_mean', which 'passthrough' as 'scale' does not have"),
    ("[{'clf': [SVC()], 'clf__C': [1]}, {'clf': [SVC()], 'clf__c': [1]}]",
     "param_grid[1] names 'clf__c'"),
    ("[{'clf': [SVC()], 'clf__C': [1]}, {'clf': [RandomForestClassifier()], 'clf__C': [1]}]",
     "param_grid[1] names 'clf__C', which a RandomForestClassifier as 'clf' does not have"),
    ("{'clff': [SVC()], 'clff__C': [1]}", "names 'clff', which a Pipeline does not have; did you"),
]  # fmt: skip


@pytest.mark.parametrize(("grid", "words"), SWAPS)
def test_wrong_nested_parameter(tmp_path: Path, grid: str, words: str) -> None:
    """A nested name is checked against the component that the candidate sets there."""
    assert words in message_of(tmp_path, compose(PIPE, f"param_grid = {grid}"))


def test_line_of_a_def_and_of_an_import(tmp_path: Path) -> None:
    """The line is that of the last assignment, def or import of the name."""
    text = compose("cv = 5", "def cv():", "    return 'five'")
    assert message_of(tmp_path, text).startswith(", line 12: cv is 'five'")
    (tmp_path / "my_grid.py").write_text("param_grid = {'gama': [1]}\n")
    text = compose("from my_grid import param_grid", without=("param_grid",))
    assert message_of(tmp_path, text).startswith(", line 11: param_grid names 'gama'")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("x = 1\nraise ValueError('bad\\n  weather')", ", line 2: raised ValueError: bad weather"),
        ("x = {}['k']", ", line 1: raised KeyError: 'k'"),
        ("assert 0", ", line 1: raised AssertionError"),
        ("import sys\nsys.exit(0)", ", line 2: raised SystemExit: 0; a search file must run to"),
        ("x = (", ", line 1: syntax error:"),
        ("if 1:\nx = 2", ", line 2: syntax error:"),
        ("import numpy as np\nnp.zeros(3).reshape(2)", ", line 2: raised ValueError: cannot"),
        (
            "import no_such_thing_xyz",
            "line 1: the module 'no_such_thing_xyz' is not installed; run ",
        ),
        ("import no_such_thing_xyz.sub", "`uv pip install no_such_thing_xyz`"),
        ("import sklearn.svms", ", line 1: there is no module 'sklearn.svms' in 'sklearn'"),
        ("from sklearn.svm import SVCC", ", line 1: raised ImportError: cannot import name 'SVCC'"),
        ("from .helpers import x", "a search file is no package, so write `import`"),
        ("import helper", "there is no module 'helper'; did you mean 'helpers'"),
        ("class E(Exception):\n    def __str__(self): return 1/0\nraise E", ", line 3: raised E"),
    ],
)
def test_file_that_raises(tmp_path: Path, body: str, words: str) -> None:
    """The message about an exception has its type, its text and the user's line."""
    (tmp_path / "helpers.py").write_text("")
    message = message_of(tmp_path, body)
    assert words in message


@pytest.mark.parametrize(
    ("helper", "words"),
    [
        (
            "\n\nraise RuntimeError('no')",
            "helpers.py, line 3 (from {}, line 1): raised RuntimeError",
        ),
        ("x = (", "helpers.py, line 1: syntax error"),
        ("import no_such_thing_xyz", "helpers.py, line 1 (from {}, line 1): the module"),
    ],
)
def test_neighbour_that_raises(tmp_path: Path, helper: str, words: str) -> None:
    """The message about an exception in a neighbour has both lines."""
    (tmp_path / "helpers.py").write_text(helper)
    message = message_of(tmp_path, "import helpers")
    assert words.format(tmp_path / "search.py") in message


def test_keyboard_interrupt_passes(tmp_path: Path) -> None:
    """Ctrl-C while the file runs passes to the caller."""
    path = tmp_path / "search.py"
    path.write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_search(path)


def test_no_such_file(tmp_path: Path) -> None:
    """The message about a wrong path names a file that exists, or the remedy."""

    def message(path: Path) -> str:
        with pytest.raises(SearchFileError) as caught:
            load_search(path)
        return str(caught.value)

    (tmp_path / "search.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "latin.py").write_bytes("# fine\nx = 'é'\n".encode("latin-1"))
    (tmp_path / "null.py").write_bytes(b"x = 1\0\n")
    assert "does not exist; did you mean" in message(tmp_path / "serch.py")
    assert "does not exist; `skygrid init" in message(tmp_path / "elsewhere" / "zzz.py")
    assert "is a folder" in message(tmp_path)
    assert "is no Python file" in message(tmp_path / "notes.txt")
    assert "latin.py, line 2: not UTF-8; save" in message(tmp_path / "latin.py")
    assert "null" in message(tmp_path / "null.py")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path: Path) -> None:
    """The message about an unreadable file has the system's text."""
    path = tmp_path / "search.py"
    path.write_text("")
    path.chmod(0)
    with pytest.raises(SearchFileError, match="cannot be read: Permission denied"):
        load_search(path)


@pytest.mark.parametrize(
    "extra",
    [
        "data = (A, B); n = len(data)",
        "random_state = 42",
        "scores = []",
        "scorer = make_scorer(accuracy_score)",
        "datasets = {}",
        "estimators = [SVC()]",
        "param_grids = []",
        "cvs = [3, 5]; print(cvs)",
        "search = None",
        "holdout = None",
        "scoring = None; cv = None",
        "holdouts = 3; print(holdouts)",
        "n_splits = 5; folds = 3; refits = 2; print(refits)",
        "def helper(estimator, scoring, cvv): holdot = 3",
    ],
)
def test_ordinary_variables(tmp_path: Path, extra: str) -> None:
    """A file's own variables are accepted, even if they resemble a known name."""
    path = tmp_path / "search.py"
    path.write_text(compose(extra))
    assert load_search(path).search.estimator.__class__.__name__ == "SVC"
