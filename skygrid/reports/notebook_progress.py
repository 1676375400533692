"""Progress in a notebook: one HTML output that is updated in place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from skygrid.util.terminal import printable

from .money import dollars_text
from .plain_values import parameters_text, shorten
from .progress import Progress
from .progress_view import NodeView, ProgressView
from .terminal.progress_screen import left_text, memory_text, rate_text, seconds_text

SECONDS_BETWEEN_UPDATES = 0.5
PROBLEMS_SHOWN = 5
NODES_SHOWN = 8


@contextmanager
def show_in_notebook(
    progress: Progress,
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
) -> Iterator[None]:
    """Show `progress` below the cell while the block runs, and its last state after it.

    Parameters
    ----------
    progress : Progress
    wait : callable
        Waits between two updates; tests pass their own.
    """
    from IPython.display import HTML, display

    problems: list[str] = []

    def page() -> Any:
        problems.extend(event.text for event in progress.take_events() if event.level == "problem")
        return HTML(progress_html(progress.view(), problems[-PROBLEMS_SHOWN:]))

    handle = display(page(), display_id=True)
    stop = threading.Event()

    def update() -> None:
        while not wait(stop, SECONDS_BETWEEN_UPDATES):
            handle.update(page())

    thread = threading.Thread(target=update, name="skygrid-display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        handle.update(page())


def progress_html(view: ProgressView, problems: list[str] | None = None) -> str:
    """Return a view as HTML; every text of a user or a node is escaped."""
    bar = f'<progress value="{view.done}" max="{max(1, view.total)}"></progress>'
    count = f"{view.done}/{view.total} fits, {seconds_text(view.elapsed)}"
    parts = [
        f"<strong>{_text(view.phase)}</strong> {bar} {count}",
        _text(", ".join(_counters(view))),
    ]
    if view.best_score is not None:
        said = shorten(parameters_text(view.best_params or {}, 60), 300)
        parts.append(f"best {view.best_score:.5f} &nbsp; {_text(said)}")
    parts += [f'<span style="color:#b35900">{_text(one)}</span>' for one in problems or ()]
    lines = "".join(f"<div>{part}</div>" for part in parts)
    return f"<div>{lines}{_nodes(view.nodes)}</div>"


def _counters(view: ProgressView) -> list[str]:
    parts = [rate_text(view.rate), left_text(view.seconds_left)]
    parts += [f"{view.failed} failed"] if view.failed else []
    parts += [f"{view.answered} derived"] if view.answered else []
    parts += [f"{view.reused} recorded before"] if view.reused else []
    return parts + ([f"cost {dollars_text(view.dollars)}"] if view.shows_cost else [])


def _nodes(nodes: tuple[NodeView, ...]) -> str:
    rows = [
        (
            node.name,
            node.state,
            f"{node.busy}/{node.slots} slots",
            f"{node.fits} fits",
            memory_text(node.slots_bytes) if node.slots else "",
        )
        for node in nodes[:NODES_SHOWN]
    ]
    if len(nodes) > NODES_SHOWN:
        rows.append((f"{len(nodes) - NODES_SHOWN} more", "", "", "", ""))
    cells = ("".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>" if rows else ""


def _text(text: str) -> str:
    return escape(printable(text))
