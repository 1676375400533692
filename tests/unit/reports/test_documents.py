"""JSON documents keep to the schema that the package ships."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from sklearn.svm import SVC

from skygrid.errors import NodeError
from skygrid.nodes.records import Finding, NodeList
from skygrid.plan.records import Outcome
from skygrid.reports.document_schema import document_schema, shipped_schema
from skygrid.reports.envelope import error_json
from skygrid.reports.finding import findings_json
from skygrid.reports.partial_results import partial_results, partial_summary
from skygrid.reports.result_json import result_json
from skygrid.reports.summary import RunFacts
from skygrid.reports.views import CheckResult, RoundSize, check_json, nodes_json

VALIDATOR = Draft202012Validator(shipped_schema())
ROOT = Path(__file__).parents[3]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([SVC(C=3), len, np.float32(0.1), np.array([1, 2]), b"\xff", {1, 2}]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.just("$tuple"), inner, max_size=3)
    ),
    max_leaves=8,
)

SCORES = st.none() | st.floats()


def test_the_shipped_schema_is_that_of_the_records() -> None:
    """The schema in the package is the one that its records give, and a valid one."""
    assert shipped_schema() == json.loads(json.dumps(document_schema()))
    Draft202012Validator.check_schema(shipped_schema())
    subprocess.run([sys.executable, ROOT / "tools" / "json_schema.py"], cwd=ROOT, check=True)


@given(
    params=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), min_size=1, max_size=4),
    scores=st.lists(SCORES, max_size=8),
    end=st.sampled_from([("failed", 1), ("interrupted", 130), ("stopped", 4), ("complete", 0)]),
)
def test_results_of_any_search_keep_to_the_schema(params: Any, scores: Any, end: Any) -> None:
    """A document of any parameters, scores and gaps is valid, and strict JSON."""
    outcomes = [
        Outcome(
            round=0,
            candidate=number % len(params),
            split=number // len(params),
            status="failed" if score is None else "scored",
            fit_error="ValueError: no" if score is None else None,
            node="one",
            slot=0,
            test_scores=score,
        )
        for number, score in enumerate(scores)
    ]
    facts = RunFacts(
        name="a", folder="b", wall_seconds=1.0, outcomes=outcomes, candidates={0: params}
    )
    summary, (state, code) = partial_summary(facts, "GridSearchCV", 2), end
    text = result_json(
        summary,
        partial_results({0: params}, outcomes, 2),
        outcomes,
        state=state,
        error="no" if code else None,
        exit_code=code,
    )
    document = json.loads(text, parse_constant=pytest.fail)
    VALIDATOR.validate(document)
    assert (document["state"], document["exit_code"]) == end
    assert document["candidates"] == len(params)
    finite = [score for score in scores if score is not None and math.isfinite(score)]
    assert document["best_score"] is None or min(finite) <= document["best_score"] <= max(finite)


@pytest.mark.parametrize(
    "text",
    [
        nodes_json(NodeList(regions=("eu-central-1",), nodes=())),
        findings_json([Finding(name="ssh", problems=("no host",))], NodeError("trouble with ssh")),
        findings_json([Finding(name="local", facts=("2 vCPUs",))]),
        check_json(
            CheckResult(
                search="GridSearchCV",
                rounds=(RoundSize(candidates=2, splits=3),),
                nodes=1,
                slots=None,
                sample_params={"layers": {"$tuple": [3]}},
                sample_error="Traceback (most recent call last):\nValueError: no",
            )
        ),
        error_json("there is no run x", 2),
    ],
)
def test_other_documents_keep_to_the_schema(text: str) -> None:
    """Documents about nodes, places, plans and errors are valid."""
    VALIDATOR.validate(json.loads(text))


def test_the_schema_refuses_what_is_no_document() -> None:
    """A missing key, an unknown kind and an unknown mark of a value are invalid."""
    document = json.loads(check_json(CheckResult(search="S", rounds=(), nodes=1, slots=1)))
    assert VALIDATOR.is_valid(document)
    for change in ({"kind": "other"}, {"state": "gone"}, {"sample_params": {"a": {"$set": []}}}):
        assert not VALIDATOR.is_valid(document | change)
    del document["nodes"]
    assert not VALIDATOR.is_valid(document)
