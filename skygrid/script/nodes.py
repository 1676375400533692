"""The nodes of a script.

Nodes that cost nothing start before this process imports scikit-learn, as those of a search do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.listener import Listener
from skygrid.nodes.interface import Offer
from skygrid.run.setup import hours_over, nodes_of


def nodes_for(
    config: RunConfig, offer: Offer | None, listener: Listener
) -> AbstractContextManager[PullEngine]:
    """Return the nodes of a script, which end with the block.

    Parameters
    ----------
    config : RunConfig
    offer : Offer or None
        The nodes to rent; None where nodes cost nothing.
    listener : Listener
    """
    if offer is None:
        return nodes_of(config, listener, secrets.token_hex(8))
    from skygrid.run.program import rented_nodes

    return rented_nodes(config, offer, "exec", listener=listener, stop=hours_over(config))


def run_on_nodes(
    run: Callable[[], int],
    config: RunConfig,
    offer: Offer | None,
    listener: Listener,
) -> tuple[int, bool]:
    """Run a function with the nodes as joblib's default backend; end the nodes after it.

    Returns
    -------
    code : int
        The value of the function.
    used : bool
        True if the nodes were used.
    """
    with nodes_for(config, offer, listener) as engine:
        from skygrid.script.backend import ScriptNodes

        nodes = ScriptNodes(engine, config)
        with nodes.as_default():
            code = run()
    return code, nodes.used
