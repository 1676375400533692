"""Chart of growth: two log-log panels as one SVG."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import msgspec

from tests.benchmarks.peers.records import Cell, Row
from tests.benchmarks.peers.tables import TITLES, growth_fits

WIDTH, HEIGHT = 330, 240
LEFT, TOP, GAP, BOTTOM = 64, 40, 108, 48
COLOURS = {"skygrid": "#0a7d5a", "loky": "#c2571a"}

STYLE = """
  svg { background: #fff; font: 12px system-ui, sans-serif; }
  text { fill: #333; } .title { font-weight: 600; } .small { font-size: 11px; fill: #666; }
  .middle { text-anchor: middle; } .end { text-anchor: end; } .grid { stroke: #e4e4e4; }
  .line { fill: none; stroke-width: 2; } .cut { stroke-dasharray: 4 3; }
  .arrow { fill: none; } circle { stroke-width: 2; }
"""

Point = tuple[float, float, bool]
"""Number of fits, value, and True if the value is a lower bound of a stopped run."""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One chart: a title and a line for each contender."""

    title: str
    lines: dict[str, list[Point]]


def growth_svg(rows: Sequence[Row]) -> str:
    """Draw time and driver memory per fit over the number of fits."""
    panels = (
        Panel(title="microseconds per fit", lines=_lines(rows, _microseconds)),
        Panel(title="bytes of driver memory per fit", lines=_lines(rows, _bytes)),
    )
    width = LEFT + 2 * WIDTH + GAP + 70
    height = TOP + HEIGHT + BOTTOM
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" role="img"',
        f'  viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        "<title>Cost of a fit over the number of fits, skygrid and loky</title>",
        f"<style>{STYLE}</style>",
    ]
    for i, panel in enumerate(panels):
        parts.append(f'<g transform="translate({LEFT + i * (WIDTH + GAP)},{TOP})">')
        parts += _drawn(panel)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _microseconds(cell: Cell, fits: int) -> float:
    return 1e6 * statistics.median(run.seconds for run in cell.runs) / fits


def _bytes(cell: Cell, fits: int) -> float | None:
    if cell.stopped is not None:
        return None
    # The scale has no room for growth below one byte per fit.
    return max(1.0, statistics.median(run.driver_bytes for run in cell.runs) / fits)


def _lines(
    rows: Sequence[Row], value: Callable[[Cell, int], float | None]
) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for row in rows:
        fits = growth_fits(row)
        for cell in row.cells:
            number = value(cell, fits) if cell.runs else None
            if number:
                point = (float(fits), float(number), cell.stopped is not None)
                lines.setdefault(cell.who, []).append(point)
    return {who: sorted(points) for who, points in lines.items()}


def _drawn(panel: Panel) -> Iterator[str]:
    yield f'<text class="title" x="0" y="-16">{panel.title}</text>'
    points = [point for line in panel.lines.values() for point in line]
    if not points:
        return
    across = _decades([point[0] for point in points])
    up = _decades([point[1] for point in points])
    yield from _axes(across, up)
    for who, line in panel.lines.items():
        yield from _line(
            who, [(_at(x, across, WIDTH), HEIGHT - _at(y, up, HEIGHT), cut) for x, y, cut in line]
        )


def _axes(across: range, up: range) -> Iterator[str]:
    for power in across:
        x = _at(10.0**power, across, WIDTH)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>'
        yield f'<text class="small middle" x="{x:.1f}" y="{HEIGHT + 16}">{_label(power)}</text>'
    for power in up:
        y = HEIGHT - _at(10.0**power, up, HEIGHT)
        yield f'<line class="grid" x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="small end" x="-8" y="{y + 4:.1f}">{_label(power)}</text>'
    yield f'<text class="middle" x="{WIDTH / 2}" y="{HEIGHT + 36}">fits</text>'


def _line(who: str, points: list[Point]) -> Iterator[str]:
    colour = COLOURS[who]
    for (x1, y1, _), (x2, y2, cut) in pairwise(points):
        kind = "line cut" if cut else "line"
        yield f'<path class="{kind}" stroke="{colour}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'
    for x, y, cut in points:
        # A hollow point with an arrow is a lower bound: the run was stopped.
        fill = "#fff" if cut else colour
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}"/>'
        if cut:
            arrow = f"M{x:.1f} {y - 5:.1f}v-14m-4 5l4-5l4 5"
            yield f'<path class="arrow" stroke="{colour}" d="{arrow}"/>'
    x, y, _ = points[-1]
    yield f'<text x="{x + 10:.1f}" y="{y + 4:.1f}" style="fill:{colour}">{_short(who)}</text>'


def _short(who: str) -> str:
    return TITLES[who].removeprefix("scikit-learn, ")


def _decades(values: list[float]) -> range:
    """Return whole powers of ten around the values, at least two."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return range(low, max(high, low + 1) + 1)


def _at(value: float, decades: range, length: int) -> float:
    return length * (math.log10(value) - decades[0]) / (decades[-1] - decades[0])


def _label(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"
