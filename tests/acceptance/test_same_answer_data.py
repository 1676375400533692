"""For every kind of X and y, fits get the same samples as in scikit-learn's own loop."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from tests.acceptance.doubles import InPlaceTransformer, LayoutClassifier
from tests.acceptance.searches import Job, Row, assert_same_answer, flowers, patients, rows

pytestmark = pytest.mark.sklearn_versions

TEXTS = ["red apple", "green pear", "red cherry", "green apple", "yellow pear", "red red plum"] * 5


def seen(X: Any) -> Job:
    """Return a search whose scores depend on the memory order, dtype and class of X."""
    return Job(GridSearchCV(LayoutClassifier(), {"level": [1, 2, 3]}, cv=3), X, flowers()[1])


def wide() -> Any:
    """Return 50 samples of 8 features."""
    X = flowers()[0]
    return np.hstack([X, X**2])


def mapped(mode: str) -> Any:
    """Return X in a mapped file without a name."""
    with tempfile.TemporaryFile() as file:
        X = np.memmap(file, mode="w+", dtype=np.float64, shape=(50, 4))
        X[:] = flowers()[0]
        X.flush()
        return X if mode == "w+" else np.memmap(file, mode=mode, dtype=np.float64, shape=(50, 4))


def locked(X: Any) -> Any:
    X.flags.writeable = False
    return X


def frame() -> Any:
    """Return numbers, numbers with gaps, texts, categories and flags."""
    X = pd.DataFrame(flowers()[0], columns=["a", "b", "c", "d"])
    X["count"] = np.arange(50) % 4
    X.loc[::7, "b"] = np.nan
    X["colour"] = (["red", "green", "blue", "green", "red"]) * 10
    X["size"] = pd.Categorical(["small", "large"] * 25, categories=["large", "small", "huge"])
    X["new"] = np.arange(50) % 3 == 0
    X.index = [f"row {number}" for number in range(50)]
    return X


def by_column() -> Any:
    """Return a pipeline that selects columns by name."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    names = OneHotEncoder(handle_unknown="ignore")
    columns = [("numbers", numbers, ["a", "b", "count"]), ("names", names, ["colour", "size"])]
    return make_pipeline(ColumnTransformer(columns), LogisticRegression(max_iter=500))


def column_search(X: Any, y: Any) -> Job:
    grid = {
        "logisticregression__C": [0.1, 1],
        "columntransformer__numbers__simpleimputer__strategy": ["mean", "median"],
    }
    return Job(GridSearchCV(by_column(), grid, cv=3), X, y)


def kernel() -> Any:
    X = flowers()[0]
    return X @ X.T


def distances() -> Any:
    X = flowers()[0]
    return np.abs(X[:, None] - X[None]).sum(axis=2)


def words() -> Any:
    pipeline = make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0))
    return GridSearchCV(pipeline, {"tfidfvectorizer__ngram_range": [(1, 1), (1, 2)]}, cv=3)


def counts(kind: Any) -> Any:
    return kind(np.where(flowers()[0] > 3, flowers()[0], 0))


@rows(
    c_order=("C order.", lambda: seen(wide())),
    fortran_order=("Fortran order.", lambda: seen(np.asfortranarray(wide()))),
    single_precision=("Single precision.", lambda: seen(wide().astype(np.float32))),
    single_precision_fortran=(
        "Single precision in Fortran order.",
        lambda: seen(np.asfortranarray(wide(), np.float32)),
    ),
    every_other_column=("Gaps in the rows.", lambda: seen(wide()[:, ::2])),
    every_other_row=("Gaps between the rows.", lambda: seen(np.repeat(wide(), 2, axis=0)[::2])),
    gaps_in_fortran_order=("Gaps in columns.", lambda: seen(np.asfortranarray(wide())[:, 1::2])),
    reversed_rows=("Negative strides.", lambda: seen(wide()[::-1])),
    integers=("Integers.", lambda: seen((wide() * 10).astype(np.int16))),
    big_endian=("Foreign byte order.", lambda: seen(wide().astype(">f8"))),
    read_only=("Read-only X: each fit gets a copy to write to.", lambda: seen(locked(wide()))),
    memmap=("A memory map.", lambda: seen(mapped("w+"))),
    memmap_read_only=("A memory map that cannot be written.", lambda: seen(mapped("r"))),
    lists=(
        "Lists of lists.",
        lambda: Job(
            GridSearchCV(SVC(), {"C": [1, 2]}, cv=3), flowers()[0].tolist(), flowers()[1].tolist()
        ),
    ),
    objects=(
        "Arrays of objects.",
        lambda: Job(
            GridSearchCV(
                make_pipeline(OneHotEncoder(handle_unknown="ignore"), BernoulliNB()),
                {"bernoullinb__alpha": [0.5, 1]},
                cv=3,
            ),
            np.array([["a", 1], ["b", 2], ["a", None], ["c", 2.5], ["c", 1]] * 10, dtype=object),
            flowers()[1],
        ),
    ),
    missing_values=(
        "Missing values.",
        lambda: Job(
            GridSearchCV(
                HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=2, random_state=0),
                {"max_depth": [1, 2]},
                cv=2,
            ),
            np.where(flowers()[0] < 1, np.nan, flowers()[0]),
            flowers()[1],
        ),
    ),
    csr=(
        "Compressed rows.",
        lambda: Job(
            GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=3),
            counts(sparse.csr_matrix),
            flowers()[1],
        ),
    ),
    csc=(
        "Compressed columns.",
        lambda: Job(
            GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 3]}, cv=3),
            counts(sparse.csc_matrix),
            flowers()[1],
        ),
    ),
    sparse_array=(
        "A sparse array.",
        lambda: Job(
            GridSearchCV(SVC(), {"C": [0.1, 1]}, cv=3), counts(sparse.csr_array), flowers()[1]
        ),
    ),
    pandas=(
        "A pandas DataFrame keeps its columns, dtypes and categories.",
        lambda: column_search(frame(), pd.Series(flowers()[1], index=frame().index)),
    ),
    pandas_numbers=(
        "A pandas DataFrame of numbers only gives its feature names to the search.",
        lambda: Job(
            GridSearchCV(Ridge(), {"alpha": [1, 2]}, cv=3),
            pd.DataFrame(patients()[0][:, :3], columns=["x", "y", "z"]),
            pd.Series(patients()[1]),
        ),
    ),
    polars=(
        "A polars DataFrame keeps its columns.",
        lambda: column_search(
            pl.DataFrame({name: column.tolist() for name, column in frame().items()}),
            pl.Series(flowers()[1]),
        ),
    ),
    frames_inside=(
        "Transformers that output DataFrames.",
        lambda: Job(
            GridSearchCV(
                make_pipeline(StandardScaler().set_output(transform="pandas"), SVC()),
                {"svc__C": [1, 2]},
                cv=3,
            ),
            *flowers(),
            config={"transform_output": "pandas"},
        ),
    ),
    texts=("A list of texts.", lambda: Job(words(), TEXTS, [0, 1, 0, 1, 1, 0] * 5)),
    text_array=(
        "An array of texts, with texts for classes.",
        lambda: Job(words(), np.array(TEXTS), np.array(list("abacba") * 5)),
    ),
    text_classes=(
        "Texts for classes.",
        lambda: Job(
            GridSearchCV(SVC(), {"C": [0.1, 1]}, cv=3),
            flowers()[0],
            np.array(["x", "yy", "zzz"], dtype=object)[flowers()[1]],
        ),
    ),
    several_outputs=(
        "Several numbers to predict.",
        lambda: Job(
            GridSearchCV(
                RandomForestRegressor(n_estimators=3, random_state=0), {"max_depth": [1, 3]}, cv=3
            ),
            patients()[0],
            np.column_stack([patients()[1], patients()[0][:, 0]]),
        ),
    ),
    several_outputs_in_a_frame=(
        "Several numbers to predict, in a DataFrame.",
        lambda: Job(
            GridSearchCV(Ridge(), {"alpha": [0.1, 1]}, cv=3),
            patients()[0],
            pd.DataFrame({"one": patients()[1], "two": patients()[0][:, 0]}),
        ),
    ),
    no_y_clusters=(
        "No y, clusters.",
        lambda: Job(
            GridSearchCV(KMeans(random_state=0, n_init=2), {"n_clusters": [2, 3]}, cv=3),
            flowers()[0],
        ),
    ),
    no_y_density=(
        "No y, a density.",
        lambda: Job(GridSearchCV(KernelDensity(), {"bandwidth": [0.1, 1]}, cv=3), flowers()[0]),
    ),
    no_y_components=(
        "No y, components.",
        lambda: Job(GridSearchCV(PCA(), {"n_components": [1, 2]}, cv=3), flowers()[0]),
    ),
    precomputed_kernel=(
        "Rows and columns of a kernel are cut together.",
        lambda: Job(
            GridSearchCV(SVC(kernel="precomputed"), {"C": [0.1, 1]}, cv=3), kernel(), flowers()[1]
        ),
    ),
    precomputed_kernel_not_square=(
        "A kernel that is not square is refused.",
        lambda: Job(
            GridSearchCV(SVC(kernel="precomputed"), {"C": [1]}, cv=3), kernel()[:, 1:], flowers()[1]
        ),
    ),
    precomputed_distances=(
        "Rows and columns of distances are cut together.",
        lambda: Job(
            GridSearchCV(KNeighborsClassifier(metric="precomputed"), {"n_neighbors": [1, 4]}, cv=3),
            distances(),
            flowers()[1],
        ),
    ),
    precomputed_in_a_pipeline=(
        "Rows and columns of a kernel for a pipeline's last step are cut together.",
        lambda: Job(
            GridSearchCV(
                make_pipeline(FunctionTransformer(), SVC(kernel="precomputed")),
                {"svc__C": [0.1, 1]},
                cv=3,
            ),
            kernel(),
            flowers()[1],
        ),
    ),
    scaled_in_place=(
        "A transformer that scales in place spoils no other fit.",
        lambda: Job(
            GridSearchCV(
                make_pipeline(StandardScaler(copy=False), SVC()), {"svc__C": [0.1, 1]}, cv=3
            ),
            *flowers(),
        ),
    ),
    written_in_fit=(
        "An estimator that writes into its X spoils no other fit.",
        lambda: Job(
            GridSearchCV(
                make_pipeline(InPlaceTransformer(), SVC()),
                {"inplacetransformer__factor": [2.0, 3.0]},
                cv=3,
                return_train_score=True,
            ),
            *flowers(),
        ),
    ),
    no_copy=(
        "A linear model that may overwrite X spoils no other fit.",
        lambda: Job(
            GridSearchCV(Lasso(copy_X=False), {"alpha": [0.1, 1]}, cv=3, return_train_score=True),
            np.asfortranarray(patients()[0]),
            patients()[1],
        ),
    ),
    no_copy_least_squares=(
        "Least squares that may overwrite X spoils no other fit.",
        lambda: Job(
            GridSearchCV(LinearRegression(copy_X=False), {"fit_intercept": [True, False]}, cv=3),
            *patients(),
        ),
    ),
)
def test_data(row: Row, cluster: Any, capfd: Any) -> None:
    """Data of every kind gives scikit-learn's scores."""
    assert_same_answer(cluster, row, capfd)
