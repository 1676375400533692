"""Rented nodes of a run: their offer, their engine, their verified end.

All code that rents nodes uses this module: it states the price before nodes start, and ends them
however the run ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from skygrid.config import RunConfig, limits
from skygrid.engine.engine import PullEngine
from skygrid.engine.stopping import StopCondition, any_of, cost_limit
from skygrid.errors import ConfigError, InterruptedRunError, NodeError, SkygridError
from skygrid.listener import Listener
from skygrid.nodes.interface import Offer
from skygrid.nodes.records import Bill, RentedNode
from skygrid.nodes.registry import place_of
from skygrid.reports.money import bill_text, dollars_text
from skygrid.run.budget import higher_limit, start_refusal
from skygrid.run.interrupts import Interrupts
from skygrid.run.setup import settings_of

LOGGER = logging.getLogger(__name__)


def make_offer(config: RunConfig, folder: Path | None = None) -> Offer:
    """Return an offer of the nodes of a configuration, with their price; start nothing.

    Parameters
    ----------
    config : RunConfig
    folder : Path, optional
        Folder of a run that may have had nodes before: it continues in the same region.

    Raises
    ------
    ConfigError
        If nothing on offer fits the configuration, or `max_cost` is too low or cannot be checked
        because the price is unknown.
    NodeError
        If the cloud denies this user access.
    """
    rental = place_of(config).rental
    assert rental is not None, "only nodes that cost money are offered"
    offer = rental.offer(config, folder)
    quote = offer.quote
    if config.max_cost is not None and quote.dollars_per_hour is None:
        raise ConfigError(
            f"--max-cost needs the price of {quote.instance_type} in {quote.region}, which is "
            "unknown: set aws.price_per_hour"
        )
    least = quote.dollars_for(0.0)
    # The budget of a run to resume is checked by `RentedNodes`, which ends nodes that are left.
    new = folder is None
    if new and config.max_cost is not None and least is not None and least > config.max_cost:
        raise ConfigError(
            f"--max-cost {config.max_cost:g} is spent before the first fit: to start and end "
            f"{quote.nodes} x {quote.instance_type} costs about {dollars_text(least)}"
        )
    return offer


class RentedNodes:
    """Rented nodes of one session of a run, from the first order to the verified end.

    Parameters
    ----------
    config : RunConfig
    offer : Offer
    run_id, run_name : str
        Marks of everything that is rented.
    folder : Path
        The run's folder. Each order is written there before it is placed.
    listener : Listener
    stop : callable
        Condition other than cost under which no more fits start.
    only_end : bool, default=False
        True: start no nodes; end those that an earlier session left.
    """

    def __init__(
        self,
        config: RunConfig,
        offer: Offer,
        *,
        run_id: str,
        run_name: str,
        folder: Path,
        listener: Listener,
        stop: StopCondition,
        only_end: bool = False,
    ) -> None:
        self._provider = offer.accept(run_id, run_name, folder, self._tell)
        self._name, self._listener = run_name, listener
        self._only_end = only_end
        self._quote, self._limit = offer.quote, config.max_cost
        if config.max_cost is not None:
            stop = any_of(stop, cost_limit(config.max_cost, self._dollars_at_the_end))
        self.engine = PullEngine(
            self._provider, settings_of(config, stop, self._may_not_start), listener
        )
        self.trouble: SkygridError | None = None
        """Error that names nodes that are or may be left after the teardown; None: none."""

        self._ending = self._at_once = False
        self._releasing: threading.Thread | None = None

    @contextmanager
    def running(self) -> Iterator[PullEngine]:
        """Rent the nodes; however the block ends, end them and verify that they are gone.

        Raises
        ------
        SkygridError
            The error that ended the block, with `trouble` added to its text. When the block ends
            well, `trouble` is not raised: the caller reports it.
        """
        self._listener.cost_source(self._dollars_now)
        with Interrupts(self._ask, self._force):
            try:
                self.engine.start(at_once=False)
                yield self.engine
            except SkygridError as error:
                self._end()
                if self.trouble is None:
                    self._listener.message(bill_text(self.bill()), always=True)
                    raise
                raise type(error)(f"{error}\n{self.trouble}") from error
            except BaseException:
                self._end()
                if self.trouble is not None:
                    self._listener.message(str(self.trouble), always=True)
                raise
            else:
                self._end()

    def release(self) -> None:
        """End the nodes in the background once all fits are done: the refit runs here."""
        self._releasing = threading.Thread(target=self._close, name="release", daemon=True)
        self._releasing.start()

    def bill(self) -> Bill:
        """Return the cost so far, and the nodes that are left."""
        return self._provider.bill()

    def nodes(self) -> Sequence[RentedNode]:
        """Return the nodes rented in all sessions of the run."""
        return self._provider.rented()

    def _tell(self, text: str) -> None:
        self._listener.message(text, always=False)

    # -- signals

    def _ask(self) -> bool:
        if self._ending:
            waiting = "the nodes are being ended; once more to stop at once, without waiting"
            self._listener.message(waiting, always=True)
            return True
        return self.engine.interrupt()

    def _force(self) -> None:
        self._at_once = True
        self.engine.kill()

    # -- the end

    def _end(self) -> None:
        self._ending = True
        self._listener.phase("ending")
        LOGGER.info("nodes are ended %s", "at once" if self._at_once else "and their end verified")
        try:
            if self._releasing is not None:
                self._releasing.join()
            elif not self._at_once:
                self._close()
            else:
                self.engine.close()
        except InterruptedRunError:  # the second Ctrl-C: `trouble` reports it below
            self._at_once = True
        report = self._provider.report
        if self.trouble is None and (report is None or not report.verified):
            self.trouble = NodeError(
                "whether the nodes are gone could not be seen. To look: skygrid nodes; to end "
                f"them: skygrid down {self._name}"
            )
        if self._at_once:
            self.trouble = InterruptedRunError(
                "stopped at once: nodes may still run, and end themselves when they hear nothing "
                f"of this machine. End them now with: skygrid down {self._name}"
            )

    def _close(self) -> None:
        self.engine.close()
        try:
            self._provider.close()
        except NodeError as error:
            self.trouble = error
            return
        for note in self._provider.report.notes if self._provider.report else ():
            self._listener.message(note, always=True)

    # -- money

    def higher_limit(self) -> float | None:
        """Return a ``--max-cost`` in USD that is enough to resume the run; None: no limit."""
        if self._limit is None:
            return None
        return higher_limit(self._limit, self._quote, self._dollars_at_the_end())

    def _may_not_start(self, fresh: int, others: int) -> str | None:
        if self._only_end:
            return "the run was complete, so no nodes were asked for"
        if self._limit is None:
            return None
        return start_refusal(self._limit, self._quote, self._dollars_now(), fresh, others)

    def _dollars_now(self) -> float | None:
        return self._provider.bill().dollars

    def _dollars_at_the_end(self) -> float | None:
        """Return the final cost in USD if the teardown starts now."""
        now, rate = self._dollars_now(), self._provider.dollars_per_hour()
        return None if now is None or rate is None else now + rate * limits.USUAL_END / 3600
