"""A search with a transformer, a scorer and a splitter of your own.

    skygrid check THIS_FILE     # the plan, and likely mistakes
    skygrid run THIS_FILE       # the search on this machine

Classes and functions of this file work on every node, and the saved model opens without it.
"""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline


class Clipped(TransformerMixin, BaseEstimator):
    """Clips each column to quantiles of the training data."""

    def __init__(self, share=0.01):
        self.share = share

    def fit(self, X, y=None):
        """Learn the limits."""
        self.limits_ = np.quantile(X, [self.share, 1 - self.share], axis=0)
        return self

    def transform(self, X):
        """Clip X."""
        return np.clip(X, *self.limits_)


def scoring(estimator, X, y):
    """Return the negative mean relative error: scorers are better the higher they are."""
    return -float(np.mean(np.abs(estimator.predict(X) - y) / y))


def dataset():
    """Return the data with fit parameters: groups stay together in training or test data."""
    X, y = load_diabetes(return_X_y=True)
    return {"X": X, "y": y, "groups": np.arange(len(y)) // 10}


estimator = Pipeline([("clip", Clipped()), ("model", Ridge())])
param_grid = {"clip__share": [0.0, 0.01, 0.05], "model__alpha": [0.001, 0.01, 0.1, 1.0]}
cv = GroupKFold(5)
