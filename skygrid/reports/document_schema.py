"""JSON schema of all documents, made from the records that they hold.

The package ships it as ``documents.schema.json``, written by ``tools/json_schema.py --write``.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec

from skygrid.nodes.records import Finding, NodeList

from .comparison import Comparison
from .envelope import FORMAT, Envelope
from .plain_values import DICT, FLOAT, OBJECT, TUPLE, Plain
from .run_record import RunRecord
from .summary import Summary
from .views import CheckResult

FILE_NAME = "documents.schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

RECORDS = (Envelope, Summary, RunRecord, CheckResult, NodeList, Finding, Comparison)


def shipped_schema() -> dict[str, Any]:
    """Return the schema that the package ships."""
    text = files("skygrid.reports").joinpath(FILE_NAME).read_bytes()
    return dict(msgspec.json.decode(text))


def document_schema() -> dict[str, Any]:
    """Return the schema of every document that ``--json`` prints, and of ``result.json``."""
    _, definitions = msgspec.json.schema_components(
        RECORDS, ref_template="#/$defs/{name}", schema_hook=None
    )
    (plain,), _ = msgspec.json.schema_components([Plain])
    for one in definitions.values():
        _replace(one, plain, {"$ref": "#/$defs/Value"})
        _all_required(one)
    kinds = {
        "result": [_of(Summary), _RESULT],
        "run": [_RUN],
        "runs": [_object(runs=_list({"$ref": "#/$defs/Run"}))],
        "check": [_of(CheckResult), _CHECK],
        "compare": [_of(Comparison)],
        "nodes": [_of(NodeList)],
        "doctor": [_object(places=_list(_of(Finding)))],
        "error": [_object(error={"type": "string"})],
    }
    return {
        "$schema": DIALECT,
        "title": f"Documents of skygrid, format {FORMAT}",
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": list(kinds)}},
        "allOf": [_if_kind(kind, parts) for kind, parts in kinds.items()],
        "$defs": {**definitions, "Run": _run(definitions["RunRecord"]), "Value": _VALUE},
    }


def _of(record: type) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{record.__name__}"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _if_kind(kind: str, parts: list[Any]) -> dict[str, Any]:
    head = {"properties": {"format": {"const": FORMAT}}}
    return {
        "if": {"properties": {"kind": {"const": kind}}},
        "then": {"allOf": [_of(Envelope), head, *parts]},
    }


def _run(record: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a run in a list: its record without the version, and its folder."""
    required = [name for name in record["required"] if name != "format"]
    properties = {name: one for name, one in record["properties"].items() if name != "format"}
    properties["folder"] = {"type": "string"}
    return {"type": "object", "required": [*required, "folder"], "properties": properties}


def _all_required(definition: dict[str, Any]) -> None:
    """Require all keys: msgspec omits those with a default, but each is written."""
    if definition.get("type") == "object" and "properties" in definition:
        definition["required"] = list(definition["properties"])


def _replace(node: Any, old: Any, new: Any) -> None:
    """Replace each schema that equals `old`, in place."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        if value == old:
            node[key] = new
        elif isinstance(value, dict | list):
            _replace(value, old, new)


_REF = {"$ref": "#/$defs/Value"}

_VALUE: dict[str, Any] = {
    "description": "A parameter's value; an object with a key such as $tuple stands for a value "
    "that JSON lacks.",
    "anyOf": [
        {"type": ["null", "boolean", "number", "string"]},
        _list(_REF),
        {
            "type": "object",
            "propertyNames": {"pattern": r"^(?!\$)"},
            "additionalProperties": _REF,
        },
        *(
            {
                "type": "object",
                "required": [tag],
                "additionalProperties": False,
                "properties": {tag: content},
            }
            for tag, content in (
                (TUPLE, _list(_REF)),
                (FLOAT, {"enum": ["nan", "inf", "-inf"]}),
                (DICT, _list({"type": "array", "items": _REF, "minItems": 2, "maxItems": 2})),
                (OBJECT, {"type": "string"}),
            )
        ),
    ],
}


def _per_fit(item: Any) -> dict[str, Any]:
    return _list(_list(_list(item)))


_INDEX = {"type": ["integer", "null"], "minimum": 0}
_RESULT = _object(
    cv_results={
        "type": "object",
        "properties": {"params": _list({"type": "object", "additionalProperties": _REF})},
        "patternProperties": {
            "^param_": _list(_REF),
            "^(mean|std|split[0-9]+)_": _list({"type": ["number", "null"]}),
            "^rank_": _list({"type": "integer"}),
        },
        "additionalProperties": {"type": "array"},
    },
    placement=_per_fit(_INDEX),
    answered_by=_per_fit(_INDEX),
    fit_time_derived=_per_fit({"type": ["boolean", "null"]}),
)
_RUN = {"$ref": "#/$defs/Run"}
_NUMBER = {"type": ["number", "null"]}
_CHECK = _object(
    candidates={"type": "integer"},
    splits={"type": "integer"},
    fits={"type": "integer"},
    estimated_seconds=_NUMBER,
    estimated_dollars=_NUMBER,
)
