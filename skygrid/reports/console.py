"""Text on a terminal: a console without control characters, durations, scores."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from skygrid.util.terminal import without_controls

STATE_STYLES = {"complete": "green", "running": "cyan", "failed": "red"}


class SafeConsole(Console):
    """Console whose texts have no control characters; rich itself honours NO_COLOR and COLUMNS.

    Parameters
    ----------
    stream : text file, optional
        Default: stdout.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(file=stream or sys.stdout, highlight=False, markup=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render an object; its styles are applied later, its texts are cleaned here."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment  # cursor movements of the live display
            else:
                yield Segment(without_controls(segment.text), segment.style)


def duration_text(seconds: float) -> str:
    """Return a duration with a suitable unit: ``12 ms``, ``3.4 s``, ``5 min 20 s``, ``2 h``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.2g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def score_text(score: float | None) -> str:
    """Return a score to five decimal places, or ``nan``."""
    return "nan" if score is None else f"{score:.5f}"


def facts_grid() -> Table:
    """Return an empty table of names and values."""
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="cyan", max_width=36)
    grid.add_column()
    return grid
