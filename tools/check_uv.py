"""Compare skygrid/environment/uv.txt, which hosts without uv install, with uv.lock.

python tools/check_uv.py            # fails if version or hashes differ
python tools/check_uv.py --write    # writes those of uv.lock
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "uv.lock"
PAGE = ROOT / "skygrid" / "environment" / "uv.txt"
HEAD = "# uv for hosts that have none; made from uv.lock by `make lock`.\n"


def main() -> int:
    """Compare the file, or replace it with ``--write``; return the exit code."""
    wanted = requirement(LOCK.read_text(encoding="utf-8"))
    if "--write" in sys.argv[1:]:
        PAGE.write_text(wanted, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != wanted:
        sys.stdout.write(f"{PAGE.relative_to(ROOT)} is not the uv of uv.lock: run make lock\n")
        return 1
    return 0


def requirement(lock: str) -> str:
    """Return the requirements file with the locked version of uv and the hashes of its wheels."""
    (uv,) = (one for one in tomllib.loads(lock)["package"] if one["name"] == "uv")
    hashes = sorted(f"    --hash={wheel['hash']}" for wheel in uv["wheels"])
    return HEAD + " \\\n".join([f"uv=={uv['version']}", *hashes]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
