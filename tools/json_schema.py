"""Compare the JSON schema that the package ships with the records that documents hold.

python tools/json_schema.py            # fails if they differ
python tools/json_schema.py --write    # writes the schema
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from skygrid.reports.document_schema import FILE_NAME, document_schema

PATH = Path(__file__).parents[1] / "skygrid" / "reports" / FILE_NAME


def main() -> int:
    """Compare or write the schema; return the exit code."""
    made = msgspec.json.format(msgspec.json.encode(document_schema()), indent=2) + b"\n"
    if "--write" in sys.argv[1:]:
        PATH.write_bytes(made)
        return 0
    if PATH.is_file() and PATH.read_bytes() == made:
        return 0
    print(f"{PATH.name} differs from the records; run: python tools/json_schema.py --write")
    return 1


if __name__ == "__main__":
    sys.exit(main())
