"""Nodes and searches of a running program, which has no search file and no run folder."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.engine.stopping import StopCondition, never
from skygrid.errors import SkygridError
from skygrid.journal.in_memory import MemoryJournal
from skygrid.listener import Listener, SilentListener
from skygrid.nodes.interface import Offer
from skygrid.reports.money import bill_text, quote_text
from skygrid.run.cloud_nodes import RentedNodes
from skygrid.run.rounds import JournaledRounds
from skygrid.run.setup import policies_of
from skygrid.search_file.portable import obstacles_named
from skygrid.user_code.program_needs import code_of_program, needs_of, needs_of_program
from skygrid.util.terminal import say


def rounds_of(
    engine: PullEngine,
    config: RunConfig,
    search: Any,
    X: Any,
    y: Any,
    fit_params: Mapping[str, Any],
    kind: type[JournaledRounds] = JournaledRounds,
    listener: Listener | None = None,
    whole_program: bool = False,
) -> JournaledRounds:
    """Return the rounds of a search, with the modules of the program as they are now.

    Parameters
    ----------
    whole_program : bool, default=False
        True: nodes need everything that the program imports, not only what the search is made of.
    """
    code = code_of_program(shares_modules=engine.shares_modules)
    if not engine.shares_modules:
        with obstacles_named(search=search, X=X, y=y, fit_params=fit_params):
            needs = needs_of(code, search, X, y, fit_params)
        engine.set_modules(needs | needs_of_program(code) if whole_program else needs)
    return kind(
        engine,
        MemoryJournal(),
        policies_of(config),
        listener or SilentListener(),
        code=code,
        sharing=not config.no_sharing,
    )


@contextmanager
def rented_nodes(
    config: RunConfig,
    offer: Offer,
    name: str,
    *,
    listener: Listener,
    stop: StopCondition = never,
) -> Iterator[PullEngine]:
    """Rent nodes for a program; print their price before and their cost after it.

    Parameters
    ----------
    config : RunConfig
    offer : Offer
    name : str
        Beginning of the name that the nodes have in ``skygrid nodes``.
    listener : Listener
        Its messages with ``always`` reach the user.
    stop : callable, optional
        Condition other than cost under which no more fits start.
    """
    run_id = secrets.token_hex(8)
    name = f"{name}-{run_id[:8]}"
    folder = config.runs_dir / name
    folder.mkdir(mode=0o700, parents=True)
    say(f"{name}: {quote_text(offer.quote)}")
    rented = RentedNodes(
        config,
        offer,
        run_id=run_id,
        run_name=name,
        folder=folder,
        listener=listener,
        stop=stop,
    )
    try:
        with rented.running() as engine:
            yield engine
    except SkygridError:  # its text, or a message, names the cost and nodes that may be left
        raise
    except BaseException:
        say(f"{name}: {bill_text(rented.bill())}")
        raise
    else:
        say(f"{name}: {bill_text(rented.bill())}")
    finally:
        if rented.trouble is None:
            # The folder serves to find nodes again, and none is left.
            shutil.rmtree(folder)
    if rented.trouble is not None:
        raise rented.trouble
