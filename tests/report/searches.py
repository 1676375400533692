"""Search files whose reports the browser opens, by name, with options of `skygrid run`."""

from __future__ import annotations

HOSTILE = "<script>alert(1)</script>"

GRID = """
import numpy as np
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

X, y = load_digits(return_X_y=True)
dataset = X[:400], y[:400]
holdout = X[400:600], y[400:600]
estimator = make_pipeline(StandardScaler(), SVC())
param_grid = {"svc__C": np.logspace(-2, 3, 6), "svc__gamma": np.logspace(-4, 0, 5)}
cv = 5
"""

FAMILIES = """
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

X, y = load_breast_cancer(return_X_y=True)
dataset = X[:250], y[:250]
estimator = Pipeline([("scale", StandardScaler()), ("clf", SVC())])
param_grid = [
    {"clf": [SVC()], "clf__C": [-1, 0.1, 1, 10], "clf__kernel": ["rbf", "linear"],
     "scale": [StandardScaler(), MinMaxScaler()]},
    {"clf": [RandomForestClassifier(random_state=0)], "clf__n_estimators": [3, 6],
     "clf__max_depth": [None, 2]},
    {"clf": [LogisticRegression(max_iter=5)], "clf__C": np.logspace(-2, 2, 5)},
]
scoring = "roc_auc"
cv = 5
return_train_score = True
"""

HALVING = """
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.datasets import make_classification
from sklearn.model_selection import HalvingGridSearchCV
from sklearn.tree import DecisionTreeClassifier

dataset = make_classification(n_samples=900, n_features=12, random_state=0)
grid = {"max_depth": [1, 2, 3, 5, 8, None], "min_samples_leaf": [1, 2, 5]}
search = HalvingGridSearchCV(
    DecisionTreeClassifier(random_state=0), grid, random_state=0, cv=4, return_train_score=True
)
"""

METRICS = """
from scipy.stats import loguniform, uniform
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet

dataset = load_diabetes(return_X_y=True)
estimator = ElasticNet()
param_distributions = {
    "alpha": loguniform(1e-4, 10), "l1_ratio": uniform(0, 1), "fit_intercept": [True, False],
    "selection": ["cyclic", "random"],
}
n_iter = 60
random_state = 0
scoring = ["r2", "neg_mean_absolute_error"]
refit = "r2"
cv = 4
"""

HOSTILES = f"""
import warnings
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification

BAD = {HOSTILE!r}


class Any(ClassifierMixin, BaseEstimator):
    def __init__(self):
        self.values = {{}}

    def get_params(self, deep=True):
        return {{BAD: 0, "text": "", **self.values}}

    def set_params(self, **params):
        self.values = {{**self.values, **params}}
        return self

    def __sklearn_clone__(self):
        return Any().set_params(**self.values)

    def fit(self, X, y):
        warnings.warn("careful " + BAD)
        if self.values.get(BAD) == 3:
            raise ValueError("failed " + BAD)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return (X[:, 0] > 0.2 * self.values[BAD]).astype(int)


dataset = make_classification(n_samples=80, random_state=0)
estimator = Any()
param_grid = {{BAD: [0, 1, 2, 3], "text": [BAD, "<b>bold</b>", "%{{y}}", "'\\"&amp;"]}}
cv = 3
"""

INTERRUPTED = """
import time
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification


class Slow(ClassifierMixin, BaseEstimator):
    def __init__(self, depth=1, mode="a"):
        self.depth = depth
        self.mode = mode

    def fit(self, X, y):
        time.sleep(0.1 * self.depth)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return (X[:, 0] > 0.1 * self.depth).astype(int)


dataset = make_classification(n_samples=200, random_state=0)
estimator = Slow()
param_grid = {"depth": [1, 2, 3, 4, 5, 6], "mode": ["a", "b", "c"]}
cv = 4
"""
"""A search that takes long enough to be interrupted."""

SEARCHES: dict[str, tuple[str, tuple[str, ...]]] = {
    "grid": (GRID, ()),
    "families": (FAMILIES, ()),
    "halving": (HALVING, ()),
    "metrics": (METRICS, ()),
    "hostile": (HOSTILES, ()),
}
