"""Compare the tables of commands and options in guides/reference.md with ``--help``.

    python tools/check_reference.py            # fails with a diff
    python tools/check_reference.py --write    # replaces the tables

Each table stands between two comments, ``<!-- NAME -->`` and ``<!-- end NAME -->``.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parents[1] / "guides" / "reference.md"

OPTIONS = ("Nodes", "Limits", "Run", "Output", "Options")
"""Headings of options."""

EVERYWHERE = {"--help", "--version"}
"""Options that every command has."""


def main() -> int:
    """Compare the tables, or replace them with ``--write``; return the exit code."""
    before = PAGE.read_text(encoding="utf-8")
    after = before
    for name, table in (("commands", commands_table()), ("options of run", options_table())):
        after = replace_block(after, name, table)
    if before == after:
        return 0
    if "--write" in sys.argv[1:]:
        PAGE.write_text(after, encoding="utf-8")
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            PAGE.name,
            "skygrid --help",
        )
    )
    print(f"{PAGE.name} differs from --help; run: python tools/check_reference.py --write")
    return 1


def replace_block(text: str, name: str, table: list[str]) -> str:
    """Replace the table between the two comments `name`."""
    opening, closing = f"<!-- {name} -->\n", f"<!-- end {name} -->\n"
    if text.count(opening) != 1 or text.count(closing) != 1:
        sys.exit(f"{PAGE.name} needs {opening.strip()} and {closing.strip()}, once each")
    head, _, rest = text.partition(opening)
    _, _, tail = rest.partition(closing)
    return head + opening + "\n" + "\n".join(table) + "\n\n" + closing + tail


def commands_table() -> list[str]:
    """Return a row for each command: usage, purpose, options."""
    rows = ["| command | does | options |", "|---|---|---|"]
    for command in sections(help_of())["Commands"]:
        parts = sections(help_of(command))
        options = [re.split("[ ,]", one)[0] for one, _ in option_rows(parts)]
        named = ", ".join(f"`{one}`" for one in options) if command != "run" else "see below"
        rows.append(f"| `{usage(parts)}` | {' '.join(parts[''].values())} | {named} |")
    return rows


def options_table() -> list[str]:
    """Return a row for each option of ``run``."""
    rows = ["| option | meaning |", "|---|---|"]
    rows += [f"| `{one}` | {meaning} |" for one, meaning in option_rows(sections(help_of("run")))]
    return rows


def option_rows(parts: dict[str, dict[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the names of each option, the long one first, and its meaning."""
    rows = (row for heading in OPTIONS for row in parts.get(heading, {}).items())
    for head, meaning in rows:
        names = [name.strip() for name in head.split(",")]
        long = next((name for name in names if name.startswith("--")), names[0])
        short = [name for name in names if name != long]
        if long.split(" ")[0] not in EVERYWHERE:
            yield ", ".join([long, *short]), meaning


def usage(parts: dict[str, dict[str, str]]) -> str:
    """Return the usage line of a command without its options."""
    return re.sub(r"[{}]", "", parts["Usage"][""].replace("[OPTIONS] ", "")).replace(
        " [OPTIONS]", ""
    )


def sections(text: str) -> dict[str, dict[str, str]]:
    """Split a help text into sections, each a mapping of entries to descriptions.

    The description of the command is the entry "" of the section "".
    """
    found: dict[str, dict[str, str]] = {"": {}}
    section, entry = "", ""
    for line in text.splitlines():
        heading = re.match(r"([A-Z][a-z]+):(?: (.*))?$", line)
        row = re.match(r"  (\S.*?)(?:  +(\S.*))?$", line)
        if heading:
            section, entry = heading[1], ""
            found[section] = {"": heading[2]} if heading[2] else {}
        elif not line.strip():
            section, entry = ("", "") if section == "Usage" else (section, entry)
        elif section in ("", "Usage"):
            found[section][""] = f"{found[section].get('', '')} {line.strip()}".strip()
        elif row:
            entry = row[1]
            found[section][entry] = row[2] or ""
        else:
            found[section][entry] = f"{found[section][entry]} {line.strip()}".strip()
    return found


def help_of(*command: str) -> str:
    """Return the output of ``skygrid COMMAND --help``."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "skygrid", *command, "--help"],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout


if __name__ == "__main__":
    sys.exit(main())
