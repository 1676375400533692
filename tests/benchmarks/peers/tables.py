"""Tables in Markdown, made from measured rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from tests.benchmarks.peers.records import Cell, Row, Run

OURS = "skygrid"

TITLES = {
    "skygrid": "skygrid",
    "skygrid-no-sharing": "skygrid, no sharing",
    "skygrid-ray": "skygrid on Ray",
    "skygrid-dask": "skygrid on Dask",
    "loky": "scikit-learn, loky",
    "ray": "joblib, Ray",
    "dask": "joblib, Dask",
    "dask-ml": "dask-ml on Dask",
    "dask-ml-threads": "dask-ml, threads",
}

Measure = Callable[[Run], float]


def warm(run: Run) -> float:
    """Return the time of the search, with the cluster up."""
    return run.seconds


def cold(run: Run) -> float:
    """Return the time from the start of the process to the result, without the data."""
    return run.cold_seconds


def median(cell: Cell, measure: Measure) -> float | None:
    """Return the median of complete runs; None if one was stopped or there is none."""
    if cell.stopped is not None or not cell.runs:
        return None
    return statistics.median(measure(run) for run in cell.runs)


def ratio(ours: Cell, theirs: Cell, measure: Measure) -> float | None:
    """Return the median of skygrid's time over theirs; an upper bound if they were stopped."""
    if ours.stopped is not None:
        return None
    if (stopped := theirs.stopped) is not None:
        if stopped.ended != "cut" or not stopped.seconds:
            return None
        ours_median = median(ours, measure)
        return None if ours_median is None else ours_median / measure(stopped)
    pairs = zip(ours.runs, theirs.runs, strict=True)
    return statistics.median(measure(a) / measure(b) for a, b in pairs)


def peers(row: Row) -> list[Cell]:
    """Return the cells of all contenders except skygrid."""
    return [cell for cell in row.cells if not cell.who.startswith(OURS)]


def first(row: Row, measure: Measure) -> str | None:
    """Return the contender with the lowest median, or None if none is complete."""
    medians = {
        cell.who: seconds
        for cell in row.cells
        if (seconds := median(cell, measure)) is not None
        # skygrid without sharing is no peer, and without shared work it differs only by noise.
        and cell.who != "skygrid-no-sharing"
    }
    return min(medians, key=medians.__getitem__, default=None)


def seconds_table(rows: Sequence[Row], measure: Measure) -> str:
    """Return a row per workload and a column per contender: seconds, and skygrid's ratio to it."""
    who = _contenders(rows)
    head = ["search", "fits", *(TITLES[name] for name in who), "first"]
    body = []
    for row in rows:
        cells = [_seconds(row, name, measure) for name in who]
        body.append(
            [row.workload, f"{row.fits:,}", *cells, TITLES.get(first(row, measure) or "", "-")]
        )
    return markdown(head, body)


def _seconds(row: Row, who: str, measure: Measure) -> str:
    cell, ours = row.cell(who), row.cell(OURS)
    if cell is None:
        return "-"
    star = " *" if cell.differing else ""
    share = ratio(ours, cell, measure) if ours is not None and who != OURS else None
    if (stopped := cell.stopped) is not None:
        bound = f" (< {share:.2g})" if share is not None else ""
        return f"{_stopped(stopped, measure)}{bound}{star}"
    brackets = f" ({share:.2f})" if share is not None else ""
    return f"{statistics.median(measure(run) for run in cell.runs):.2f}{brackets}{star}"


def _stopped(run: Run, measure: Measure) -> str:
    if run.ended == "cut" and run.seconds:
        return f"> {measure(run):.0f}"
    return {"cut": "did not start", "memory": f"stopped: {run.why}", "failed": "failed"}[run.ended]


def start_table(rows: Sequence[Row]) -> str:
    """Return the start-up times of each contender over all its runs."""
    body = []
    for who in _contenders(rows):
        starts = [
            run.startup_seconds
            for row in rows
            if (cell := row.cell(who)) is not None
            for run in cell.runs
            if run.startup_seconds
        ]
        if starts:
            cells = (statistics.median(starts), min(starts), max(starts))
            body.append([TITLES[who], *(f"{seconds:.2f}" for seconds in cells)])
    return markdown(["start-up", "median s", "shortest", "longest"], body)


def memory_table(rows: Sequence[Row]) -> str:
    """Return the peak memory of each contender's processes, in MB."""
    who = _contenders(rows)
    body = []
    for row in rows:
        cells = (row.cell(name) for name in who)
        body.append([row.workload, *(_peak(cell) for cell in cells)])
    return markdown(["search", *(TITLES[name] for name in who)], body)


def _peak(cell: Cell | None) -> str:
    if cell is None or not cell.runs:
        return "-"
    if (stopped := cell.stopped) is not None:
        return f"> {stopped.peak_bytes / 2**20:.0f}"
    return f"{statistics.median(run.peak_bytes for run in cell.runs) / 2**20:.0f}"


def over_floor(row: Row) -> float | None:
    """Return skygrid's time over its floor: fit and score times, divided by the cores."""
    ours = row.cell(OURS)
    if ours is None or ours.stopped is not None:
        return None
    return statistics.median(run.seconds * row.cores / run.fit_seconds for run in ours.runs)


def growth_table(rows: Sequence[Row]) -> str:
    """Return time and driver memory per fit, for fits that cost nothing.

    The cost of a further fit is the difference to the row before, per fit: it excludes the fixed
    cost of a search.
    """
    who = _contenders(rows)
    head = ["fits"]
    for name in who:
        title = TITLES[name]
        head += [f"{title}: us per fit", "us per further fit", "bytes of driver per fit"]
    body = []
    for number, row in enumerate(rows):
        line = [f"{growth_fits(row):,}"]
        for name in who:
            line += _growth(row, rows[number - 1] if number else None, name)
        body.append(line)
    return markdown(head, body)


def growth_fits(row: Row) -> int:
    """Return the number of fits of a growth row, even if none finished."""
    return row.fits or int(row.workload.removeprefix("growth-"))


def further_seconds(row: Row, before: Row | None, who: str) -> float | None:
    """Return seconds per fit beyond the row before; None if either search is incomplete."""
    if before is None:
        return None
    longer, shorter = _median_seconds(row, who), _median_seconds(before, who)
    if longer is None or shorter is None:
        return None
    return (longer - shorter) / (growth_fits(row) - growth_fits(before))


def _median_seconds(row: Row, who: str) -> float | None:
    cell = row.cell(who)
    if cell is None or cell.stopped is not None:
        return None
    return statistics.median(run.seconds for run in cell.runs)


def _growth(row: Row, before: Row | None, who: str) -> list[str]:
    cell = row.cell(who)
    if cell is None:
        return ["-", "-", "-"]
    fits = growth_fits(row)
    if (stopped := cell.stopped) is not None:
        return [f"> {1e6 * stopped.seconds / fits:.0f}", "-", "-"]
    further = further_seconds(row, before, who)
    return [
        f"{1e6 * statistics.median(run.seconds for run in cell.runs) / fits:.0f}",
        "-" if further is None else f"{1e6 * further:.0f}",
        f"{statistics.median(run.driver_bytes for run in cell.runs) / fits:.0f}",
    ]


def notes(rows: Sequence[Row]) -> str:
    """Return notes on contenders whose scores differ or who were stopped."""
    lines = []
    for row in rows:
        for cell in row.cells:
            name = TITLES[cell.who]
            if cell.differing:
                lines.append(
                    f"\\* {row.workload}: {cell.differing:,} of {row.fits:,} scores of {name} are"
                    f" not {TITLES[row.reference]}'s, by up to {cell.largest_difference:.2g}."
                )
            if (stopped := cell.stopped) is not None:
                turns = "" if len(cell.runs) == 1 else f", in turn {len(cell.runs)}"
                lines.append(
                    f"{row.workload}: {name} was not finished ({stopped.ended}: "
                    f"{stopped.why}{turns}), and not tried again."
                )
    if not any(cell.differing for row in rows for cell in row.cells):
        lines.append("All scores of finished searches are equal, bit for bit.")
    return "\n".join(f"- {line}" for line in lines)


def busy_table(rows: Iterable[Row]) -> str:
    """Return the day of each row and the load of the machine by other processes."""
    body = [[row.workload, row.measured, f"{row.others_busy:.0%}"] for row in rows]
    return markdown(["search", "measured", "processors used by others"], body)


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a table with numbers aligned to the right."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))


def _contenders(rows: Iterable[Row]) -> list[str]:
    present = {cell.who for row in rows for cell in row.cells}
    return [who for who in TITLES if who in present]
