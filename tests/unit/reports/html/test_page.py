"""The page: every text of a user or a node is text."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from skygrid.reports.html.gather import gather
from skygrid.reports.html.page import PLOTLY, PLOTLY_SHA256, render, script_json
from skygrid.reports.html.view import _facts
from skygrid.worker.wire.messages.results import WarningNote
from tests.recorded_runs import BEGAN, failed, outcome, recorded_run

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=30)
HOSTILE = "</script><script>alert(1)</script>"


class Page(HTMLParser):
    """Tags, attributes, texts and data of a page."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags = Counter()
        self.attributes = set()
        self.texts = []
        self.data = ""
        self._inside = []
        self.feed(html)
        self.close()
        self.text = " ".join(self.texts)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes.update((tag, name) for name, _ in attrs)
        self._inside.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tag, attrs = self._inside[-1] if self._inside else ("", {})
        if attrs.get("id") == "data":
            self.data += data
        elif tag not in ("script", "style"):
            self.texts.append(data)


def page_with(text, html_only=False):
    """Return the page of a run that has `text` wherever a user or a node may write one."""
    with tempfile.TemporaryDirectory() as folder:
        grid = [{f"a{text}": f"x{text}", "C": 1}, {f"a{text}": "y", "C": 2}]
        warning = WarningNote(f"m:W{text}", f"careful {text}", "f.py", 1)
        outcomes = [
            outcome(0, 0, 0.5, node=f"n{text}", warnings=(warning,)),
            outcome(1, 0, 0.7),
            failed(0, 1, f"ValueError: {text}"),
        ]
        run = recorded_run(
            Path(folder) / "run",
            grid,
            outcomes,
            state="failed",
            error=f"e {text}\nmore",
            metric=f"m{text}",
        )
        (run / "search.py").write_text(f"# {text}\n", encoding="utf-8")
        return Page(render(gather(run, now=BEGAN + 9, diagram=f"<p>{text}</p>")))


@pytest.fixture(scope="module")
def plain():
    return page_with("word")


@settings(max_examples=25)
@given(TEXTS)
@example(HOSTILE)
@example("<img src=x onerror=alert(1)>")
@example("'\"><b>&amp;")
@example("{{ 7 * 7 }}{% raw %}")
@example("\u2028\u2029")
@example("<!--<script>")
def test_any_text_comes_out_as_text(plain, text):
    """Text of a user or a node adds no element and no attribute to the page."""
    page = page_with(text)

    assert page.tags == plain.tags
    assert page.attributes == plain.attributes
    assert f"e {text}" in page.text
    assert f"careful {text}" in page.text
    names = [column["name"] for column in json.loads(page.data)["params"]]
    assert names == [f"a{text}", "C"]


@given(
    st.recursive(TEXTS | st.none() | st.floats(-1e9, 1e9), lambda some: st.lists(some, max_size=3))
)
@example("</script>\u2028&<!--")
def test_json_for_a_script_cannot_end_it(value):
    """JSON in a script element has no character that HTML or JavaScript reads as an end."""
    text = str(script_json(value))

    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value


def test_the_page_refers_to_no_other_file(plain):
    """No element of the page loads anything, and its policy permits no connection."""
    assert not {("script", "src"), ("img", "src"), ("link", "src")} & plain.attributes
    assert plain.tags["base"] == 0


def test_the_report_of_a_failed_search_begins_with_the_error(plain):
    """A report of a failed search says so, with the reason and the number of recorded fits."""
    assert "The search failed. 3 of 6 fits are recorded. e word" in " ".join(plain.text.split())


def test_a_partial_report_says_so(tmp_path):
    """A report of a run without a complete result says that it is partial, and how to go on."""
    run = recorded_run(tmp_path / "run", [{"C": 1}], [outcome(0, 0)])

    text = " ".join(Page(render(gather(run, now=BEGAN + 9))).text.split())

    assert "This report is partial. 1 of 3 fits are recorded; go on with: skygrid resume" in text


def test_each_input_and_frame_has_a_name(plain):
    """Frames have titles and tables have captions for screen readers."""
    assert ("iframe", "title") in plain.attributes
    assert plain.tags["caption"] == plain.tags["table"]


def test_plotly_is_the_published_file():
    """The vendored bundle is the one of the package, unchanged."""
    assert hashlib.sha256(PLOTLY.read_bytes()).hexdigest() == PLOTLY_SHA256
    assert "MIT License" in (PLOTLY.parent / "LICENSE").read_text(encoding="utf-8")


def test_a_report_without_hints_names_the_next_step(tmp_path):
    """Where no hint is clear, the page says what to do with equally good candidates."""
    grid = [{"a": "x"}, {"a": "y"}]
    scores = [[0.5, 0.7, 0.6], [0.61, 0.59, 0.57]]
    outcomes = [outcome(row, split, scores[row][split]) for row in range(2) for split in range(3)]
    folder = recorded_run(tmp_path / "run", grid, outcomes, state="complete")

    text = Page(render(gather(folder, now=BEGAN))).text

    assert "1 other candidate is statistically as good as the best one" in text
    assert "RepeatedStratifiedKFold" in text


def test_candidates_of_a_halving_search_are_counted_once(tmp_path):
    """Candidates that later iterations fit again are not counted again, as in the summary."""
    folder = recorded_run(tmp_path / "run", [{"a": 1}, {"a": 2}], [outcome(0, 0), outcome(1, 0)])
    report = gather(folder, now=BEGAN)
    halving = replace(
        report,
        search="HalvingGridSearchCV",
        candidates=replace(report.candidates, rounds=(0, 1)),
    )

    assert _facts(halving).startswith("1 candidate in 2 iterations")
