"""The decision of ``--fail-under``."""

from __future__ import annotations

from .summary import Summary


def shortfall(summary: Summary, least: float | None) -> str | None:
    """Return the reason why a search is below a score; None: it is not.

    Parameters
    ----------
    summary : Summary
    least : float or None
        ``--fail-under``; None: any score will do.
    """
    if least is None:
        return None
    best = summary.best_score
    if best is None:
        return f"--fail-under {least:g}: the search has no best score ({summary.metric})"
    if best >= least:
        return None
    return f"the best score {best:.10g} ({summary.metric}) is below --fail-under {least:.10g}"
