"""The command, the data and the files of a run, as texts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from skygrid.reports.html.records import Report
from skygrid.reports.html.texts import (
    View,
)


def repeat_view(report: Report) -> View:
    """Return everything that is needed to repeat a run."""
    record = report.record
    blocks = [{"title": "Command", "text": "", "code": _command(record.argv)}]
    if report.has_model:
        path = str(Path(report.folder) / "search.pkl")
        code = (
            f'import pickle\n\nwith open({path!r}, "rb") as file:\n    search = pickle.load(file)\n'
        )
        code += "search.predict(X)" if report.refitted else "search.cv_results_"
        text = "The fitted search is scikit-learn's own object; skygrid is not needed to load it."
        blocks.append({"title": "Load the model", "text": text, "code": code})
    search_facts = record.search
    data = list(search_facts.data.items())
    digests = [
        (key, value) for key, value in record.fingerprint.items() if key not in record.versions
    ]
    sizes = _sizes(report)
    tables = [
        {"title": "Versions", "rows": list(record.versions.items())},
        {"title": "Data", "rows": [*data, *sizes]},
        {"title": "Fingerprint", "rows": [(key, value[:16]) for key, value in digests]},
    ]
    return {
        "repeat": blocks,
        "repeat_tables": [one for one in tables if one["rows"]],
        "diagram": report.diagram,
        "source": report.source,
        "source_name": Path(record.search_file).name if record.search_file else "",
        "source_note": report.source_note,
        "source_open": report.source is not None and report.source.count("\n") < 40,
    }


def _sizes(report: Report) -> list[tuple[str, str]]:
    if not report.n_train or not any(report.n_train):
        return []
    last = " in the last iteration" if len(set(report.candidates.rounds)) > 1 else ""
    return [
        (
            f"samples per split{last}",
            f"{_range(report.n_train)} train, {_range(report.n_test)} test",
        )
    ]


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _command(argv: Sequence[str]) -> str:
    # The first word is a path, also that of ``python -m skygrid``.
    return shlex.join(["skygrid", *argv[1:]])


def given_name(report: Report) -> str:
    """Return the argument by which commands find the run, quoted for a shell."""
    folder = Path(report.folder)
    return shlex.quote(folder.name if folder.parent == Path("skygrid-runs") else report.folder)
