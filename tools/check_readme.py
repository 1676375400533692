"""Compare the README's tables of commands and options with what ``--help`` says.

    python tools/check_readme.py            # fails with a diff
    python tools/check_readme.py --write    # writes the tables anew

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

README = Path(__file__).parents[1] / "README.md"

EVERYWHERE = {"--help", "--version"}
"""Options that need no row."""


def main() -> int:
    """Compare or write; return the exit code."""
    before = README.read_text(encoding="utf-8")
    after = before
    for name, table in (("commands", commands_table()), ("options of run", options_table())):
        after = replace_block(after, name, table)
    if before == after:
        return 0
    if "--write" in sys.argv[1:]:
        README.write_text(after, encoding="utf-8")
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            "README.md",
            "skygrid --help",
        )
    )
    print("README.md is not what --help says; mend it with: python tools/check_readme.py --write")
    return 1


def replace_block(text: str, name: str, table: list[str]) -> str:
    """Return `text` with another table between the comments that are called `name`."""
    opening, closing = f"<!-- {name} -->\n", f"<!-- end {name} -->\n"
    if text.count(opening) != 1 or text.count(closing) != 1:
        sys.exit(f"README.md needs {opening.strip()} and {closing.strip()}, once each")
    head, _, rest = text.partition(opening)
    _, _, tail = rest.partition(closing)
    return head + opening + "\n" + "\n".join(table) + "\n\n" + closing + tail


def commands_table() -> list[str]:
    """Return a row for each command: how it is called, what it does, its options."""
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
    """Yield each option with its placeholder, in its long form first, and its meaning."""
    for head, meaning in parts["Options"].items():
        names = [name.strip() for name in head.split(",")]
        long = next((name for name in names if name.startswith("--")), names[0])
        short = [name for name in names if name != long]
        if long.split(" ")[0] not in EVERYWHERE:
            yield ", ".join([long, *short]), meaning


def usage(parts: dict[str, dict[str, str]]) -> str:
    """Return how a command is called, without its options."""
    return re.sub(r"[{}]", "", parts["Usage"][""].replace("[OPTIONS] ", "")).replace(
        " [OPTIONS]", ""
    )


def sections(text: str) -> dict[str, dict[str, str]]:
    """Return each section of a help text: its entries, and what is said of each.

    The command's own description is the section "", under the key "".
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
    """Return what ``skygrid COMMAND --help`` prints."""
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
