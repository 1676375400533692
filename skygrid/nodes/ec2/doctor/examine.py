"""Examination of an AWS account before a run.

Calls only read, or use ``DryRun``; nothing is created and nothing costs.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from skygrid.config import RunConfig, limits
from skygrid.errors import SkygridError
from skygrid.nodes.ec2.api import Clients, api_errors, open_clients
from skygrid.nodes.ec2.api_errors import judge
from skygrid.nodes.ec2.planning.network import allowed_cidr, find_network
from skygrid.nodes.ec2.planning.plan import packages_near, plan_cloud
from skygrid.nodes.ec2.planning.types import vcpus_of
from skygrid.nodes.ec2.quotas import SPOT, Quota, quota_page, vcpu_quota
from skygrid.nodes.ec2.records import CloudPlan, Pool
from skygrid.nodes.records import Finding

from .rights import Right, Verdict, try_rights
from .volume_key import examine_volume_key


def examine_account(config: RunConfig) -> list[Finding]:
    """Check credentials, clock, network, nodes with quotas, and rights.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    findings : list of Finding
        Only the first one if the account cannot be reached.
    """
    try:
        clients = open_clients(config.aws)
        caller, now = clients.caller, time.time()
    except SkygridError as error:
        return [Finding(name="AWS account", problems=(str(error),))]
    network, found = _network(clients, config)
    nodes, plan = _nodes(clients, config) if found else (None, None)
    rights = _rights(try_rights(clients, config.aws, plan), tried_changes=plan is not None)
    key = examine_volume_key(clients)
    findings = (_account(clients, caller, now), network, nodes, key, rights)
    return [one for one in findings if one is not None]


# ---- account ------------------------------------------------------------------------------------


def _account(clients: Clients, caller: Mapping[str, Any], now: float) -> Finding:
    skew = clock_skew(caller, now)
    facts = [f"{caller['Arn']}", f"account {caller['Account']}, region {clients.region}"]
    problem, note = clock_texts(skew)
    if skew is not None and not problem:
        facts.append(f"this machine's clock is within {max(1, math.ceil(abs(skew)))} s of AWS")
    return Finding(
        name="AWS account",
        facts=tuple(facts),
        notes=(note,) if note else (),
        problems=(problem,) if problem else (),
    )


def clock_skew(answer: Mapping[str, Any], now: float) -> float | None:
    """Return the seconds by which this machine's clock is ahead of an API answer's date.

    Parameters
    ----------
    answer : mapping
        As boto3 returns it.
    now : float
        Time of its arrival, in seconds since the epoch.

    Returns
    -------
    skew : float or None
        Accurate to a second; None if the answer has no date.
    """
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if "date" not in headers:
        return None
    return now - parsedate_to_datetime(headers["date"]).timestamp()


def clock_texts(skew: float | None) -> tuple[str, str]:
    """Return the problem and the note about a clock, each possibly empty."""
    if skew is None or abs(skew) < limits.EC2_NOTED_SKEW:
        return "", ""
    text = f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS"
    if abs(skew) < limits.EC2_CLOCK_SKEW:
        return "", f"{text}: from {limits.EC2_CLOCK_SKEW / 60:g} minutes on its calls are refused"
    return f"{text}, which refuses its calls: set the clock, as with `timedatectl set-ntp true`", ""


# ---- network ------------------------------------------------------------------------------------


def _network(clients: Clients, config: RunConfig) -> tuple[Finding, bool]:
    """Return the finding, and True if nodes have a subnet."""
    facts, problems = [], []
    try:
        network = find_network(clients, config.aws, packages_near=packages_near(config))
    except SkygridError as error:
        problems.append(str(error))
    else:
        zones = ", ".join(zone for zone, _ in network.subnets)
        kind = f"subnet {config.aws.subnet} of" if config.aws.subnet else "default"
        way = "with" if network.leads_out else "without"
        facts.append(f"{kind} VPC {network.vpc}, {way} a way to the internet from {zones}")
    place = not problems
    try:
        facts.append(f"port 22 of nodes will be open to {allowed_cidr(config.aws)} alone")
    except SkygridError as error:
        problems.append(str(error))
    if config.aws.jump:
        facts.append(f"nodes are reached through {config.aws.jump}")
    return Finding(name="AWS network", facts=tuple(facts), problems=tuple(problems)), place


# ---- nodes --------------------------------------------------------------------------------------


def _nodes(clients: Clients, config: RunConfig) -> tuple[Finding, CloudPlan | None]:
    try:
        plan = plan_cloud(config, clients)
    except SkygridError as error:
        return Finding(name="AWS nodes", problems=(str(error),)), None
    facts, notes = [_offer_text(plan), *_image_texts(plan)], list(plan.notes)
    problems: list[str] = []
    for quota, pool in _first_of_each_quota(plan.pools).items():
        fact, trouble = _quota(clients, plan, pool, quota)
        (notes if fact is None else facts).append(fact or trouble)
        if fact is not None and trouble:
            # With on-demand nodes as replacement, a lack of spot quota is only a note.
            spare = plan.market == "spot-then-on-demand" and pool.market == "spot"
            (notes if spare else problems).append(trouble)
    finding = Finding(
        name="AWS nodes", facts=tuple(facts), notes=tuple(notes), problems=tuple(problems)
    )
    return finding, plan


def _offer_text(plan: CloudPlan) -> str:
    first = plan.pools[0]
    size = f"{plan.first_type.vcpus} vCPUs, {plan.first_type.memory_gib:g} GiB"
    price = (
        "price unknown: set aws.price_per_hour"
        if first.dollars_per_hour is None
        else f"${first.dollars_per_hour:.4f} an hour each ({first.price_source})"
    )
    return f"{plan.nodes} x {first.instance_type} ({size}), {first.market}, {price}"


def _image_texts(plan: CloudPlan) -> list[str]:
    return [f"image {one.ami} {one.name}".rstrip() for one in plan.images.values()]


def _first_of_each_quota(pools: Sequence[Pool]) -> dict[Quota, Pool]:
    found: dict[Quota, Pool] = {}
    for pool in pools:
        quota = vcpu_quota(pool.market, pool.instance_type)
        if quota is not None:
            found.setdefault(quota, pool)
    return found


def _quota(clients: Clients, plan: CloudPlan, pool: Pool, quota: Quota) -> tuple[str | None, str]:
    """Return a fact about the quota, None if unknown, and the problem with it, possibly empty."""
    try:
        answer = clients.quotas.get_service_quota(ServiceCode=quota.service, QuotaCode=quota.code)
    except api_errors() as error:
        text = judge(error, "servicequotas:GetServiceQuota", clients.region).text
        return None, f'the quota "{quota.name}" is not known: {text}'
    try:
        used = _vcpus_in_use(clients, quota)
    except api_errors() as error:
        text = judge(error, "ec2:DescribeInstances", clients.region).text
        return None, f'how much of the quota "{quota.name}" is in use is not known: {text}'
    wanted = plan.nodes * plan.types[pool.instance_type].vcpus
    return quota_texts(quota, clients.region, answer["Quota"]["Value"], used, wanted)


def quota_texts(
    quota: Quota, region: str, allowed: float, used: int, wanted: int
) -> tuple[str, str]:
    """Return a fact about a vCPU quota, and the problem if the run exceeds it, else ""."""
    fact = (
        f"quota for {'spot' if quota in SPOT.values() else 'on-demand'} nodes: {allowed:g} vCPUs, "
        f"{used} in use, {wanted} for the run"
    )
    if used + wanted <= allowed:
        return fact, ""
    return fact, (
        f'the quota "{quota.name}" leaves {max(0, int(allowed) - used)} vCPUs in {region}, and the '
        f"run takes {wanted}: ask for more at {quota_page(quota, region)}, or take fewer nodes or "
        "smaller types"
    )


def _vcpus_in_use(clients: Clients, quota: Quota) -> int:
    """Return the vCPUs of running instances that count towards a quota."""
    running = clients.described("instances", {"instance-state-name": ["pending", "running"]})
    counts = Counter(
        one["InstanceType"]
        for one in running
        if vcpu_quota(one.get("InstanceLifecycle", "on-demand"), one["InstanceType"]) == quota
    )
    sizes = vcpus_of(clients, counts)
    return sum(number * sizes.get(name, 0) for name, number in counts.items())


# ---- rights -------------------------------------------------------------------------------------


def _rights(rights: Sequence[Right], *, tried_changes: bool) -> Finding:
    by_verdict = {verdict: [one for one in rights if one.verdict is verdict] for verdict in Verdict}
    allowed = len(by_verdict[Verdict.ALLOWED])
    denied = [one.action for one in by_verdict[Verdict.DENIED]]
    untried = [one.action for one in by_verdict[Verdict.UNTRIED]]
    notes, problems = [], []
    if denied:
        names = ", ".join(dict.fromkeys(denied))
        problems.append(
            f"not allowed: {names}. Add them to the IAM policy of these credentials; "
            "guides/aws.md has one that is enough"
        )
    problems += [one.text for one in by_verdict[Verdict.FAILED]]
    if untried:
        notes.append(
            f"not tried, because skygrid has no resources there: {', '.join(untried)}. "
            "The policy in guides/aws.md allows them only on resources of skygrid"
        )
    if not tried_changes:
        notes.append("launching and ending nodes was not tried, because of the problem above")
    return Finding(
        name="AWS rights",
        facts=(f"{allowed} of {len(rights)} actions that were tried are allowed",),
        notes=tuple(notes),
        problems=tuple(problems),
    )
