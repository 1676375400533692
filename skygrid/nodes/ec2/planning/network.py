"""Network of the nodes: subnets, and a security group that admits only the caller, on port 22."""

from __future__ import annotations

import ipaddress
import os
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from skygrid.config import AwsConfig, limits
from skygrid.errors import NodeError
from skygrid.nodes.ec2.api import Clients, api_errors, words_of
from skygrid.nodes.ec2.api_errors import Decision, code_of, judge
from skygrid.nodes.ec2.launch.requests import run_tags, specifications
from skygrid.nodes.ec2.records import RunMark
from skygrid.nodes.ec2.retry import retried

SSH_PORT = 22


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """The VPC of a run and the usable subnets."""

    vpc: str
    subnets: tuple[tuple[str, str], ...]
    """Pairs of zone and subnet, sorted by zone."""

    leads_out: bool = True
    """False if nodes have no route to the internet, only to packages that are nearer."""


# ---- finding a place ----------------------------------------------------------------------------


def find_network(clients: Clients, settings: AwsConfig, *, packages_near: bool) -> Network:
    """Return the configured subnet, or the default ones, checked for the routes that nodes need.

    Parameters
    ----------
    clients : Clients
    settings : AwsConfig
    packages_near : bool
        True if nodes may install packages without the internet.

    Raises
    ------
    NodeError
        If the default VPC, the subnet, the zone or the route is missing.
    """
    vpc, subnets = _named(clients, settings) if settings.subnet else _default(clients)
    zones = settings.zones
    kept = [one for one in subnets if not zones or one["AvailabilityZone"] in zones]
    if not kept:
        there = ", ".join(sorted({one["AvailabilityZone"] for one in subnets})) or "none"
        raise NodeError(
            f"no subnet of {vpc} in {clients.region} is in zones under [aws] "
            f"({', '.join(zones) or 'any'}); there are subnets in: {there}"
        )
    kept = with_ipv4(kept, clients.region)
    tables = _described(clients, "route_tables", {"vpc-id": [vpc]})
    usable, out = routed(kept, tables, public=settings.public_ip, packages_near=packages_near)
    if not usable:
        raise NodeError(_no_route(kept, clients.region, settings))
    return Network(
        vpc=vpc,
        subnets=tuple(sorted((one["AvailabilityZone"], one["SubnetId"]) for one in usable)),
        leads_out=out,
    )


def _named(clients: Clients, settings: AwsConfig) -> tuple[str, list[Any]]:
    try:
        found = clients.ec2.describe_subnets(SubnetIds=[settings.subnet])["Subnets"]
    except api_errors() as error:
        if code_of(error) == "InvalidSubnetID.NotFound":
            raise NodeError(
                f"there is no {settings.subnet} in {clients.region}: name one of this region as "
                "subnet under [aws], or leave it out for the default ones"
            ) from None
        raise NodeError(judge(error, "ec2:DescribeSubnets", clients.region).text) from error
    return found[0]["VpcId"], found


def _default(clients: Clients) -> tuple[str, list[Any]]:
    vpcs = _described(clients, "vpcs", {"is-default": ["true"]})
    if not vpcs:
        raise NodeError(
            f"{clients.region} has no default VPC: make one with `aws ec2 create-default-vpc "
            f"--region {clients.region}`, or name a subnet under [aws] in the config file"
        )
    vpc = vpcs[0]["VpcId"]
    subnets = _described(clients, "subnets", {"vpc-id": [vpc], "default-for-az": ["true"]})
    if not subnets:
        raise NodeError(
            f"the default VPC of {clients.region} has no default subnets: make one with `aws ec2 "
            f"create-default-subnet --region {clients.region} --availability-zone "
            f"{clients.region}a`, or name a subnet under [aws]"
        )
    return vpc, subnets


def _described(clients: Clients, kind: str, filters: Mapping[str, list[str]]) -> list[Any]:
    try:
        return clients.described(kind, filters)
    except api_errors() as error:
        action = f"ec2:Describe{words_of(kind)}"
        raise NodeError(judge(error, action, clients.region).text) from error


def with_ipv4(subnets: Sequence[Any], region: str) -> list[Any]:
    """Return the subnets whose instances have IPv4 addresses, by which nodes are reached.

    Raises
    ------
    NodeError
        If all are IPv6-only.
    """
    found = [one for one in subnets if not one.get("Ipv6Native", False)]
    if not found:
        names = ", ".join(one["SubnetId"] for one in subnets)
        raise NodeError(
            f"{names} in {region} is IPv6-only, and nodes are reached by IPv4: name a subnet with "
            "IPv4 addresses as subnet under [aws]"
        )
    return found


def routed(
    subnets: Sequence[Any], tables: list[Any], *, public: bool, packages_near: bool
) -> tuple[list[Any], bool]:
    """Return the subnets that nodes can use, and True if they lead to the internet.

    Parameters
    ----------
    subnets : sequence
        ``Subnets`` of the VPC.
    tables : list
        ``RouteTables`` of the VPC.
    public : bool
        Nodes are reached at public addresses.
    packages_near : bool
        Nodes may install packages without the internet.
    """
    found = [one for one in subnets if leads_out(one["SubnetId"], tables, public=public)]
    if found or not packages_near:
        return found, True
    if not public:
        return list(subnets), False
    # Public addresses work where the route leads to the caller, if not to everyone.
    return [one for one in subnets if _has_gateway(one["SubnetId"], tables)], False


def _no_route(subnets: Sequence[Any], region: str, settings: AwsConfig) -> str:
    names = ", ".join(one["SubnetId"] for one in subnets)
    way = (
        "a route 0.0.0.0/0 to an internet gateway"
        if settings.public_ip
        else "a route 0.0.0.0/0, such as one to a NAT gateway"
    )
    other = (
        ", or set public_ip = false and jump if it is private"
        if settings.public_ip
        else ", or name a package index inside the VPC as index_url under [environment]"
    )
    return (
        f"{names} in {region} cannot reach the internet: its route table needs {way}. Add it, or "
        f"name another subnet under [aws]{other}"
    )


def leads_out(subnet: str, tables: list[Any], *, public: bool) -> bool:
    """Return True if the route table of a subnet has an active route to the internet.

    Parameters
    ----------
    subnet : str
    tables : list
        ``RouteTables`` of the VPC.
    public : bool
        Require an internet gateway, without which public addresses do not work.
    """
    return any(
        route.get("DestinationCidrBlock") == "0.0.0.0/0" and (not public or _is_gateway(route))
        for route in _routes(subnet, tables)
    )


def _has_gateway(subnet: str, tables: list[Any]) -> bool:
    return any(_is_gateway(route) for route in _routes(subnet, tables))


def _is_gateway(route: Any) -> bool:
    return str(route.get("GatewayId", "")).startswith("igw-")


def _routes(subnet: str, tables: list[Any]) -> list[Any]:
    """Return the active routes of a subnet: of its own tables, else of the main one."""
    chosen = [table for table in tables if _holds(table, "SubnetId", subnet)]
    chosen = chosen or [table for table in tables if _holds(table, "Main", True)]
    return [
        route
        for table in chosen
        for route in table.get("Routes", ())
        if route.get("State", "active") == "active"
    ]


def _holds(table: Any, key: str, value: object) -> bool:
    return any(one.get(key) == value for one in table.get("Associations", ()))


# ---- the caller's address -----------------------------------------------------------------------


def allowed_cidr(settings: AwsConfig) -> str:
    """Return the addresses that may connect: ``allow_cidr``, or the caller's address.

    Raises
    ------
    NodeError
        If the address cannot be determined.
    """
    return settings.allow_cidr or f"{caller_address(address_url(settings))}/32"


def address_url(settings: AwsConfig) -> str:
    """Return the URL that reports the caller's address.

    A private cloud (``AWS_ENDPOINT_URL``) sees another address than the internet does, so its own
    ``/checkip`` is used unless the config names a URL.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "").rstrip("/")
    if endpoint and settings.address_url == AwsConfig.address_url:
        return f"{endpoint}/checkip"
    return settings.address_url


def caller_address(url: str) -> str:
    """Return the IPv4 address of this machine as the server at `url` sees it.

    Proxies are bypassed, because SSH connections bypass them too.

    Raises
    ------
    NodeError
        If there is no valid answer.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=limits.EC2_ADDRESS) as answer:
            text = answer.read(200).decode("ascii").strip()
        return str(ipaddress.IPv4Address(text))
    except (OSError, ValueError) as error:
        raise NodeError(
            f"the address of this machine cannot be found out at {url} ({error}): set allow_cidr "
            'under [aws] to the addresses that may connect to the nodes, such as "203.0.113.7/32"'
        ) from error


# ---- the group of a run -------------------------------------------------------------------------


def open_group(clients: Clients, mark: RunMark, settings: AwsConfig, vpc: str, cidr: str) -> str:
    """Create or find the run's security group, and admit `cidr` only.

    Returns
    -------
    group_id : str

    Raises
    ------
    NodeError
        If the API refuses.
    """
    action = "ec2:CreateSecurityGroup"
    try:
        group_id, fresh = _make_group(clients, mark, settings, vpc)
        action = "ec2:AuthorizeSecurityGroupIngress"
        retried(
            lambda: (_authorize if fresh else let_in)(clients, group_id, cidr),
            action,
            clients.region,
            again=frozenset({Decision.NOT_YET_VISIBLE, Decision.BACK_OFF}),
            seconds=limits.EC2_GROUP_VISIBLE,
        )
    except api_errors() as error:
        raise NodeError(judge(error, action, clients.region).text) from error
    return group_id


def _make_group(clients: Clients, mark: RunMark, settings: AwsConfig, vpc: str) -> tuple[str, bool]:
    """Return the group's id, and True if it was created now."""
    name = f"skygrid-{mark.run_id}"
    tags = run_tags(mark, settings) | {"Name": f"skygrid {mark.name}"}
    try:
        made = clients.ec2.create_security_group(
            GroupName=name,
            # EC2 allows few characters here; names of runs have no others.
            Description=f"skygrid run {mark.name}: SSH from where it was started",
            VpcId=vpc,
            TagSpecifications=specifications(("security-group",), tags),
        )
    except api_errors() as error:
        if code_of(error) != "InvalidGroup.Duplicate":
            raise
        there = _described(clients, "security_groups", {"group-name": [name], "vpc-id": [vpc]})
        return str(there[0]["GroupId"]), False
    return str(made["GroupId"]), True


def let_in(clients: Clients, group_id: str, cidr: str) -> None:
    """Admit `cidr` in a group and revoke all other addresses."""
    old = _admitted(clients, group_id)
    if cidr not in old:
        _authorize(clients, group_id, cidr)
    gone = tuple(one for one in old if one != cidr)
    if gone:
        clients.ec2.revoke_security_group_ingress(GroupId=group_id, IpPermissions=[ssh_from(*gone)])


def _authorize(clients: Clients, group_id: str, cidr: str) -> None:
    try:
        clients.ec2.authorize_security_group_ingress(
            GroupId=group_id, IpPermissions=[ssh_from(cidr)]
        )
    except api_errors() as error:
        if code_of(error) != "InvalidPermission.Duplicate":
            raise


def _admitted(clients: Clients, group_id: str) -> tuple[str, ...]:
    (group,) = clients.ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    return tuple(
        ranges["CidrIp"]
        for permission in group.get("IpPermissions", ())
        for ranges in permission.get("IpRanges", ())
    )


def ssh_from(*cidrs: str) -> dict[str, Any]:
    """Return EC2's permission for these addresses to connect to port 22."""
    return {
        "IpProtocol": "tcp",
        "FromPort": SSH_PORT,
        "ToPort": SSH_PORT,
        "IpRanges": [{"CidrIp": one, "Description": "skygrid"} for one in cidrs],
    }
