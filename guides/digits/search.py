"""Three families of classifiers on handwritten digits: 21 candidates, 5 splits, 105 fits.

    skygrid run guides/digits/search.py

A support vector machine with C=10 and an RBF kernel wins: 0.99165 in cross-validation, 0.98611 on
the images that were held out.
"""

from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)

dataset = (X_train, y_train)
holdout = (X_test, y_test)

# The classifier is itself a parameter: each dict below puts another one in the place of "clf" and
# varies that one's own parameters.
estimator = Pipeline([("clf", SVC())])

param_grid = [
    {
        "clf": [RandomForestClassifier(random_state=42)],
        "clf__n_estimators": [50, 100, 200],
        "clf__max_depth": [None, 10, 20],
    },
    {
        "clf": [GradientBoostingClassifier(random_state=42)],
        "clf__n_estimators": [50, 100],
        "clf__learning_rate": [0.01, 0.1, 0.2],
    },
    {
        "clf": [SVC()],
        "clf__C": [0.1, 1, 10],
        "clf__kernel": ["rbf", "poly"],
    },
]

cv = 5
scoring = "accuracy"
