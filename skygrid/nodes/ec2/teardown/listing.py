"""Discovery of skygrid's instances by their tags, from any machine with the credentials."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec

from skygrid.errors import NodeError
from skygrid.nodes.ec2.api import Clients, api_errors, words_of
from skygrid.nodes.ec2.api_errors import judge
from skygrid.nodes.ec2.launch.requests import BUCKET, NAME, RUN
from skygrid.nodes.ec2.launch.watch import find_instances
from skygrid.nodes.ec2.records import CloudNode
from skygrid.nodes.records import TeardownReport, joined

from .teardown import Ending, Progress, RunResources

NOT_TERMINATED = ["pending", "running", "shutting-down", "stopping", "stopped"]


def find_cloud_nodes(clients: Clients, run_id: str | None = None) -> list[CloudNode]:
    """Return all instances of skygrid in the clients' region that are not terminated.

    Parameters
    ----------
    clients : Clients
    run_id : str, optional
        Restrict the search to this run.

    Returns
    -------
    nodes : list of CloudNode
        Sorted by run and node.

    Raises
    ------
    NodeError
        If the API does not answer or refuses.
    """
    filters = _tagged(run_id) | {"instance-state-name": NOT_TERMINATED}
    try:
        found = find_instances(clients, filters)
    except api_errors() as error:
        raise NodeError(judge(error, "ec2:DescribeInstances", clients.region).text) from error
    return sorted(found, key=lambda one: (one.run_name, one.run_id, one.node))


def _tagged(run_id: str | None) -> dict[str, list[str]]:
    return {"tag-key": [RUN]} if run_id is None else {f"tag:{RUN}": [run_id]}


def orphans(nodes: Iterable[CloudNode], now: float, dead_runs: Collection[str]) -> list[CloudNode]:
    """Return nodes past their expiry, or of a run whose driver has ended.

    Parameters
    ----------
    nodes : iterable of CloudNode
    now : float
        Seconds since the epoch.
    dead_runs : collection of str
        Ids of runs whose driver has certainly ended. Runs of other machines cannot be judged; their
        nodes end themselves when their lease runs out.
    """
    return [one for one in nodes if one.run_id in dead_runs or 0 < one.expires_at <= now]


def find_resources(clients: Clients, run_id: str | None = None) -> list[RunResources]:
    """Return every run that has instances, a security group or volumes in the clients' region.

    Parameters
    ----------
    clients : Clients
    run_id : str, optional
        Restrict the search to this run, which is returned even if nothing is found.

    Raises
    ------
    NodeError
        If the API does not answer or refuses.
    """
    found = {} if run_id is None else {run_id: RunResources(run_id=run_id)}
    for one in find_cloud_nodes(clients, run_id):
        found[one.run_id] = RunResources(run_id=one.run_id, name=one.run_name, bucket=one.bucket)
    for kind in ("security_groups", "volumes"):
        for tags in _tags_of(clients, kind, run_id):
            fresh = RunResources(run_id=tags[RUN], name=tags.get(NAME, ""), bucket=tags.get(BUCKET))
            found[fresh.run_id] = _joined(found.get(fresh.run_id, fresh), fresh)
    return sorted(found.values(), key=lambda one: (one.name, one.run_id))


def _tags_of(clients: Clients, kind: str, run_id: str | None) -> list[dict[str, str]]:
    try:
        answers = clients.described(kind, _tagged(run_id))
    except api_errors() as error:
        action = f"ec2:Describe{words_of(kind)}"
        raise NodeError(judge(error, action, clients.region).text) from error
    return [{tag["Key"]: tag["Value"] for tag in one.get("Tags", ())} for one in answers]


def _joined(before: RunResources, fresh: RunResources) -> RunResources:
    return msgspec.structs.replace(
        before, name=before.name or fresh.name, bucket=before.bucket or fresh.bucket
    )


def down(clients: Clients, resources: Sequence[RunResources], progress: Progress) -> TeardownReport:
    """End runs with all their resources, and wait until the API confirms it.

    Parameters
    ----------
    clients : Clients
        For the region of the runs.
    resources : sequence of RunResources
        From `find_resources`, or from `fleet.resources_of` for a run with a local ``cloud.json``,
        which has more facts.
    progress : callable
        Receives progress messages.

    Returns
    -------
    report : TeardownReport
        Joint report of all runs.
    """
    return joined(
        [Ending(clients, one, _named(one.name, progress)).complete() for one in resources]
    )


def _named(name: str, progress: Progress) -> Progress:
    return lambda text: progress(f"{name}: {text}")
