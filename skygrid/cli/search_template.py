"""A search for skygrid: what to search over, on which data, judged how.

    skygrid check THIS_FILE     # the plan: how many fits, how long, at what price
    skygrid run THIS_FILE       # the search on this machine

skygrid reads the names below. Each may be the value itself or a function of no arguments that
returns it. Modules beside this file can be imported; classes defined here work on every node.
"""

from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

X, y = load_iris(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.2, stratify=y, random_state=42
)

# The data to search on: (X, y), (X,) without targets, a scikit-learn Bunch, or a dict with "X", "y"
# and whatever else `fit` is to be given: {"X": X, "y": y, "groups": groups}.
dataset = (X_train, y_train)

# Optional: scored once, by the refitted winner. Nothing of it is seen during the search.
holdout = (X_test, y_test)

# An unfitted estimator or Pipeline.
estimator = Pipeline([("scale", StandardScaler()), ("clf", SVC())])

# What to try, as for GridSearchCV: a dict, or a list of dicts that are searched one after another.
# Values may be estimators: "clf": [SVC(), LogisticRegression()].
param_grid = {
    "clf__C": [0.1, 1, 10],
    "clf__kernel": ["rbf", "linear"],
}

# Or draw candidates at random, as RandomizedSearchCV does, instead of `param_grid`:
# param_distributions = {"clf__C": scipy.stats.loguniform(1e-2, 1e2)}
# n_iter = 20
# random_state = 42

# Optional, passed on to scikit-learn unchanged; a name that is not given keeps its default.
cv = 5
scoring = "accuracy"
# refit = True
# error_score = float("nan")
# return_train_score = False

# Or write the whole search yourself, instead of all names above but `dataset` and `holdout`:
# search = HalvingGridSearchCV(estimator_to_tune, grid_to_try, factor=3)
