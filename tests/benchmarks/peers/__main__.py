"""Race of skygrid, loky, Ray, Dask and dask-ml, in turn: ``make bench-peers``.

    make bench-peers                                  # all contenders and searches: hours
    make bench-peers WORKLOADS=digits,text RUNS=1     # some rows
    make bench-peers CONTENDERS=skygrid,loky          # some columns
    make bench-peers SMALL=1                          # a few fits each, to test the set-up
    make bench-peers FULL=1 WORKLOADS=svc-grid        # all 20,000 fits of the grid
    make bench-peers CUT=900                          # seconds that one search may take
    make bench-peers ARGS=--write                     # write the tables into guides/performance.md
    make bench-peers ARGS='--rows --write'            # from rows that were measured before

Markdown goes to stdout. Each row is kept in build/bench-peers (or in ROWS=folder) when it is
measured.
"""

from __future__ import annotations

import os
import signal
import sys

from tests.benchmarks.peers import kept, report
from tests.benchmarks.peers.child import adopt_orphans
from tests.benchmarks.peers.contender import CONTENDERS
from tests.benchmarks.peers.race import Settings, race
from tests.benchmarks.peers.workloads import WORKLOADS


def main() -> int:
    """Measure, unless `--rows` is given; print the tables and write them with `--write`."""
    size = "small" if os.environ.get("SMALL") else "full" if os.environ.get("FULL") else "default"
    chosen = _chosen("WORKLOADS", tuple(WORKLOADS))
    if "--rows" not in sys.argv:
        settings = Settings(
            runs=int(os.environ.get("RUNS") or "3"),
            size=size,
            cut_seconds=float(os.environ.get("CUT") or "300"),
            contenders=_chosen("CONTENDERS", tuple(CONTENDERS)),
        )
        adopt_orphans()
        # On SIGTERM, end the started processes first, as on Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        for workload in chosen:
            kept.keep(race(workload, settings))
    rows = [row for row in kept.rows(size) if row.workload in chosen]
    if not rows:
        sys.stderr.write(f"no rows of the {size} size were measured here: leave out --rows\n")
        return 1
    sys.stdout.write(report.markdown(rows) + "\n")
    if "--write" in sys.argv:
        report.write(rows)
    return 0


def _chosen(variable: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the comma-separated names in an environment variable; all names if it is not set."""
    asked = tuple(name for name in os.environ.get(variable, "").split(",") if name)
    if unknown := [name for name in asked if name not in known]:
        sys.exit(f"{variable}: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return asked or known


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
