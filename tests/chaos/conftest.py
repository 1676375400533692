"""The table of figures that a run of schedules ends with."""

from __future__ import annotations

from collections import Counter
from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    accounts = [
        value
        for report in terminalreporter.getreports("passed")
        if report.when == "call"
        for name, value in report.user_properties
        if name == "chaos"
    ]
    if not accounts:
        return
    faults: Counter[str] = Counter()
    for account in accounts:
        faults.update(account["faults"])
    total = {name: sum(one[name] for one in accounts) for name in ("sessions", "fits")}
    repeated = sum(one["repeated_in_flight"] for one in accounts)
    terminalreporter.section("chaos")
    terminalreporter.write_line(
        f"{len(accounts)} schedules survived {sum(faults.values())} faults in {total['sessions']} "
        f"sessions: {total['fits']} fits ran, {repeated} of them again because they were in "
        "flight; recorded fits ran again: 0"
    )
    for name, count in sorted(faults.items()):
        terminalreporter.write_line(f"{count:5}  {name}")
