"""Shared work of candidates is found without fitting."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import check_scoring
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skygrid.plan.sharing import find_sharing
from skygrid.worker.evaluation.contents import Sharing
from skygrid.worker.evaluation.sklearn_private import TESTED


def found(estimator: Any, grid: Any, n_samples: int | None = 100) -> Sharing:
    scorer = check_scoring(SVC(), "accuracy")
    candidates = list(ParameterGrid(grid))
    return find_sharing(estimator, candidates, scorer=scorer, n_samples=n_samples)


def test_the_member_that_takes_longest_comes_first() -> None:
    """The first member of a group is the one whose fit answers the others."""
    forest = RandomForestClassifier(random_state=0)
    sharing = found(forest, {"n_estimators": [10, 300, 20], "max_depth": [None, 3]})
    assert [group.members for group in sharing.groups] == [(1, 2, 0), (4, 5, 3)]
    assert {group.rule for group in sharing.groups} == {"trees of a forest"}


def test_the_digits_guide_is_answered_by_fewer_fits() -> None:
    """Boosting and forests within the grid are grouped by all parameters except their size."""
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", SVC())])
    grid = [
        {"clf": [SVC()], "clf__C": [1, 10]},
        {
            "clf": [RandomForestClassifier(random_state=42)],
            "clf__n_estimators": [50, 100, 200],
            "clf__max_depth": [None, 10],
        },
        {
            "clf": [GradientBoostingClassifier(random_state=42)],
            "clf__n_estimators": [50, 100],
            "clf__learning_rate": [0.1, 0.2],
        },
    ]
    sharing = found(pipeline, grid)
    assert sorted(len(group.members) for group in sharing.groups) == [2, 2, 3, 3]
    assert set(sharing.prefixes) == {0}
    assert len(sharing.kept) == 1


def test_groups_span_the_dicts_of_a_grid() -> None:
    """A default value equals the same value in the grid."""
    tree = DecisionTreeClassifier(random_state=0)
    grid = [
        {"ccp_alpha": [0.0, 0.1]},
        {"ccp_alpha": [0.2], "max_depth": [None]},
        {"ccp_alpha": [0.3], "max_depth": [2]},
    ]
    assert [group.members for group in found(tree, grid).groups] == [(0, 1, 2)]


def test_only_levels_that_save_a_fit_are_kept() -> None:
    """Of steps that always occur together the last is kept, the first only if it saves more."""
    line = [("a", StandardScaler()), ("b", MinMaxScaler()), ("own", SVC())]
    together = found(Pipeline(line), {"own__C": [1, 2]})
    assert len(together.kept) == 1
    apart = found(Pipeline(line), {"b__clip": [True, False], "own__C": [1, 2]})
    assert len(apart.kept) == 3
    assert apart.prefixes == (0, 0, 1, 1)
    assert found(Pipeline(line), {"own__C": [1]}).kept == frozenset()


def test_a_prefix_of_a_single_group_is_not_kept() -> None:
    """A prefix that only one group uses is not kept, because the group fits it once."""
    line = make_pipeline(StandardScaler(), RandomForestClassifier(random_state=0))
    sharing = found(line, {"randomforestclassifier__n_estimators": [1, 2, 3]})
    assert len(sharing.groups) == 1
    assert sharing.kept == frozenset()
    assert set(sharing.prefixes) == {-1}


def test_one_vectoriser_before_many_classifiers() -> None:
    """Two settings of a vectoriser before three classifiers give two prefixes."""
    pipeline = Pipeline([("words", TfidfVectorizer()), ("own", SVC())])
    own = [SVC(), LogisticRegression(), DecisionTreeClassifier()]
    sharing = found(pipeline, {"words__ngram_range": [(1, 1), (1, 2)], "own": own})
    assert len(sharing.kept) == 2
    assert sorted(sharing.prefixes) == [0, 0, 0, 1, 1, 1]


def test_scores_of_features_are_kept_for_every_k() -> None:
    """With different k no output is shared, but the feature scores are."""
    line = make_pipeline(SelectKBest(f_classif), SVC())
    sharing = found(line, {"selectkbest__k": [1, 2, "all"]})
    assert len(sharing.kept) == 1
    assert set(sharing.prefixes) == {0}


def test_prefixes_are_equal_in_every_process() -> None:
    """Slots compare their digests with those of the plan, so these do not depend on the process."""
    line = Pipeline([("a", StandardScaler()), ("own", SVC())])
    expected = found(line, {"own__C": [1, 2]}).kept
    code = (
        "from tests.unit.plan.test_sharing import *\n"
        "line = Pipeline([('a', StandardScaler()), ('own', SVC())])\n"
        "print(*found(line, {'own__C': [1, 2]}).kept)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == list(expected)


def test_an_untested_release_shares_nothing(monkeypatch: Any) -> None:
    """On a release of scikit-learn newer than the tested ones, no fits are shared."""
    monkeypatch.setattr("sklearn.__version__", f"{TESTED[0]}.{TESTED[1] + 1}.0")
    sharing = found(RandomForestClassifier(random_state=0), {"n_estimators": [1, 2]})
    assert sharing == Sharing(prefixes=(-1, -1))


def test_estimators_are_not_changed() -> None:
    """The search for shared work changes neither the estimator nor those of the grid."""
    pipeline = Pipeline([("a", StandardScaler()), ("own", SVC())])
    forest = RandomForestClassifier(random_state=0)
    before = repr(pipeline), repr(forest)
    found(pipeline, {"own": [forest], "own__n_estimators": [1, 2], "a__with_mean": [True, False]})
    assert (repr(pipeline), repr(forest)) == before
