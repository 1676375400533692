"""The command exec: a script with nodes behind joblib."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skygrid.config import RunConfig, load_config
from skygrid.errors import InterruptedRunError, UsageError
from skygrid.nodes.registry import place_of
from skygrid.util.terminal import say

from . import options as given
from .confirm import require_consent
from .output import agrees

if TYPE_CHECKING:
    from skygrid.nodes.interface import Offer

SETTINGS = {"allow_interspersed_args": False}
"""Settings of the command's parser: the arguments after the script are the script's."""

OF_NODES = ("--nodes", "--concurrency", "--on", "--trust-nodes")
"""Options that are refused right after the script: they are probably meant for skygrid."""

NOTHING_RAN = (
    "no loop and no search asked for more than one job, so everything ran in this process: "
    "give n_jobs=-1"
)

ScriptFile = Annotated[Path, typer.Argument(metavar="SCRIPT", help="A Python script.")]
Arguments = Annotated[
    list[str] | None, typer.Argument(metavar="ARGS", help="The script's own arguments.")
]
TrustNodes = Annotated[
    bool,
    typer.Option(
        "--trust-nodes", help="Let nodes run code in this process; required unless --on local."
    ),
]


def execute(
    script: ScriptFile,
    arguments: Arguments = None,
    nodes: given.Nodes = None,
    concurrency: given.Concurrency = None,
    on: given.On = None,
    trust_nodes: TrustNodes = False,
    config: given.Config = None,
    runs_dir: given.RunsDir = None,
    max_cost: given.MaxCost = None,
    max_hours: given.MaxHours = None,
    fit_timeout: given.FitTimeout = None,
    retries: given.Retries = None,
    no_sharing: given.NoSharing = None,
    yes: given.Yes = None,
    quiet: given.Quiet = None,
    verbose: given.Verbose = 0,
) -> None:
    """Run a Python script; what it does with joblib runs on nodes."""
    own = script_arguments(script, arguments or ())
    merged = load_config(
        {
            "nodes": nodes,
            "concurrency": concurrency,
            "on": on,
            "runs_dir": runs_dir,
            "max_cost": max_cost,
            "max_hours": max_hours,
            "fit_timeout": fit_timeout,
            "retries": retries,
            "no_sharing": no_sharing,
            "yes": yes,
            "quiet": quiet,
            "verbose": verbose or None,
        },
        os.environ,
        search_file=script,
        config_file=config,
        cwd=Path.cwd(),
    )
    require_trusted_nodes(merged, trusted=trust_nodes)
    raise SystemExit(_run(script, own, merged))


def script_arguments(script: Path, arguments: Sequence[str]) -> list[str]:
    """Return the script's own arguments.

    Raises
    ------
    UsageError
        If the first one is an option for nodes, and no ``--`` says that it is the script's.
    """
    first = arguments[0] if arguments else ""
    if first == "--":
        return list(arguments[1:])
    option = first.partition("=")[0]
    if option in OF_NODES:
        raise UsageError(
            f"{option} follows {script}, where arguments are the script's. Write skygrid's options "
            f"first: skygrid exec {option} ... {script}; if it is the script's own: skygrid exec "
            f"{script} -- {option} ..."
        )
    return list(arguments)


def require_trusted_nodes(config: RunConfig, *, trusted: bool) -> None:
    """Refuse nodes on other machines that are not trusted.

    Raises
    ------
    UsageError
        If the nodes are not on this machine and ``--trust-nodes`` was not given.
    """
    if config.on != RunConfig.on and not trusted:
        raise UsageError(
            f"joblib's results are pickled objects, and opening one runs the code that its node "
            f"put into it. With nodes on {config.on!r}, add --trust-nodes if you trust every node "
            f"as you trust this machine"
        )


def _run(file: Path, arguments: Sequence[str], config: RunConfig) -> int:
    from skygrid.script.running import FAILED, become_program, read_script, report, run_script

    try:
        script = read_script(file)
    except (SyntaxError, ValueError) as error:
        report(error.with_traceback(None), skipped=0)
        return FAILED
    offer = _accepted(config)
    main = become_program(script, arguments)
    from skygrid.listener import NotingListener
    from skygrid.script.nodes import run_on_nodes

    listener = NotingListener(quiet=config.quiet, verbose=config.verbose > 0)
    code, used = run_on_nodes(lambda: run_script(script, main), config, offer, listener)
    if not used and not code and not config.quiet:
        say(f"skygrid: {NOTHING_RAN}")
    return code


def _accepted(config: RunConfig) -> Offer | None:
    """Return the offer of the nodes to rent, approved; None where nodes cost nothing."""
    if place_of(config).rental is None:
        return None
    require_consent(config, dry_run=False)
    from skygrid.reports.money import quote_text
    from skygrid.run.cloud_nodes import make_offer

    offer = make_offer(config)
    if not config.yes:
        say(quote_text(offer.quote))
        if not agrees("Start these nodes?"):
            raise InterruptedRunError("not approved; nothing was started")
    return offer
