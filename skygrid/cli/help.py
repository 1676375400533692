"""Help texts of commands: options in sections, with environment variables, and examples."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from skygrid.config import environment_variable

SECTIONS = {
    "Nodes": ("nodes", "concurrency", "on", "config"),
    "Limits": ("max_cost", "max_hours", "fit_timeout", "retries"),
    "Run": ("name", "runs_dir", "no_sharing", "dry_run", "yes", "salvage", "trust"),
    "Output": ("json", "quiet", "verbose"),
}
"""Parameters by the heading of their section, in order; others are under "Options"."""

EXAMPLES = {
    "init": ("skygrid init", "skygrid init text.py --template text"),
    "check": ("skygrid check search.py", "skygrid check search.py --on aws --nodes 3"),
    "run": (
        "skygrid run search.py",
        "skygrid run search.py --name first --max-hours 2",
        "skygrid run search.py --on aws --nodes 3 --max-cost 5",
    ),
    "resume": ("skygrid resume first", "skygrid resume first --concurrency 2"),
    "runs": ("skygrid runs --limit 5",),
    "show": (
        "skygrid show first --top 20",
        "skygrid show first --sort fit --params 'clf__C=1*'",
    ),
    "compare": ("skygrid compare first second",),
    "logs": ("skygrid logs first --follow",),
    "nodes": ("skygrid nodes",),
    "down": ("skygrid down first", "skygrid down --orphans"),
    "doctor": ("skygrid doctor --on aws",),
    "completion": (
        'eval "$(skygrid completion bash)"',
        "skygrid completion fish > ~/.config/fish/completions/skygrid.fish",
    ),
}


class HelpfulTyper(typer.Typer):
    """An application whose commands are `HelpfulCommand`."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Register a command."""
        return super().command(name, cls=HelpfulCommand, **options)


class HelpfulCommand(TyperCommand):
    """A command whose help has sections, environment variables and examples."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line; an argument that must be given has no braces."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options in sections."""
        rows: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        rows |= {heading: [] for heading in (*SECTIONS, "Options")}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                is_argument = param.param_type_name == "argument"
                head = param.metavar if is_argument and param.metavar else record[0]
                rows[_section(param)].append((head, record[1] + _variable(ctx, param)))
        own = rows.pop("Options")
        # Options of this command alone come first; where there are none, --help comes last.
        first = {"Options": own} if len(own) > 1 else {}
        for heading, some in {
            "Arguments": rows.pop("Arguments"),
            **first,
            **rows,
            "Options": own,
        }.items():
            if some:
                with formatter.section(_styled(heading)):
                    formatter.write_dl(some)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write examples."""
        lines = EXAMPLES.get(ctx.info_name or "", ())
        if lines:
            with formatter.section(_styled("Examples")):
                for line in lines:
                    formatter.write(f"  {line}\n")


def _section(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return next((heading for heading, names in SECTIONS.items() if param.name in names), "Options")


def _variable(ctx: Any, param: Any) -> str:
    """Return the environment variable of an option, as text; empty if it has none."""
    # A resumed run takes the settings of its record instead.
    has_none = param.param_type_name == "argument" or ctx.info_name == "resume"
    variable = None if has_none else environment_variable(param.name)
    return "" if variable is None else f"  [{variable}]"


def _styled(heading: str) -> str:
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return typer.style(heading, bold=True) if colours else heading
