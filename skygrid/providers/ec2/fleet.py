"""The instances of one run: everything that spends money, or ends what does, goes through here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from skygrid.config import AwsConfig
from skygrid.errors import NodeError

from .records import CloudNode, CloudPlan, RunMark, TeardownReport


class InstanceGoneError(NodeError):
    """The instance of a node has ended; another can be launched in its place."""


class Fleet:
    """Launches, watches and ends the instances of one run. Every method may be called from any thread.

    Parameters
    ----------
    clients : Clients
        From `skygrid.providers.ec2.session.open_clients`.
    plan : CloudPlan
    mark : RunMark
    store : FleetStore
        ``cloud.json`` of the run's folder.
    settings : AwsConfig
    """

    def __init__(
        self, clients: Any, plan: CloudPlan, mark: RunMark, store: Any, settings: AwsConfig
    ) -> None:
        raise NotImplementedError

    def open(self) -> None:
        """Make what all instances need (the security group); only the first call does anything.

        Raises
        ------
        NodeError
        """
        raise NotImplementedError

    def launch(self, node: str, user_data: bytes, say: Callable[[str], None]) -> CloudNode:
        """Launch the instance of a node; tries the pools in their order. Calls `open` itself.

        Raises
        ------
        NodeError
            Nothing can be had; the message lists every pool that was tried.
        """
        raise NotImplementedError

    def adopt(self, node: str) -> CloudNode | None:
        """The running instance that an earlier session launched for this node; None: there is none."""
        raise NotImplementedError

    def wait_running(self, node: CloudNode, say: Callable[[str], None]) -> CloudNode:
        """Wait until it runs and has the address it is to be reached at.

        Raises
        ------
        InstanceGoneError
            It ended instead; the message has the reason.
        NodeError
            It took longer than ``launch_timeout``.
        """
        raise NotImplementedError

    def address(self, node: CloudNode) -> str:
        """Where SSH is to connect: the public address, or the private one without ``public_ip``."""
        raise NotImplementedError

    def gone(self, node: CloudNode) -> str | None:
        """Why the instance is gone, None while it is not; asks the API at most every two seconds.

        To be called when a connection to it fails. Never raises: an API that does not answer knows
        of no end.
        """
        raise NotImplementedError

    def repair_access(self) -> str | None:
        """Let the caller in again if its address changed; what was done, None if nothing.

        Asks for the address at most every ten seconds. Never raises: it is called while a
        connection is being mended, and what it cannot do it says in its answer.
        """
        raise NotImplementedError

    def end(self, node: CloudNode) -> None:
        """End one instance and do not wait for it; the teardown looks again.

        Raises
        ------
        NodeError
        """
        raise NotImplementedError

    def nodes(self) -> list[CloudNode]:
        """Every instance of this run that this session knows of, as last seen."""
        raise NotImplementedError

    def dollars(self, now: float) -> float | None:
        """USD spent on instances until `now` (seconds since the epoch); None: price not known."""
        raise NotImplementedError

    def dollars_per_hour(self) -> float | None:
        """USD an hour of the instances that are not gone; None: price not known."""
        raise NotImplementedError

    def teardown(self, progress: Callable[[str], None]) -> TeardownReport:
        """End everything and wait until the API says that it is gone. May be called again.

        Waits for launches that are under way, refuses further ones, ends instances, deletes the
        security group and the run's objects in S3, and asks by tag for what is left. Never raises
        an error of the API: what could not be done stands in the report.
        """
        raise NotImplementedError


def open_fleet(
    clients: Any, plan: CloudPlan, mark: RunMark, folder: Path, settings: AwsConfig
) -> Fleet:
    """The fleet of a run, with what an earlier session of the run wrote to its folder."""
    raise NotImplementedError
