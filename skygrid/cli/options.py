"""Options shared by several commands. Their defaults stand in `skygrid.config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skygrid.config import RunConfig
from skygrid.nodes.registry import PLACES

from .completion import complete_place, complete_run


def existing_file(path: Path | None) -> Path | None:
    """Return the path of a search file; ``search`` means ``search.py`` if only that is there."""
    if path is None or path.suffix or path.exists():
        return path
    file = path.with_suffix(".py")
    return file if file.is_file() else path


SearchFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="A search file; .py can be left out.", callback=existing_file
    ),
]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Name of a run, its beginning, or the run's folder.",
        autocompletion=complete_run,
    ),
]

Nodes = Annotated[
    int | None,
    typer.Option(
        "--nodes",
        metavar="N",
        help="Machines, on AWS unless --on says where. Default: this one; with ssh every host.",
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency", metavar="C", help="Fits at a time on each node. Default: its vCPUs."
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="WHERE",
        help=f"Where nodes are: {', '.join(PLACES)}. Default: local.",
        autocompletion=complete_place,
    ),
]
ResumeOn = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="WHERE",
        help=f"Where nodes are from now on: {', '.join(PLACES)}. Default: where they were.",
        autocompletion=complete_place,
    ),
]
ResumeConfig = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A TOML file whose settings replace those of the run. Default: none.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A TOML file. Default: skygrid.toml beside the search file or here, if there.",
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Name of the run. Default: generated.")
]
RunsDir = Annotated[
    Path | None,
    typer.Option(
        "--runs-dir", metavar="DIR", help=f"Where runs are kept. Default: {RunConfig.runs_dir}."
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        metavar="USD",
        help="Start no fits once this sum is spent. Default: no limit.",
    ),
]
MaxHours = Annotated[
    float | None,
    typer.Option(
        "--max-hours",
        metavar="H",
        help=f"Start no fits after this time. Default: {RunConfig.max_hours:g}.",
    ),
]
FitTimeout = Annotated[
    float | None,
    typer.Option("--fit-timeout", metavar="S", help="Limit of one fit, in seconds. Default: none."),
]
Retries = Annotated[
    int | None,
    typer.Option(
        "--retries",
        metavar="N",
        help=f"Retries of a fit that took its slot down. Default: {RunConfig.retries}.",
    ),
]
FailUnder = Annotated[
    float | None,
    typer.Option(
        "--fail-under",
        metavar="SCORE",
        help="Exit with 5 when the best score is below this one. Default: none.",
    ),
]
NO_SHARING_HELP = "One fit for each candidate and split, as scikit-learn does."
NoSharing = Annotated[bool | None, typer.Option("--no-sharing", help=NO_SHARING_HELP)]
ChangedSharing = Annotated[
    bool | None, typer.Option("--no-sharing/--sharing", help=NO_SHARING_HELP)
]
DryRun = Annotated[bool | None, typer.Option("--dry-run", help="Show the plan; start nothing.")]
Yes = Annotated[bool | None, typer.Option("--yes", "-y", help="Spend money without a question.")]
Salvage = Annotated[
    bool,
    typer.Option("--salvage", help="Continue with the intact part of a damaged journal."),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Resume a run that someone else made; its folder can run code."),
]
Json = Annotated[bool | None, typer.Option("--json", help="Write one JSON document to stdout.")]
Quiet = Annotated[bool | None, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, help="Show more on stderr.", show_default=False),
]

Top = Annotated[
    int | None,
    typer.Option("--top", metavar="N", min=1, help="Show the N best candidates. Default: 5."),
]
AllCandidates = Annotated[bool, typer.Option("--all", help="Show all candidates.")]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort",
        metavar="KEY",
        help="Sort by a metric, a parameter, fit, train or a column of cv_results.csv.",
    ),
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--params",
        metavar="NAME=VALUE",
        help="Show candidates with this value; * stands for any text. Can be repeated.",
    ),
]
Tracebacks = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, help="Show tracebacks of failed fits.", show_default=False
    ),
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Number of runs to list.")]
