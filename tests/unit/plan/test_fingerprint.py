"""Digests of searches: equal for equal results, different if results may differ."""

from __future__ import annotations

import functools
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import loguniform, randint, uniform
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from skygrid.plan.fingerprint import LARGE_BYTES, digest, fingerprint, uses_user_code
from skygrid.plan.spec import SearchSpec, UserCode

VERSIONS = {"python": "3", "scikit-learn": "1", "numpy": "2", "scipy": "1"}

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(plain)
def test_equal_content_has_equal_digests(value: Any) -> None:
    """A deep copy has the same digest."""
    import copy

    assert digest(value) == digest(copy.deepcopy(value))


@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(max_dims=3, max_side=4)))
def test_arrays_count_by_their_content(array: Any) -> None:
    """A copy, or a view of a larger array, has the same digest."""
    assert digest(array) == digest(array.copy(order="K"))
    twice = np.empty((2 * len(array), *array.shape[1:]), array.dtype)
    twice[::2] = array
    if not array.flags.f_contiguous:
        assert digest(twice[::2]) == digest(array)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ("1", 1),
        ((1, 2), [1, 2]),
        ([1, [2]], [[1], 2]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.float32(1), np.float64(1)),
        (np.zeros(3), np.zeros((3, 1))),
        (np.zeros(3), np.zeros(3, dtype=np.float32)),
        (np.ones((2, 2)), np.asfortranarray(np.ones((2, 2)))),
        (SVC(C=1), SVC(C=1.0)),
        (uniform(0, 1), uniform(0, 2)),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (lambda x: x + 1, lambda x: x + 2),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})),
        (np.random.RandomState(1), np.random.RandomState(2)),
        (np.array(["a", None], object), np.array(["a", 1], object)),
    ],
)
def test_values_that_a_fit_can_tell_apart_differ(one: Any, other: Any) -> None:
    """Values that a fit can tell apart have different digests."""
    assert digest(one) != digest(other)


def test_large_arrays_count_by_their_content() -> None:
    """A large array that several candidates share has the digest of equal copies."""
    one = np.arange(400_000.0)
    other = one.copy()
    other[-1] = -1.0
    assert one.nbytes > LARGE_BYTES
    assert digest([one, one]) == digest([one, one.copy()])
    assert digest([one, one]) != digest([one, other])
    assert digest(one.reshape(2, -1)) != digest(np.asfortranarray(one.reshape(2, -1)))
    assert digest([one[::2], one[1::2]]) == digest([one[::2].copy(), one[1::2].copy()])


def test_a_large_array_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest of many candidates reads their shared array once."""
    read: list[int] = []

    def bytes_of(array: np.ndarray) -> Any:
        read.append(array.nbytes)
        return array.tobytes()

    monkeypatch.setattr("skygrid.plan.fingerprint._bytes_of", bytes_of)
    array = np.zeros(LARGE_BYTES // 8)
    digest([array] * 200)
    assert read == [array.nbytes]


def test_sets_have_no_order() -> None:
    """The stored order of a set does not change its digest."""
    assert digest({"a", "b", "c"}) == digest({"c", "b", "a"})


def test_a_cycle_has_a_digest() -> None:
    """A value that contains itself has a digest."""
    loop: list[Any] = [1]
    loop.append(loop)
    assert digest(loop) == digest(loop)


def test_closures_count_by_their_values() -> None:
    """Functions of equal code with different enclosed values have different digests."""

    def adder(amount: int) -> Any:
        return lambda x: x + amount

    assert digest(adder(1)) == digest(adder(1))
    assert digest(adder(1)) != digest(adder(2))


SAME_EVERYWHERE = """
import numpy as np, pandas as pd, polars as pl, scipy.sparse, functools
from scipy.stats import loguniform, randint, uniform
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score, make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from skygrid.plan.fingerprint import digest
print(digest([
    uniform(-1, 2), loguniform(1e-3, 1), randint(1, 5), {"a", "b", "c"}, frozenset({1, "x"}),
    make_pipeline(FunctionTransformer(lambda x: x + 1), SVC()), make_scorer(f1_score),
    RandomForestClassifier(random_state=np.random.RandomState(3)), functools.partial(max, key=len),
    pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["u", "v"])}),
    pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}), scipy.sparse.csr_matrix(np.eye(3)),
]))
"""


def test_digests_are_equal_in_every_process() -> None:
    """Digests do not depend on the process, its hash seed or its random state."""
    said = {
        subprocess.run(
            [sys.executable, "-c", SAME_EVERYWHERE],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=Path(__file__).parents[3],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def _spec(**changes: Any) -> SearchSpec:
    search = GridSearchCV(SVC(), {"C": [1, 2]}, cv=3)
    search.set_params(**{k: v for k, v in changes.items() if k in search.get_params()})
    X = changes.get("X", np.arange(12.0).reshape(6, 2))
    return SearchSpec(search=search, X=X, y=np.array([0, 1] * 3))


def test_the_parts_that_changed_are_named() -> None:
    """Each part of a search has its own digest, so that differences can be named."""
    before = fingerprint(_spec(), VERSIONS, {})
    for change, part in (
        ({"cv": 4}, "cv"),
        ({"param_grid": {"C": [1, 3]}}, "param_grid"),
        ({"estimator__kernel": "linear"}, "estimator"),
        ({"X": np.arange(12.0).reshape(6, 2) + 1}, "X"),
    ):
        after = fingerprint(_spec(**change), VERSIONS, {})
        assert {name for name in before if before[name] != after[name]} == {part}


def test_settings_without_effect_on_outcomes_do_not_count() -> None:
    """n_jobs, verbose and refit do not change the fingerprint."""
    assert fingerprint(_spec(n_jobs=2, verbose=3, refit=False), VERSIONS, {}) == fingerprint(
        _spec(), VERSIONS, {}
    )


def test_code_of_user_modules_counts_where_it_is_used(tmp_path: Path) -> None:
    """The code of the search file counts if a class from it is used; comments do not count."""
    path = tmp_path / "mine_for_fingerprint.py"
    name = path.stem

    def parts(text: str, *, used: bool = True) -> dict[str, str]:
        path.write_text(text)
        module = types.ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module
        exec(compile(text, path, "exec"), module.__dict__)
        estimator: Any = module.Mine() if used else SVC()
        spec = SearchSpec(
            search=GridSearchCV(estimator, {"C": [1]}),
            X=[[1]],
            y=[1],
            code=UserCode(modules=(name,)),
        )
        return fingerprint(spec, VERSIONS, {})

    text = "from sklearn.svm import SVC\nclass Mine(SVC):\n    shift = 1\n"
    try:
        before = parts(text)
        assert parts(text + "# a comment\n") == before
        assert parts(text.replace("shift = 1", "shift = 2")) != before
        assert parts(text, used=False) == parts(text.replace("= 1", "= 2"), used=False)
        assert uses_user_code(sys.modules[name].Mine(), frozenset({name}))
    finally:
        del sys.modules[name]


def test_sparse_and_forest_and_pipeline_have_digests() -> None:
    """Objects are digested by class and state."""
    values = [
        scipy.sparse.csr_matrix(np.eye(3)),
        RandomForestClassifier(random_state=0),
        make_pipeline(FunctionTransformer(np.log1p), SVC()),
        loguniform(1, 2),
        randint(1, 2),
    ]
    assert len({digest(value) for value in values}) == len(values)


def test_objects_that_need_cloudpickle_have_digests(tmp_path: Path) -> None:
    """An open file counts by content and position, views and properties by their parts."""
    path = tmp_path / "words.txt"
    digests = set()
    for text, position in (("ab", 0), ("ab", 1), ("cd", 0), ("ab", 0)):
        path.write_text(text)
        with path.open() as file:
            file.seek(position)
            digests.add(digest({"file": file}))
            assert file.tell() == position
    assert len(digests) == 3
    assert digest({"a": 1}.keys()) == digest({"a": 1}.keys()) != digest({"b": 1}.keys())
    assert digest(memoryview(b"ab")) != digest(memoryview(b"cd"))
