"""The step summary and the annotations for GitHub Actions, and the decision of --fail-under."""

from __future__ import annotations

import html
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skygrid.plan.records import Outcome
from skygrid.reports.github import annotation, annotation_lines, markdown, step_summary
from skygrid.reports.partial_results import partial_summary
from skygrid.reports.summary import RunFacts, Summary
from skygrid.reports.verdict import shortfall

HOSTILE = "</td><script>x</script> | **b** `c`\n::error::[d](http://e) @f"


def summary(scores: list[float | None], name: str = "C") -> Summary:
    """Return the summary of a search with one split and these scores."""
    outcomes = [
        Outcome(
            round=0, candidate=number, split=0, node="n", slot=0, test_scores=score,
            status="failed" if score is None else "scored",
            fit_error=f"ValueError: {HOSTILE}" if score is None else None,
        )
        for number, score in enumerate(scores)
    ]  # fmt: skip
    candidates: dict[int, Any] = {0: [{name: number} for number in range(len(scores))]}
    facts = RunFacts(
        name="a", folder="b", wall_seconds=1.0, outcomes=outcomes, candidates=candidates
    )
    return partial_summary(facts)


def test_the_summary_has_the_verdict_and_the_top_five() -> None:
    """The Markdown names the best score and lists the five best candidates."""
    text = step_summary("digits", summary([0.1 * number for number in range(8)]))
    assert text.startswith("### skygrid: digits, complete\n")
    assert "| best score | 0.70000, std 0.00000 |" in text
    assert re.findall(r"^\| (\d) \| (0\.\d)", text, flags=re.MULTILINE) == [
        ("1", "0.7"), ("2", "0.6"), ("3", "0.5"), ("4", "0.4"), ("5", "0.3"),
    ]  # fmt: skip


def test_hostile_text_is_text() -> None:
    """Markup in parameters, errors and names reaches the summary as characters only."""
    text = step_summary(HOSTILE, summary([0.5, None], name=HOSTILE), HOSTILE)
    assert "<script" not in text
    assert not re.search(r"[`*@\[\]]|://", text)
    shown = html.unescape(text)
    assert "<script>x</script>" in shown
    assert all(line.count(" | ") in (1, 3) for line in text.splitlines() if line[:1] == "|")


@given(st.text())
def test_markdown_shows_the_text_itself(text: str) -> None:
    """Escaped text has no character with a meaning, and reads back as the printable text."""
    escaped = markdown(text)
    assert re.fullmatch(r"([A-Za-z0-9 ,()=]|(?<=\d)\.(?=\d)|&#\d+;)*", escaped)
    printable = "".join(one if one.isprintable() or one in "\n\t" else "?" for one in text)
    assert html.unescape(escaped) == " ".join(printable.split())


def test_annotations_are_one_line_each() -> None:
    """Line ends and percent signs are escaped as GitHub's toolkit does."""
    assert annotation("error", "50 %\nnext") == "::error title=skygrid::50 %25%0Anext"
    lines = annotation_lines(summary([0.5, None]), "a\n::warning::b")
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::warning"]
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize(
    ("scores", "least", "words"),
    [
        ([0.5], None, None),
        ([0.5], 0.5, None),
        ([-0.5], -1.0, None),
        ([0.5], math.nextafter(0.5, 1), "the best score 0.5 (score) is below --fail-under 0.5"),
        ([0.5], 0.9, "the best score 0.5 (score) is below --fail-under 0.9"),
        ([None], -1e9, "the search has no best score"),
    ],
)
def test_fail_under_compares_the_best_score(
    scores: list[float | None], least: float | None, words: str | None
) -> None:
    """A search without a best score, or with one below the limit, falls short."""
    reason = shortfall(summary(scores), least)
    assert reason is None if words is None else words in (reason or "")
