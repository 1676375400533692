"""Goals of the race, judged from its rows."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence

from tests.benchmarks.peers import tables
from tests.benchmarks.peers.records import Row
from tests.benchmarks.peers.tables import OURS, cold, warm

DIGITS, TEXT = 0.70, 0.35
"""Largest allowed ratio of skygrid's time to loky's."""

FLOOR = 1.10
"""Largest allowed ratio of skygrid's time to the floor, for tiny fits."""

TIMES_FASTER = 8.0
"""Smallest allowed ratio of the best peer's time to skygrid's, for 50,000 tiny fits."""

ELSEWHERE, PLACES = 1.10, ("skygrid-ray", "skygrid-dask")
"""Largest allowed ratio of skygrid's time on a cluster's library to its time without one."""

BACKENDS = 4.0
"""Smallest allowed ratio of the time of a library's own joblib backend to skygrid's on it."""

FLAT = 1.20
"""Largest allowed ratio of the costs per fit between lengths of a search. Judged with and without
the cost of starting a search, which is the same for all lengths.
"""


def judged(searches: Sequence[Row], growth: Sequence[Row]) -> str:
    """Return a table of goals, measured values and verdicts."""
    named = {row.workload: row for row in searches}
    judgements = [
        *_share(named, "digits", DIGITS),
        *_share(named, "text", TEXT),
        *_floor(named),
        *_faster(named),
        *_elsewhere(named),
        *_flat(growth),
        *_memory(named),
        *_first(searches),
    ]
    body = [[goal, measured, "yes" if met else "no"] for goal, measured, met in judgements]
    return tables.markdown(["goal", "measured", "met"], body)


Judgement = tuple[str, str, bool]


def _share(rows: dict[str, Row], name: str, goal: float) -> Iterator[Judgement]:
    row = rows.get(name)
    ours, loky = (row.cell(OURS), row.cell("loky")) if row else (None, None)
    if ours is None or loky is None:
        return
    share = tables.ratio(ours, loky, warm)
    yield f"{name}: at most {goal:.2f} of loky's time", _number(share), _at_most(share, goal)


def _elsewhere(rows: dict[str, Row]) -> Iterator[Judgement]:
    for name, who in itertools.product(("tiny-5000", "digits"), PLACES):
        row = rows.get(name)
        theirs, ours = (row.cell(who), row.cell(OURS)) if row else (None, None)
        if row is None or theirs is None or ours is None:
            continue
        share = tables.ratio(theirs, ours, warm)
        goal = f"{name}: {who} at most {ELSEWHERE:.2f} of skygrid's time"
        yield goal, _number(share), _at_most(share, ELSEWHERE)
        backend = row.cell(who.removeprefix(f"{OURS}-"))
        if name == "tiny-5000" and backend is not None:
            times = tables.ratio(backend, theirs, warm)
            met = times is not None and times >= BACKENDS
            yield f"{name}: {who} {BACKENDS:.0f} times as fast as joblib on it", _number(times), met


def _floor(rows: dict[str, Row]) -> Iterator[Judgement]:
    for name in ("tiny-5000", "tiny-50000"):
        if (row := rows.get(name)) is not None and row.cell(OURS) is not None:
            over = tables.over_floor(row)
            yield f"{name}: at most {FLOOR:.2f} of the floor", _number(over), _at_most(over, FLOOR)


def _faster(rows: dict[str, Row]) -> Iterator[Judgement]:
    row = rows.get("tiny-50000")
    ours = row.cell(OURS) if row else None
    if row is None or ours is None or not tables.peers(row):
        return
    shares = [tables.ratio(ours, cell, warm) for cell in tables.peers(row)]
    known = [share for share in shares if share is not None]
    times = 1 / max(known) if known else None
    cut = any(cell.stopped for cell in tables.peers(row))
    text = f"{_number(times)}{' (or more: some were cut off)' if cut else ''}"
    goal = f"tiny-50000: at least {TIMES_FASTER:.0f} times as fast as the best peer"
    yield goal, text, times is not None and times >= TIMES_FASTER


def _flat(growth: Sequence[Row]) -> Iterator[Judgement]:
    whole = [
        statistics.median(run.seconds for run in ours.runs) / row.fits
        for row in growth
        if (ours := row.cell(OURS)) is not None and ours.stopped is None
    ]
    further = [
        seconds
        for before, row in itertools.pairwise(growth)
        if (seconds := tables.further_seconds(row, before, OURS)) is not None
    ]
    for what, costs in (("a fit", whole), ("a further fit", further)):
        if len(costs) > 1:
            spread = max(costs) / min(costs)
            goal = f"growth: the cost of {what} varies by at most {FLAT - 1:.0%}"
            yield goal, f"{spread - 1:.0%}", spread <= FLAT


def _memory(rows: dict[str, Row]) -> Iterator[Judgement]:
    row = rows.get("large")
    ours = row.cell(OURS) if row else None
    if row is None or ours is None or ours.stopped is not None or not tables.peers(row):
        return
    used, *theirs = (
        statistics.median(run.peak_bytes for run in cell.runs)
        for cell in (ours, *tables.peers(row))
    )
    least = min(theirs)
    text = f"{used / 2**20:.0f} MB, the lowest peer {least / 2**20:.0f} MB"
    yield "large: peak memory no higher than any peer's", text, used <= least


def _first(rows: Sequence[Row]) -> Iterator[Judgement]:
    for words, measure in (("warm", warm), ("cold", cold)):
        others = [
            f"{row.workload} ({tables.TITLES[winner]})"
            for row in rows
            if tables.peers(row) and (winner := tables.first(row, measure)) not in (OURS, None)
        ]
        text = "not on " + ", ".join(others) if others else "on every row"
        yield f"first on every row, {words}", text, not others


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _at_most(value: float | None, goal: float) -> bool:
    return value is not None and value <= goal
