"""A search over the classification of texts.

skygrid check THIS_FILE     # the plan, and likely mistakes
skygrid run THIS_FILE       # the search on this machine
"""

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

PRAISE = ["a fine film", "great actors and a fine story", "I liked it a lot", "warm and funny"]
BLAME = ["a dull film", "bad actors and a dull story", "I left early", "cold and boring"]


def dataset():
    """Return a list of texts, and a label for each.

    Instead: from sklearn.datasets import fetch_20newsgroups, or read a file of your own.
    """
    texts = [f"{text} {number}" for number in range(10) for text in (*PRAISE, *BLAME)]
    return texts, ([1] * len(PRAISE) + [0] * len(BLAME)) * 10


estimator = Pipeline([("words", TfidfVectorizer()), ("model", LogisticRegression(max_iter=1000))])

# The vectorizer is fitted once for each of its settings and split; skygrid shares it.
param_grid = {
    "words__ngram_range": [(1, 1), (1, 2)],
    "words__min_df": [1, 2],
    "words__sublinear_tf": [False, True],
    "model__C": [0.1, 1, 10],
}
cv = 5
scoring = "f1_macro"
