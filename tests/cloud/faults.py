"""Frozen records of the cloud's faults, and their effect on one call."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from tests.cloud.api import ApiError, Request, permission

MOST_SKEW_SECONDS = 300
"""Largest error of a signature's time that AWS accepts."""

Market = Literal["on-demand", "spot"]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Capacity of a zone, type and market; each field is a pattern, ``*`` by default."""

    zone: str = "*"
    instance_type: str = "*"
    market: str = "*"

    def holds(self, zone: str, instance_type: str, market: str) -> bool:
        """Return whether the pool contains this zone, type and market."""
        return (
            fnmatchcase(zone, self.zone)
            and fnmatchcase(instance_type, self.instance_type)
            and fnmatchcase(market, self.market)
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Properties of the cloud; all seconds are real time."""

    caller: str = "203.0.113.10"
    """Address of the caller, for the firewall and for ``/checkip``."""

    jump_address: str = "172.31.255.10"
    """Address of a jump host, for the firewall of private addresses."""

    pending_seconds: float = 0.0
    """Time from RunInstances to `running`."""

    boot_seconds: float = 0.0
    """Time from RunInstances to the first step of user-data."""

    boot_step_seconds: float = 0.0
    """Additional boot time of each instance over the one before, so that they start one by one."""

    key_seconds: float = 0.0
    """Time between the start of sshd and the installation of the users' keys."""

    invisible_seconds: float = 0.0
    """Time for which other calls do not find a new instance."""

    shutdown_seconds: float = 0.0
    """Shortest time that an instance stays `shutting-down`."""

    interface_seconds: float = 0.0
    """Time for which security groups stay in use after their instance is `terminated`."""

    on_demand_vcpus: int = 640
    spot_vcpus: int = 640
    spot_count: int | None = None
    """Spot instances that may run at a time; None: only vCPUs are limited."""

    lacking: tuple[Pool, ...] = ()
    """Pools without capacity."""

    denied: tuple[str, ...] = ()
    """Patterns of actions that the caller may not use, e.g. ``ec2:RunInstances``."""

    clock_seconds: float = 0.0
    """Seconds by which the cloud's clock is ahead of the caller's."""

    expired: bool = False
    """The caller's credentials are no longer valid."""

    volume_key: str = "alias/aws/ebs"
    """Default key of the account's volumes. With another one, instances end at once unless the
    caller may use ``kms:CreateGrant``."""

    volume_key_state: str = "Enabled"

    unreachable: int = 0
    """Number of next instances that boot but whose addresses stay silent."""

    dead: int = 0
    """Number of next instances that the API reports as running but that never boot."""

    mounts: tuple[str, ...] = ()
    """Folders of this machine that new instances mount at the same path."""

    shared: str | None = None
    """Folder of environments that instances share, or None."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure of calls to one action.

    `what` is ``error`` (answered with an error, not executed), ``cut`` (executed, then disconnected
    before the answer) or ``late`` (executed, answered after `seconds`).
    """

    action: str
    """Pattern, e.g. ``ec2:TerminateInstances``."""

    what: Literal["error", "cut", "late"] = "error"
    code: str = "InternalError"
    message: str = "An internal error has occurred"
    status: int = 500
    seconds: float = 0.0
    after: int = 0
    """Number of calls that succeed first."""

    times: int | None = 1
    """Number of calls that fail after that; None: all."""


@dataclass(kw_only=True)
class _Counted:
    failure: Failure
    seen: int = 0


@dataclass(kw_only=True)
class Faults:
    """The current settings, and a count of calls per failure."""

    settings: Settings = field(default_factory=Settings)
    failures: list[_Counted] = field(default_factory=list)

    def change(self, **values: Any) -> None:
        self.settings = dataclasses.replace(self.settings, **values)

    def reset(self, **values: Any) -> None:
        """Remove all failures and set every setting to its default, except these."""
        self.settings = Settings(**values)
        self.failures.clear()

    def add(self, failure: Failure) -> None:
        """Make calls fail from now on."""
        self.failures.append(_Counted(failure=failure))

    def next_failure(self, name: str) -> Failure | None:
        """Return the failure that applies to the next call of this action, if any."""
        for counted in self.failures:
            failure = counted.failure
            if not fnmatchcase(name, failure.action):
                continue
            counted.seen += 1
            number = counted.seen - failure.after
            if number >= 1 and (failure.times is None or number <= failure.times):
                return failure
        return None


def settings_from(document: dict[str, Any]) -> dict[str, Any]:
    """Convert settings from JSON types to those of `Settings`."""
    values = dict(document)
    if "lacking" in values:
        values["lacking"] = tuple(Pool(**pool) for pool in values["lacking"])
    for name in {"denied", "mounts"} & values.keys():
        values[name] = tuple(values[name])
    return values


def check_caller(request: Request, settings: Settings) -> None:
    """Refuse a call that the caller may not make.

    Raises
    ------
    ApiError
        With the error code that this service uses.
    """
    service = request.service
    if settings.expired:
        if service == "ec2":
            raise ApiError(code="RequestExpired", message="Request has expired.")
        code = "ExpiredToken" if service in {"s3", "sts"} else "ExpiredTokenException"
        text = "The security token included in the request is expired"
        raise ApiError(code=code, message=text, status=400 if service == "s3" else 403)
    if abs(settings.clock_seconds) > MOST_SKEW_SECONDS:
        text = "AWS was not able to validate the provided access credentials"
        if service == "ec2":
            raise ApiError(code="AuthFailure", message=text, status=401)
        code = "RequestTimeTooSkewed" if service == "s3" else "SignatureDoesNotMatch"
        raise ApiError(code=code, message="Signature expired", status=403)
    for name in (permission(request.name), *implied_actions(request)):
        if any(fnmatchcase(name, pattern) for pattern in settings.denied):
            raise _not_allowed(service, name)


def implied_actions(request: Request) -> list[str]:
    """Return permissions that a call needs besides its own."""
    tags = any(name.startswith("TagSpecification.") for name in request.form)
    return ["ec2:CreateTags"] if request.service == "ec2" and tags else []


def _not_allowed(service: str, name: str) -> ApiError:
    who = "arn:aws:iam::123456789012:user/skygrid"
    because = f"because no identity-based policy allows the {name} action"
    if service == "ec2":
        text = (
            "You are not authorized to perform this operation. "
            f"User: {who} is not authorized to perform: {name} {because}. "
            "Encoded authorization failure message: AAAA"
        )
        return ApiError(code="UnauthorizedOperation", message=text, status=403)
    code = "AccessDenied" if service in {"s3", "sts"} else "AccessDeniedException"
    text = f"User: {who} is not authorized to perform: {name} {because}"
    return ApiError(code=code, message=text, status=403 if service in {"s3", "sts"} else 400)
