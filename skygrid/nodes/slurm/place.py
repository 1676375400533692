"""The place of nodes that Slurm starts."""

from __future__ import annotations

import os
from collections.abc import Sequence

from skygrid.config import RunConfig, limits
from skygrid.errors import ConfigError
from skygrid.nodes.interface import Provider
from skygrid.nodes.records import Finding
from skygrid.nodes.slurm.request import Allocation, allocation_of


class SlurmPlace:
    """A Slurm cluster: a job for each node, or the nodes of the job in which skygrid runs."""

    title = "nodes of a Slurm cluster"
    lease_seconds = limits.REMOTE_LEASE
    rental = None

    def check(self, config: RunConfig) -> None:
        """Refuse a machine without Slurm, and a run that does not say what a job needs."""
        from .programs import require_programs

        require_programs()
        allocation = self._allocation
        if allocation is None and config.concurrency is None:
            raise ConfigError(
                f"{config.origin('on')} needs concurrency, the CPUs of each job: for example "
                "--concurrency 4"
            )
        if allocation is not None and self.nodes(config) > allocation.nodes:
            raise ConfigError(
                f"{config.origin('nodes')} is {config.nodes}, and job {allocation.job}, in which "
                f"skygrid runs, has {allocation.nodes} nodes"
            )

    @property
    def _allocation(self) -> Allocation | None:
        return allocation_of(os.environ)

    def nodes(self, config: RunConfig) -> int:
        """Return the number of jobs, or of nodes of the allocation."""
        allocation = self._allocation
        return config.nodes or (1 if allocation is None else allocation.nodes)

    def slots(self, config: RunConfig) -> int | None:
        """Return the slots of all nodes."""
        nodes, allocation = self.nodes(config), self._allocation
        if config.concurrency is not None:
            return nodes * config.concurrency
        return None if allocation is None else sum(allocation.cpus[:nodes])

    def min_nodes(self, config: RunConfig) -> int:
        """Return 1: jobs that wait in the queue join later."""
        return 1

    def provider(self, config: RunConfig, run_id: str) -> Provider:
        """Return the provider of the nodes."""
        from .provider import SlurmProvider

        return SlurmProvider(config, run_id, self._allocation)

    def examine(self, config: RunConfig) -> Sequence[Finding]:
        """Ask Slurm whether it would accept the jobs; submit none."""
        from .doctor import examine_cluster

        return [examine_cluster(config, self._allocation)]


PLACE = SlurmPlace()
