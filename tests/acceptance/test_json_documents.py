"""``--json``: one document on stdout for every command, however it ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from skygrid.reports.document_schema import shipped_schema
from tests.command import GATED_SEARCH, Command, recorded, result, wait_for

VALIDATOR = Draft202012Validator(shipped_schema())

TUPLES = """
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier

dataset = load_iris(return_X_y=True)
estimator = MLPClassifier(max_iter=3, random_state=0)
param_grid = {"hidden_layer_sizes": [(3,), (3, 2)], "activation": ["relu", "no"]}
cv = 2
"""


def document_of(command: Command, code: int, kind: str, state: str) -> Any:
    """Return the only document on stdout of a command, after a check of its head."""
    ended, out, err = command.end()
    assert ended == code, err
    document = json.loads(out)
    VALIDATOR.validate(document)
    assert (document["kind"], document["state"]) == (kind, state)
    if document["exit_code"] is not None:
        assert document["exit_code"] == code
    assert (document["error"] is None) == (code == 0)
    assert not document["error"] or document["error"] in err or kind == "error"
    return document


def test_commands_that_end_well_print_one_valid_document(tmp_path: Path) -> None:
    """run, show, runs, check and doctor print a document that keeps to the schema."""
    (tmp_path / "search.py").write_text(TUPLES)
    ran = Command(tmp_path, "run", "search.py", "--name", "a", "--json")
    document = document_of(ran, 0, "result", "complete")
    assert document == result(tmp_path, "a")
    assert {"$tuple": [3, 2]} in document["cv_results"]["param_hidden_layer_sizes"]
    assert document["failed"] == 4
    shown = Command(tmp_path, "show", "a", "--json")
    assert document_of(shown, 0, "result", "complete") == document
    listed = document_of(Command(tmp_path, "runs", "--json"), 0, "runs", "complete")
    assert [one["name"] for one in listed["runs"]] == ["a"]
    document_of(Command(tmp_path, "check", "search.py", "--json"), 0, "check", "complete")
    document_of(Command(tmp_path, "doctor", "--json"), 0, "doctor", "complete")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "nothing", "--json"), 2),
        (("run", "search.py", "--jsn", "--json"), 2),
        (("run", "missing.py", "--json"), 2),
        (("run", "search.py", "--json", "--retries", "-1"), 2),
    ],
)
def test_wrong_usage_is_a_document_too(
    tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    """A command that cannot begin prints its error and exit code as a document."""
    document_of(Command(tmp_path, *arguments), code, "error", "failed")


def test_a_config_file_and_the_environment_ask_for_json(tmp_path: Path) -> None:
    """``json = true`` and SKYGRID_JSON have the effect of ``--json``, also on errors."""
    (tmp_path / "skygrid.toml").write_text("json = true\n")
    document_of(Command(tmp_path, "run", "missing.py"), 2, "error", "failed")
    (tmp_path / "skygrid.toml").unlink()
    command = Command(tmp_path, "show", "nothing", env={"SKYGRID_JSON": "true"})
    document_of(command, 2, "error", "failed")


def test_a_failed_search_has_a_result_with_its_reasons(tmp_path: Path) -> None:
    """A search whose fits all fail leaves a result.json that says why, and prints it."""
    (tmp_path / "search.py").write_text(TUPLES.replace('["relu", "no"]', '["no"]'))
    ran = Command(tmp_path, "run", "search.py", "--name", "a", "--json")
    document = document_of(ran, 1, "result", "failed")
    assert document == result(tmp_path, "a")
    assert (document["fits"], document["failed"], document["best_score"]) == (4, 4, None)
    (failure,) = document["failures"]
    assert failure["count"] == 4
    shown, out, _ = Command(tmp_path, "show", "a", "--json").end()
    assert (shown, json.loads(out)) == (0, document)


def test_an_interrupted_run_has_a_result_with_what_is_recorded(tmp_path: Path) -> None:
    """Ctrl-C leaves a result.json with the best so far; resume replaces it by the whole one."""
    (tmp_path / "search.py").write_text(GATED_SEARCH)
    command = Command(tmp_path, "run", "search.py", "--name", "a", "--concurrency", "2", "--json")
    wait_for(lambda: recorded(tmp_path, "a") >= 1, "an outcome")
    running = document_of(Command(tmp_path, "show", "a", "--json"), 0, "run", "running")
    assert running["exit_code"] is None
    command.signal(signal.SIGINT)
    (tmp_path / "go").touch()
    document = document_of(command, 130, "result", "interrupted")
    assert document == result(tmp_path, "a")
    assert document["fits"] == recorded(tmp_path, "a")
    assert "skygrid resume" in document["error"]
    means = document["cv_results"]["mean_test_score"]
    splits = document["cv_results"]["splits_scored"]
    whole = [mean for mean, scored in zip(means, splits, strict=True) if scored == 4]
    assert document["best_score"] == max(whole, default=None)
    resumed = Command(tmp_path, "resume", "a", "--json")
    document = document_of(resumed, 0, "result", "complete")
    assert document == result(tmp_path, "a")
    assert document["fits"] == 40


def test_a_score_below_the_limit_is_exit_code_five(tmp_path: Path) -> None:
    """--fail-under ends a complete run with 5; GitHub gets the reason and the table."""
    (tmp_path / "search.py").write_text(TUPLES)
    job = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    limit = {"SKYGRID_FAIL_UNDER": "0.999"}
    command = Command(tmp_path, "run", "search.py", "--name", "a", "--json", "-q", env=job | limit)
    code, out, err = command.end()
    assert code == 5
    document = json.loads(out)
    VALIDATOR.validate(document)
    assert (document["state"], document["exit_code"]) == ("complete", 5)
    assert document["error"] in err
    assert f"::error title=skygrid::{document['error']}" in err.splitlines()
    assert any(
        line.startswith("::warning title=skygrid::InvalidParameterError: ")
        for line in err.splitlines()
    )
    text = (tmp_path / "summary.md").read_text()
    assert "### skygrid: a, not passed" in text
    assert f"{document['best_score']:.5f}" in text
    again = Command(tmp_path, "resume", "a", "--fail-under", "0.1", "--json", env=job)
    document_of(again, 0, "result", "complete")
    assert "### skygrid: a, complete" in (tmp_path / "summary.md").read_text()
