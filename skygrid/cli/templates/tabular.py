"""A search over a table with numbers, categories and gaps.

skygrid check THIS_FILE     # the plan, and likely mistakes
skygrid run THIS_FILE       # the search on this machine
"""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def dataset():
    """Return X and y. Instead: table = pd.read_csv("data.csv"); y = table.pop("target")."""
    random = np.random.default_rng(0)
    size = 400
    table = pd.DataFrame(
        {
            "age": random.integers(18, 90, size).astype(float),
            "income": random.lognormal(10, 1, size),
            "city": random.choice(["Bern", "Lyon", "Oslo"], size),
        }
    )
    target = (table["income"] > 20_000) & (table["city"] != "Oslo")
    table.loc[random.random(size) < 0.1, "age"] = np.nan
    return table, target.astype(int)


# Transformers that learn from data belong into the pipeline: each split fits its own.
numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
columns = make_column_transformer(
    (numbers, make_column_selector(dtype_include="number")),
    (categories, make_column_selector(dtype_exclude="number")),
)

estimator = Pipeline([("columns", columns), ("model", LogisticRegression(max_iter=1000))])

# One dict for each family, so that each estimator gets its own parameters.
param_grid = [
    {"model": [LogisticRegression(max_iter=1000)], "model__C": [0.01, 0.1, 1, 10]},
    {
        "model": [HistGradientBoostingClassifier(random_state=0)],
        "model__learning_rate": [0.03, 0.1],
        "model__max_leaf_nodes": [7, 31],
    },
]
cv = 5
scoring = ["roc_auc", "accuracy"]
refit = "roc_auc"
