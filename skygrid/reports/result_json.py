"""``result.json``, the versioned document that ``--json`` prints."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skygrid.errors import SkygridError
from skygrid.nodes.records import Bill
from skygrid.plan.records import Outcome
from skygrid.util.atomic_file import DOCUMENT_BYTES, read_versioned, write_atomic
from skygrid.util.regular_file import read_regular

from .envelope import FORMAT, DocumentState, envelope
from .plain_values import plain_parameter, plain_parameters
from .summary import Summary

FILE_NAME = "result.json"
HINT = "`skygrid resume` writes it anew from the journal."

Cell = bool | int | float | str | None
"""Value of one fit."""

PER_FIT: dict[str, Callable[[Outcome], Cell]] = {
    "answered_by": lambda one: None if one.answered_by < 0 else one.answered_by,
    "fit_time_derived": lambda one: one.answered_by >= 0 or one.prefix_kept,
}
"""Keys of the document with one value per fit."""


def result_json(
    summary: Summary,
    results: Mapping[str, Any],
    outcomes: Sequence[Outcome] = (),
    *,
    state: DocumentState = "complete",
    error: str | None = None,
    exit_code: int = 0,
) -> str:
    """Return the document.

    Parameters
    ----------
    summary : Summary
    results : mapping of str to array of length n_candidates
        ``cv_results_`` of the fitted search.
    outcomes : sequence of Outcome
        All recorded outcomes.
    state, error, exit_code
        As in `Envelope`.

    Returns
    -------
    text : str
        The keys of `Envelope`, the fields of `Summary`, and:

        cv_results
            ``cv_results_``: one list of length n_candidates per key. Floats read back bit for bit.
            NaN and infinite scores and times, and missing parameters, are null. Parameter values
            outside JSON are their repr.
        placement
            Per round a list of n_candidates lists of n_splits indices into ``nodes``: the node of
            each fit, null without an outcome.
        *PER_FIT
            In the same shape: values of each fit. guides/results.md describes all keys.
    """
    document = envelope("result", state, error, exit_code) | msgspec.to_builtins(summary)
    document["cv_results"] = columns_json(results)
    places = {node.name: place for place, node in enumerate(summary.nodes)}
    document["placement"] = _per_fit(outcomes, lambda outcome: places.get(outcome.node))
    document |= {key: _per_fit(outcomes, value) for key, value in PER_FIT.items()}
    return _layout(document) + "\n"


def add_bill(folder: Path, bill: Bill) -> None:
    """Add the cost of the nodes to a run's document, after it is known."""
    amend(folder, bill=msgspec.to_builtins(bill))


def amend(folder: Path, **changes: Any) -> None:
    """Replace values of a run's document.

    Raises
    ------
    SkygridError
        If the file cannot be read, decoded or written.
    """
    text = read_document(folder)
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise SkygridError(f"cannot read {folder / FILE_NAME}: {error}. {HINT}") from error
    write_result(folder, _layout(document | changes) + "\n")


class _Head(msgspec.Struct):
    state: str


def is_about(folder: Path, state: str) -> bool:
    """Return whether a run's document is about the run in this state, and no earlier one."""
    head = read_versioned(folder / FILE_NAME, _Head, FORMAT, HINT)
    return head is not None and head.state == state


def write_result(folder: Path, text: str) -> None:
    """Write the document into a run's folder."""
    write_atomic(folder / FILE_NAME, text.encode())


def read_document(folder: Path) -> str:
    """Return the text of a run's document.

    Raises
    ------
    SkygridError
        If the file cannot be read.
    """
    path = folder / FILE_NAME
    try:
        return read_regular(path, DOCUMENT_BYTES).decode()
    except OSError as error:
        raise SkygridError(f"cannot read {path}: {error.strerror or error}. {HINT}") from error
    except UnicodeDecodeError as error:
        raise SkygridError(f"cannot read {path}: {error}. {HINT}") from error


def read_summary(folder: Path) -> Summary | None:
    """Read the summary of a run; None if the run has no result.

    Raises
    ------
    SkygridError
        If the file cannot be read or decoded.
    UsageError
        If a later version of skygrid wrote it.
    """
    return read_versioned(folder / FILE_NAME, Summary, FORMAT, HINT)


def read_result(folder: Path) -> tuple[Summary | None, dict[str, list[Any]]]:
    """Read the summary of a run and its ``cv_results`` as lists; None and {} without a result.

    Raises
    ------
    SkygridError
        As for `read_summary`.
    """
    read = read_versioned(folder / FILE_NAME, _Results, FORMAT, HINT)
    if read is None:
        return None, {}
    return read_summary(folder), read.cv_results


_SCORES = re.compile(r"(mean|std|split\d+)_(test|train|fit_time|score_time)")
_WHOLE = re.compile(r"rank_test_|(iter|n_resources)$")


def wrong_column(results: Mapping[str, Sequence[Any]]) -> str | None:
    """Return the name of a column of a table of numbers that has other values; None if none has.

    Parameters
    ----------
    results : mapping of str to list
        ``cv_results`` of a document, which someone may have changed.
    """
    params = results.get("params", ())
    if not all(isinstance(one, dict) for one in params):
        return "params"
    for name, column in results.items():
        if _is_table(name) and len(column) != len(params):
            return name
        if _SCORES.match(name) and not all(map(_is_score, column)):
            return name
        if _WHOLE.match(name) and not all(type(one) is int and one < 2**53 for one in column):
            return name
    return None


def _is_table(name: str) -> bool:
    """Return whether every candidate has a value in a column; a user's search may add others."""
    return bool(_SCORES.match(name) or _WHOLE.match(name) or name.startswith("param_"))


def _is_score(value: Any) -> bool:
    if value is None or isinstance(value, float):
        return True
    return isinstance(value, int) and abs(value) < 2**1000  # a scorer may return whole numbers


class _Results(msgspec.Struct):
    cv_results: dict[str, list[Any]]


def columns_json(results: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return ``cv_results_`` as JSON data: one list per key."""
    return {name: _column(name, column) for name, column in results.items()}


def _column(name: str, column: Any) -> list[Any]:
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    if name == "params":
        return [plain_parameters(params) for params in values]
    if name.startswith("param_"):
        pairs = zip(values, _mask(column), strict=True)
        return [None if masked else plain_parameter(value) for value, masked in pairs]
    return [_number(value) for value in values]


def _mask(column: Any) -> list[bool]:
    mask: Any = getattr(column, "mask", False)
    return list(mask.tolist()) if getattr(mask, "ndim", 0) else [bool(mask)] * len(column)


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return plain_parameter(value)


def _per_fit(
    outcomes: Sequence[Outcome], value: Callable[[Outcome], Cell]
) -> list[list[list[Cell]]]:
    """Return a value per outcome by round, candidate and split; None without an outcome."""
    sizes: dict[int, int] = {}
    for outcome in outcomes:
        sizes[outcome.round] = max(sizes.get(outcome.round, 0), outcome.candidate + 1)
    splits = 1 + max((outcome.split for outcome in outcomes), default=-1)
    table: list[list[list[Cell]]] = [
        [[None] * splits for _ in range(sizes.get(number, 0))]
        for number in range(1 + max(sizes, default=-1))
    ]
    for outcome in outcomes:
        table[outcome.round][outcome.candidate][outcome.split] = value(outcome)
    return table


def _layout(document: Mapping[str, Any]) -> str:
    """Return JSON text with short values indented and one line per long column."""
    lines = []
    for key, value in document.items():
        if key in ("cv_results", "placement", *PER_FIT):
            lines.append(f'  "{key}": {_columns(value)}')
        else:
            pretty = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
            lines.append(f'  "{key}": ' + pretty.replace("\n", "\n  "))
    return "{\n" + ",\n".join(lines) + "\n}"


def _columns(value: Any) -> str:
    if isinstance(value, Mapping):
        items = [
            f"{msgspec.json.encode(name).decode()}: {msgspec.json.encode(column).decode()}"
            for name, column in value.items()
        ]
        opening, closing = "{", "}"
    else:
        items = [msgspec.json.encode(item).decode() for item in value]
        opening, closing = "[", "]"
    body = ",".join(f"\n    {item}" for item in items)
    return f"{opening}{body}\n  {closing}" if items else opening + closing
