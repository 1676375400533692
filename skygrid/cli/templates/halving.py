"""A halving search: many candidates with little data, the best ones with more.

skygrid check THIS_FILE     # the plan, and likely mistakes
skygrid run THIS_FILE       # the search on this machine
"""

from scipy.stats import loguniform
from sklearn.datasets import load_digits
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # makes the import below work
from sklearn.model_selection import HalvingRandomSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

dataset = load_digits(return_X_y=True)

# A whole search object takes the place of the other names.
search = HalvingRandomSearchCV(
    Pipeline([("scale", StandardScaler()), ("clf", SVC())]),
    {"clf__C": loguniform(1e-2, 1e3), "clf__gamma": loguniform(1e-4, 1e0)},
    n_candidates=27,
    factor=3,  # a third of the candidates goes on, with three times the data
    resource="n_samples",
    min_resources=60,
    cv=5,
    random_state=0,
)
