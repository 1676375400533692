"""Report of a race in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.peers import goals, tables
from tests.benchmarks.peers.plot import growth_svg
from tests.benchmarks.peers.records import Row
from tests.benchmarks.peers.tables import cold, warm

GUIDES = Path(__file__).parents[3] / "guides"
GUIDE = GUIDES / "performance.md"
PICTURE = GUIDES / "performance-growth.svg"

SMALL = """**The small size: a few fits of each search, to test the set-up. Its times do not show
which contender is fast.**"""


def markdown(rows: Sequence[Row]) -> str:
    """Return the machine, the tables and the goals as Markdown."""
    searches = [row for row in rows if not row.workload.startswith("growth-")]
    growth = [row for row in rows if row.workload.startswith("growth-")]
    parts = [SMALL] if any(row.size == "small" for row in rows) else []
    parts += [_machine(rows)]
    if searches:
        parts += [
            "### Warm: seconds of the search, the cluster up",
            tables.seconds_table(searches, warm),
            "### Cold: seconds from the start of the process to the result",
            tables.seconds_table(searches, cold),
            tables.start_table(searches),
            tables.notes(searches),
            "### Peak memory, MB",
            tables.memory_table(searches),
        ]
    if growth:
        parts += [
            "### Growth: fits that cost nothing",
            tables.growth_table(growth),
            f"![Cost of a fit over the number of fits]({PICTURE.name})",
        ]
    parts += [
        "### Goals",
        goals.judged(searches, growth),
        "### Load by other processes",
        tables.busy_table(rows),
    ]
    return "\n\n".join(part for part in parts if part)


def _machine(rows: Sequence[Row]) -> str:
    row = rows[0]
    versions = ", ".join(f"{name} {version}" for name, version in row.versions.items())
    runs = max(len(cell.runs) for row in rows for cell in row.cells)
    times = "1 run" if runs == 1 else f"{runs} runs, medians"
    cut = max(row.cut_seconds for row in rows)
    return f"{row.machine}. {versions}. {times}; a search was cut off after {cut:.0f} s."


def write(rows: Sequence[Row], guide: Path = GUIDE, picture: Path = PICTURE) -> None:
    """Write the tables between the guide's markers, and the chart beside it."""
    before = guide.read_text(encoding="utf-8")
    block = f"<!-- bench-peers -->\n\n{markdown(rows)}\n\n<!-- end bench-peers -->"
    pattern = re.compile("<!-- bench-peers -->.*?<!-- end bench-peers -->", re.DOTALL)
    after, count = pattern.subn(lambda _: block, before)
    if count != 1:
        raise ValueError(f"{guide} has no place for the tables: restore its bench-peers markers")
    guide.write_text(after, encoding="utf-8")
    growth = [row for row in rows if row.workload.startswith("growth-")]
    if growth:
        picture.write_text(growth_svg(growth), encoding="utf-8")
