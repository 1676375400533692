"""Tables of the race against other libraries."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.peers import goals, report, tables
from tests.benchmarks.peers.plot import growth_svg
from tests.benchmarks.peers.race import differences
from tests.benchmarks.peers.records import Cell, Row, Run
from tests.benchmarks.peers.tables import cold, warm

NAN = math.nan


def done(*seconds: float, **more: Any) -> list[Run]:
    """Return runs that ended by themselves."""
    return [Run(ended="done", seconds=s, fit_seconds=2 * s, **more) for s in seconds]


def row(workload: str, fits: int = 100, **cells: list[Run]) -> Row:
    """Return a row of two cores; underscores in names stand for hyphens."""
    return Row(
        workload=workload,
        size="default",
        fits=fits,
        reference="loky",
        cells=[Cell(who=who.replace("_", "-"), runs=runs) for who, runs in cells.items()],
        cores=2,
        cut_seconds=300,
        machine="a machine",
        versions={"scikit-learn": "1.9.1"},
        measured="2026-01-01",
        others_busy=0.01,
    )


def test_a_ratio_is_the_median_of_the_turns() -> None:
    """A ratio is the median of the ratios of each turn, not the ratio of the medians."""
    raced = row("digits", skygrid=done(1, 2, 9), loky=done(2, 8, 10))
    ours, theirs = raced.cells
    assert tables.ratio(ours, theirs, warm) == 0.5


def test_a_stopped_peer_gives_a_bound() -> None:
    """A peer that was stopped is shown with > and < and is never first."""
    cut = [Run(ended="cut", seconds=300, startup_seconds=10, why="more than 300 s")]
    raced = row("tiny-50000", skygrid=done(30, 30, 30), loky=cut)
    line = tables.seconds_table([raced], warm).splitlines()[-1]
    assert "| 30.00 | > 300 (< 0.1) | skygrid |" in line
    assert "> 310" in tables.seconds_table([raced], cold)
    assert "loky was not finished (cut: more than 300 s), and not tried again" in tables.notes(
        [raced]
    )


def test_a_faster_peer_is_named() -> None:
    """A row that another library wins names it, in the table and in the goals."""
    raced = row("digits", skygrid=done(2), dask_ml_threads=done(1))
    assert tables.first(raced, warm) == "dask-ml-threads"
    assert "| first on every row, warm | not on digits (dask-ml, threads) | no |" in goals.judged(
        [raced], []
    )


def test_cold_counts_the_start() -> None:
    """Cold times include the start of the cluster and can change the order."""
    raced = row("text", skygrid=done(2, startup_seconds=1), ray=done(1, startup_seconds=5))
    assert tables.first(raced, warm) == "ray"
    assert tables.first(raced, cold) == "skygrid"


@pytest.mark.parametrize(
    ("ours", "met"), [(0.7, "0.70 | yes"), (0.71, "0.71 | no")], ids=["met", "missed"]
)
def test_goals_are_judged(ours: float, met: str) -> None:
    """A goal is met up to and including its number."""
    text = goals.judged([row("digits", skygrid=done(ours), loky=done(1))], [])
    assert f"| digits: at most 0.70 of loky's time | {met} |" in text


def test_places_are_judged_by_skygrid_on_this_machine() -> None:
    """skygrid on Ray may take 1.1 times its time here, and a quarter of joblib's on Ray."""
    cells = {"skygrid": done(10), "skygrid-ray": done(10.5), "ray": done(50)}
    text = goals.judged([row("tiny-5000", **cells)], [])
    assert "skygrid-ray at most 1.10 of skygrid's time | 1.05 | yes |" in text
    assert "skygrid-ray 4 times as fast as joblib on it | 4.76 | yes |" in text


def test_growth_is_judged_by_its_spread() -> None:
    """A time per fit that doubles with the length of the search is not flat."""
    growth = [
        row("growth-1000", 1_000, skygrid=done(0.1)),
        row("growth-10000", 10_000, skygrid=done(2.0)),
    ]
    assert "varies by at most 20% | 100% | no |" in goals.judged([], growth)


def test_growth_excludes_the_start() -> None:
    """The start of a search does not count as a cost of its fits."""
    growth = [
        row("growth-1000", 1_000, skygrid=done(0.3)),
        row("growth-10000", 10_000, skygrid=done(1.2)),
        row("growth-100000", 100_000, skygrid=done(11.1)),
    ]
    assert "a further fit varies by at most 20% | 10% | yes |" in goals.judged([], growth)
    assert "| 100,000 | 111 | 110 |" in tables.growth_table(growth)


@pytest.mark.parametrize(
    ("scores", "expected", "found"),
    [
        ([1.0, 0.5], [1.0, 0.5], (0, 0.0)),
        ([1.0, 0.75], [1.0, 0.5], (1, 0.25)),
        ([NAN, 0.5], [NAN, 0.5], (0, 0.0)),
        ([NAN, 0.5], [1.0, 0.5], (1, math.inf)),
        ([1.0], [1.0, 0.5], (2, math.inf)),
    ],
    ids=["equal", "other", "both missing", "one missing", "fewer"],
)
def test_scores_are_compared_to_the_last_bit(
    scores: list[float], expected: list[float], found: tuple[int, float]
) -> None:
    """Scores are equal only if their bits are; a missing score equals only a missing one."""
    assert differences(scores, expected) == found


def test_the_picture_is_well_formed() -> None:
    """The SVG is well-formed and draws a stopped run as a bound."""
    cut = [Run(ended="cut", seconds=300)]
    growth = [
        row("growth-1000", 1_000, skygrid=done(0.1), loky=done(2)),
        row("growth-10000", 0, skygrid=done(1.0), loky=cut),
    ]
    picture = growth_svg(growth)
    ET.fromstring(picture)
    assert picture.count('class="line cut"') == 1


def test_tables_are_written_between_the_markers(tmp_path: Path) -> None:
    """Text around the markers stays, and a guide without markers is refused by name."""
    guide, picture = tmp_path / "guide.md", tmp_path / "picture.svg"
    guide.write_text("before\n<!-- bench-peers -->an earlier one<!-- end bench-peers -->\nafter\n")
    report.write([row("digits", skygrid=done(1), loky=done(2))], guide, picture)
    text = guide.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "an earlier one" not in text
    assert "| digits | 100 | 1.00 | 2.00 (0.50) | skygrid |" in text
    guide.write_text("nothing\n")
    with pytest.raises(ValueError, match=r"guide\.md has no place"):
        report.write([row("digits", skygrid=done(1))], guide, picture)
