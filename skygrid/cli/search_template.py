"""A search for skygrid: data, estimator, candidates and scoring.

    skygrid check THIS_FILE     # the plan: number of fits, time, price
    skygrid run THIS_FILE       # the search on this machine

skygrid reads the names below. Each is a value or a function without arguments that returns it.
Modules beside this file can be imported; classes defined here work on every node.
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

# The data: (X, y), (X,) without targets, a scikit-learn Bunch, or a dict with "X", "y" and further
# fit parameters: {"X": X, "y": y, "groups": groups}.
dataset = (X_train, y_train)

# Optional: scored once with the refitted best estimator; the search never sees it.
holdout = (X_test, y_test)

# An unfitted estimator or Pipeline.
estimator = Pipeline([("scale", StandardScaler()), ("clf", SVC())])

# Candidates, as for GridSearchCV: a dict, or a list of dicts that are searched in order. Values may
# be estimators: "clf": [SVC(), LogisticRegression()].
param_grid = {
    "clf__C": [0.1, 1, 10],
    "clf__kernel": ["rbf", "linear"],
}

# Or random candidates, as for RandomizedSearchCV, instead of `param_grid`:
# param_distributions = {"clf__C": scipy.stats.loguniform(1e-2, 1e2)}
# n_iter = 20
# random_state = 42

# Optional, passed to scikit-learn unchanged; a missing name keeps scikit-learn's default.
cv = 5
scoring = "accuracy"
# refit = True
# error_score = float("nan")
# return_train_score = False

# Or a whole search, instead of all names above but `dataset` and `holdout`:
# search = HalvingGridSearchCV(estimator_to_tune, grid_to_try, factor=3)
