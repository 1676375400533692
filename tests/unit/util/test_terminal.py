"""Text from elsewhere reaches a terminal without escape sequences, through one door."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

import skygrid
from skygrid.reports.console import SafeConsole
from skygrid.util.terminal import in_summary, printable, say, show_warnings

RUDE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eabc\r"

DOORS = {
    "util/terminal.py": "cleans every message",
    "util/process.py": "opens the streams",
    "cli/output.py": "writes what these two have cleaned",
    "reports/console.py": "SafeConsole cleans every text",
    "run/display.py": "asks whether stderr is a terminal",
    "reports/live.py": "passes stderr to SafeConsole",
    "cli/help.py": "asks whether stdout is a terminal",
    "cli/search_commands.py": "asks whether stderr is a terminal",
    "cli/main.py": "the version of skygrid",
    "environment/fetch_uv.py": "a program for nodes, whose own errors it prints",
    "script/running.py": "gives the user's script Python's own streams",
    "__main__.py": "errors of its own, before anything can be imported",
    "user_code/output.py": "moves the user's own output from stdout to stderr",
    "user_code/own_names.py": "a program for another interpreter",
    "sklearn_search/progress_output.py": "moves scikit-learn's own output to stderr",
    "sklearn_search/driven_search.py": "scikit-learn's line of numbers",
}
"""Modules that name a stream, each with the reason why no foreign text passes it unchanged."""


def test_no_other_module_writes_to_a_terminal() -> None:
    """A new way to the terminal fails here, until it has a reason above."""
    root = Path(skygrid.__file__).parent
    named = re.compile(r"sys\.std(?:out|err)|\bprint\(|typer\.echo|\bConsole\(")
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if named.search(path.read_text()) and "worker" not in path.relative_to(root).parts
    }
    assert found == set(DOORS)


def test_a_table_shows_foreign_text_without_its_escape_sequences() -> None:
    """Tables keep their own colours, and texts in their cells lose control characters."""
    stream = io.StringIO()
    console = SafeConsole(stream)
    console._color_system = None
    table = Table(title=RUDE)
    table.add_column(RUDE)
    table.add_row(Text(RUDE, style="red"))
    table.add_row(RUDE)
    console.print(table)
    shown = stream.getvalue()
    assert "owned" in shown
    assert re.sub(r"[\n]", "", shown).isprintable()


def test_messages_and_warnings_are_cleaned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors, and warnings with the traceback of a fit, reach stderr as plain text."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    say(RUDE)
    show_warnings()
    warnings.showwarning(UserWarning(RUDE), UserWarning, RUDE, 1, None, RUDE)
    shown = capsys.readouterr().err
    assert shown.count("owned") == 4
    assert shown.replace("\n", "").isprintable()


def test_only_warnings_that_the_summary_has_are_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warnings of a block with a summary are not shown; those before and after it are."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    show_warnings()

    def warn(text: str) -> None:
        warnings.showwarning(UserWarning(text), UserWarning, "x.py", 1)

    warn("before")
    with in_summary():
        warn("within")
    warn("after")
    assert re.findall("before|within|after", capsys.readouterr().err) == ["before", "after"]


@pytest.mark.parametrize("text", ["", "plain", "tab\tand\nline", "ä 漢字 ✓ 🎉"])
def test_text_of_people_is_shown_as_it_is(text: str) -> None:
    """Letters of all languages, line breaks and tabs are kept."""
    assert printable(text) == text
