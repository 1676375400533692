"""Keys of estimators: equal keys mean equal fits, bit for bit.

Only estimators of exact classes on an allow-list have keys. Their parameters must be of plain types
and are compared with their types (1 is not 1.0, True is not 1); their randomness must be seeded.
Everything else is `Uncertain` and is fitted separately.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Hashable, Mapping
from types import FunctionType
from typing import Any

import numpy as np

from skygrid.worker.evaluation.sklearn_private import (
    CLONED_ATTRIBUTES,
    OUTPUT_CONFIG,
    metric_of,
    scorers_within,
)


class Uncertain(Exception):
    """It is unknown whether an object equals another one."""


Parameters = Mapping[str, Any]


def _names(module: str, *classes: str) -> frozenset[str]:
    return frozenset(f"sklearn.{module}.{name}" for name in classes)


TRANSFORMERS = frozenset().union(
    _names("preprocessing._data", "StandardScaler", "MinMaxScaler", "MaxAbsScaler"),
    _names("preprocessing._data", "RobustScaler", "Normalizer", "Binarizer"),
    _names("preprocessing._data", "QuantileTransformer", "PowerTransformer"),
    _names("preprocessing._polynomial", "PolynomialFeatures", "SplineTransformer"),
    _names("preprocessing._discretization", "KBinsDiscretizer"),
    _names("preprocessing._encoders", "OneHotEncoder", "OrdinalEncoder"),
    _names("preprocessing._target_encoder", "TargetEncoder"),
    _names("preprocessing._function_transformer", "FunctionTransformer"),
    _names("impute._base", "SimpleImputer", "MissingIndicator"),
    _names("impute._knn", "KNNImputer"),
    _names("decomposition._pca", "PCA"),
    _names("decomposition._truncated_svd", "TruncatedSVD"),
    _names("decomposition._factor_analysis", "FactorAnalysis"),
    _names("decomposition._nmf", "NMF"),
    _names("feature_selection._univariate_selection", "SelectKBest", "SelectPercentile"),
    _names("feature_selection._univariate_selection", "SelectFpr", "SelectFdr", "SelectFwe"),
    _names("feature_selection._variance_threshold", "VarianceThreshold"),
    _names("feature_extraction.text", "CountVectorizer", "TfidfVectorizer", "TfidfTransformer"),
    _names("feature_extraction.text", "HashingVectorizer"),
    _names("kernel_approximation", "Nystroem", "RBFSampler"),
    _names("random_projection", "GaussianRandomProjection", "SparseRandomProjection"),
    _names("compose._column_transformer", "ColumnTransformer"),
    _names("pipeline", "Pipeline", "FeatureUnion"),
)
"""Transformers whose output depends only on parameters, seed and input."""

PREDICTORS = frozenset().union(
    _names("ensemble._forest", "RandomForestClassifier", "RandomForestRegressor"),
    _names("ensemble._forest", "ExtraTreesClassifier", "ExtraTreesRegressor"),
    _names("ensemble._bagging", "BaggingClassifier", "BaggingRegressor"),
    _names("ensemble._gb", "GradientBoostingClassifier", "GradientBoostingRegressor"),
    _names(
        "ensemble._hist_gradient_boosting.gradient_boosting",
        "HistGradientBoostingClassifier",
        "HistGradientBoostingRegressor",
    ),
    _names("ensemble._weight_boosting", "AdaBoostClassifier", "AdaBoostRegressor"),
    _names("tree._classes", "DecisionTreeClassifier", "DecisionTreeRegressor"),
    _names("tree._classes", "ExtraTreeClassifier", "ExtraTreeRegressor"),
    _names("svm._classes", "SVC", "SVR", "NuSVC", "NuSVR", "OneClassSVM"),
    _names("svm._classes", "LinearSVC", "LinearSVR"),
    _names("linear_model._base", "LinearRegression"),
    _names("linear_model._ridge", "Ridge", "RidgeClassifier"),
    _names("linear_model._logistic", "LogisticRegression"),
    _names("linear_model._coordinate_descent", "Lasso", "ElasticNet"),
    _names("naive_bayes", "GaussianNB", "BernoulliNB", "MultinomialNB", "ComplementNB"),
    _names("neighbors._classification", "KNeighborsClassifier"),
    _names("neighbors._regression", "KNeighborsRegressor"),
    _names("neighbors._nearest_centroid", "NearestCentroid"),
    _names("discriminant_analysis", "LinearDiscriminantAnalysis"),
    _names("discriminant_analysis", "QuadraticDiscriminantAnalysis"),
    _names("dummy", "DummyClassifier", "DummyRegressor"),
)

SEEDS_ITS_PARTS = frozenset().union(
    _names("ensemble._bagging", "BaggingClassifier", "BaggingRegressor"),
    _names("ensemble._weight_boosting", "AdaBoostClassifier", "AdaBoostRegressor"),
)
"""Ensembles that seed their base estimators from their own random state."""

KEEPS_SAMPLES = frozenset().union(
    _names("neighbors._classification", "KNeighborsClassifier"),
    _names("neighbors._regression", "KNeighborsRegressor"),
)
"""Predictors that keep X and y as attributes, so that a write into one changes the other."""

SCORE_FUNCTIONS = frozenset(
    f"sklearn.feature_selection._univariate_selection:{name}"
    for name in ("f_classif", "f_regression", "r_regression", "chi2")
)


def _no_probability(parameters: Parameters) -> bool:
    return parameters["probability"] is False or parameters["probability"] == "deprecated"


_UNSEEDED: dict[str, Callable[[Parameters], bool]] = {
    "sklearn.svm._classes.SVC": _no_probability,
    "sklearn.svm._classes.NuSVC": _no_probability,
    "sklearn.linear_model._logistic.LogisticRegression": lambda p: (
        p["solver"] in {"lbfgs", "newton-cg", "newton-cholesky"}
    ),
    "sklearn.linear_model._ridge.Ridge": lambda p: p["solver"] in {"svd", "cholesky", "lsqr"},
    "sklearn.linear_model._coordinate_descent.Lasso": lambda p: p["selection"] == "cyclic",
    "sklearn.linear_model._coordinate_descent.ElasticNet": lambda p: p["selection"] == "cyclic",
    "sklearn.decomposition._pca.PCA": lambda p: p["svd_solver"] in {"full", "covariance_eigh"},
    "sklearn.preprocessing._discretization.KBinsDiscretizer": lambda p: p["subsample"] is None,
    "sklearn.dummy.DummyClassifier": lambda p: p["strategy"] in {"prior", "most_frequent"},
}
"""Conditions under which a fit with a `random_state` of None draws no random numbers."""

_PLAIN: dict[type, str] = {type(None): "None", bool: "bool", int: "int", str: "str", bytes: "bytes"}


def class_name(kind: type) -> str:
    """Return ``module.Class`` of a class that can be imported by that name.

    Raises
    ------
    Uncertain
        If another object has that name: a user's class may have borrowed it.
    """
    module: Any = sys.modules.get(kind.__module__)
    if getattr(module, kind.__qualname__, None) is not kind:
        raise Uncertain
    return f"{kind.__module__}.{kind.__qualname__}"


def is_patched(kind: type) -> bool:
    """Return True if any method of a class, or of its bases, is defined outside scikit-learn."""
    methods = (method for base in kind.__mro__ for method in vars(base).values())
    return any(
        not method.__globals__.get("__name__", "").startswith("sklearn.")
        for method in methods
        if type(method) is FunctionType
    )


def value_key(value: Any, *, seeded: bool = False) -> Hashable:
    """Return a key that two values share only if no fit can tell them apart.

    Parameters
    ----------
    value : object
        Value of a parameter.
    seeded : bool, default=False
        True if the enclosing estimator seeds the estimators in `value`.

    Raises
    ------
    Uncertain
    """
    kind = type(value)
    if kind in _PLAIN:
        return (_PLAIN[kind], value)
    if kind is float:
        return ("float", value.hex())
    if kind in (list, tuple):
        return (kind.__name__, *(value_key(item, seeded=seeded) for item in value))
    if kind is dict:
        items = ((value_key(key), value_key(item)) for key, item in value.items())
        return ("dict", *items)
    if isinstance(value, np.generic):
        return ("scalar", value.dtype.str, value.tobytes())
    if kind is np.ndarray:
        return _array_key(value)
    if hasattr(value, "get_params") and not isinstance(value, type):
        return estimator_key(value, seeded=seeded)
    return _other_key(value)


def _array_key(value: np.ndarray[Any, Any]) -> Hashable:
    if value.dtype.kind not in "biufcSU":
        raise Uncertain
    content = hashlib.blake2b(value.tobytes("A"), digest_size=16).digest()
    return ("array", value.dtype.str, value.shape, value.strides, content)


def _other_key(value: Any) -> Hashable:
    kind = type(value)
    if kind is slice:
        return ("slice", value_key(value.start), value_key(value.stop), value_key(value.step))
    if kind is range:
        return ("range", value.start, value.stop, value.step)
    if isinstance(value, np.dtype):
        return ("dtype", value.str)
    if isinstance(value, type):
        return ("class", class_name(value))
    if kind is np.ufunc:
        called = getattr(value, "__name__", "")
        if getattr(np, called, None) is value:
            return ("ufunc", called)
    name = f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', '')}"
    if name in SCORE_FUNCTIONS:
        module, _, function = name.partition(":")
        if getattr(sys.modules.get(module), function, None) is value:
            return ("function", name)
    if class_or_none(kind) == "sklearn.compose._column_transformer.make_column_selector":
        return ("selector", *(value_key(vars(value)[name]) for name in sorted(vars(value))))
    raise Uncertain


def class_or_none(kind: type) -> str | None:
    """Return the `class_name`, or None if it is uncertain."""
    try:
        return class_name(kind)
    except Uncertain:  # the caller compares with known names: None equals none
        return None


def estimator_key(estimator: Any, *, seeded: bool = False) -> Hashable:
    """Return a key that two unfitted estimators share only if their fits on equal data are equal.

    Parameters
    ----------
    estimator : estimator
        As `clone` returns it.
    seeded : bool, default=False
        True if an enclosing estimator seeds it.

    Raises
    ------
    Uncertain
    """
    name = class_name(type(estimator))
    parameters = estimator.get_params(deep=False)
    check_certain(name, parameters, seeded=seeded)
    return ("estimator", name, output_key(estimator), parameter_keys(name, parameters))


def output_key(estimator: Any) -> Hashable:
    """Return a key for the `set_output` configuration of an estimator.

    Raises
    ------
    Uncertain
        If the estimator has other attributes that `clone` copies.
    """
    state = vars(estimator)
    if any(name in state for name in CLONED_ATTRIBUTES):
        raise Uncertain
    return value_key(state.get(OUTPUT_CONFIG, {}))


def parameter_keys(name: str, parameters: Parameters) -> frozenset[tuple[str, Hashable]]:
    """Return names and keys of all parameters of an estimator of the class `name`."""
    seeds = name in SEEDS_ITS_PARTS
    return frozenset(
        (parameter, value_key(value, seeded=seeds)) for parameter, value in parameters.items()
    )


def check_certain(name: str, parameters: Parameters, *, seeded: bool = False) -> None:
    """Check that a fit depends on class, parameters and data alone.

    Parameters
    ----------
    name : str
        Name of the class.
    parameters : mapping
    seeded : bool, default=False
        True if an enclosing estimator seeds it.

    Raises
    ------
    Uncertain
    """
    if name not in TRANSFORMERS and name not in PREDICTORS:
        raise Uncertain
    if parameters.get("copy", True) is not True or parameters.get("copy_X", True) is not True:
        raise Uncertain  # it may write into its input, which other fits share
    if parameters.get("warm_start", False) is not False or parameters.get("memory") is not None:
        raise Uncertain
    if "random_state" in parameters:
        _check_seed(name, parameters, seeded=seeded)


def _check_seed(name: str, parameters: Parameters, *, seeded: bool) -> None:
    seed = parameters["random_state"]
    if type(seed) is int:
        return
    draws_nothing = name in _UNSEEDED and _UNSEEDED[name](parameters)
    if seed is not None or not (seeded or draws_nothing):
        raise Uncertain


def digest(*parts: Hashable) -> str:
    """Return a short hash of keys that is the same in every process."""
    return hashlib.blake2b(_text(parts).encode(), digest_size=16).hexdigest()


def _text(key: Hashable) -> str:
    if isinstance(key, frozenset):
        return f"{{{','.join(sorted(map(_text, key)))}}}"
    if isinstance(key, tuple):
        return f"({','.join(map(_text, key))})"
    return repr(key)


PLAIN_SCORERS = frozenset(
    {"sklearn.metrics._scorer._Scorer", "sklearn.metrics._scorer._PassthroughScorer"}
)


def is_plain_scorer(scorer: Any) -> bool:
    """Return True if a scorer passes X unchanged and calls only the estimator's own methods on it.

    Parameters
    ----------
    scorer : callable
        Made by scikit-learn from ``scoring``.
    """
    name = class_or_none(type(scorer))
    if name == "sklearn.metrics._scorer._MultimetricScorer":
        return all(map(is_plain_scorer, scorers_within(scorer).values()))
    return name in PLAIN_SCORERS


def uses_known_metrics(scorer: Any) -> bool:
    """Return True if a scorer calls only estimator methods and scikit-learn's own metrics.

    Parameters
    ----------
    scorer : callable
        Made by scikit-learn from ``scoring``.
    """
    match class_or_none(type(scorer)):
        case "sklearn.metrics._scorer._MultimetricScorer":
            return all(map(uses_known_metrics, scorers_within(scorer).values()))
        case "sklearn.metrics._scorer._PassthroughScorer":
            return True
        case "sklearn.metrics._scorer._Scorer":
            return _is_known_metric(metric_of(scorer))
    return False


def _is_known_metric(function: Any) -> bool:
    module, name = getattr(function, "__module__", ""), getattr(function, "__name__", "")
    within = isinstance(module, str) and module.startswith("sklearn.metrics.")
    return within and getattr(sys.modules.get(module), name, None) is function
