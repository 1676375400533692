"""A view that gives up details where it would be too long."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult


class Bounded:
    """The first of several views that has few enough lines; the last one if none has.

    Parameters
    ----------
    views : sequence of renderables
        The same content, with fewer details each.
    lines : int
        Maximum number of lines.
    """

    def __init__(self, views: Sequence[RenderableType], lines: int) -> None:
        self._views = views
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the view that fits."""
        for view in self._views[:-1]:
            if len(console.render_lines(view, options, pad=False)) <= self._lines:
                yield view
                return
        yield self._views[-1]
