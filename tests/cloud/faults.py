"""How the cloud is told to misbehave: frozen records, and what they mean for one call."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from tests.cloud.api import ApiError, Request, permission

MOST_SKEW_SECONDS = 300
"""How wrong a signature's time may be."""

Market = Literal["on-demand", "spot"]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Where capacity comes from; each field is a pattern, ``*`` by default."""

    zone: str = "*"
    instance_type: str = "*"
    market: str = "*"

    def holds(self, zone: str, instance_type: str, market: str) -> bool:
        """Whether this pool is meant."""
        return (
            fnmatchcase(zone, self.zone)
            and fnmatchcase(instance_type, self.instance_type)
            and fnmatchcase(market, self.market)
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the cloud is like; all seconds are of real time."""

    caller: str = "203.0.113.10"
    """The address that the caller has, for the firewall and for ``/checkip``."""

    jump_address: str = "172.31.255.10"
    """The address that a jump host has for the firewall of private addresses."""

    pending_seconds: float = 0.0
    """From RunInstances to `running`."""

    boot_seconds: float = 0.0
    """From RunInstances to the first step of user-data."""

    boot_step_seconds: float = 0.0
    """Each instance boots by so much longer than the one before: they do not come all at once."""

    key_seconds: float = 0.0
    """sshd answers for so long before the users' keys are in place."""

    invisible_seconds: float = 0.0
    """A new instance does not exist for other calls for so long."""

    shutdown_seconds: float = 0.0
    """An instance whose end was asked for stays `shutting-down` for so long."""

    interface_seconds: float = 0.0
    """Its security groups stay in use for so long after it is `terminated`."""

    on_demand_vcpus: int = 640
    spot_vcpus: int = 640
    spot_count: int | None = None
    """Spot instances that may run at a time; None: only the vCPUs count."""

    lacking: tuple[Pool, ...] = ()
    """Pools without capacity."""

    denied: tuple[str, ...] = ()
    """Actions that the caller may not do, e.g. ``ec2:RunInstances``; patterns."""

    clock_seconds: float = 0.0
    """How far the cloud's clock is ahead of the caller's."""

    expired: bool = False
    """The caller's credentials are no longer valid."""

    unreachable: int = 0
    """The next so many instances boot, and their addresses stay silent."""

    dead: int = 0
    """The next so many instances run for the API and never boot."""

    mounts: tuple[str, ...] = ()
    """Folders of this machine that new instances have too, at the same place."""

    shared: str | None = None
    """Folder of environments that instances share, or None."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Calls that go wrong.

    `what` is ``error`` (answered so, not executed), ``cut`` (executed, and the connection ends
    before the answer), ``late`` (executed, answered after `seconds`).
    """

    action: str
    """As ``ec2:TerminateInstances``; a pattern."""

    what: Literal["error", "cut", "late"] = "error"
    code: str = "InternalError"
    message: str = "An internal error has occurred"
    status: int = 500
    seconds: float = 0.0
    after: int = 0
    """Calls that still go well."""

    times: int | None = 1
    """How many go wrong then; None: all."""


@dataclass(kw_only=True)
class _Counted:
    failure: Failure
    seen: int = 0


@dataclass(kw_only=True)
class Faults:
    """What is set now, and how often each failure has come."""

    settings: Settings = field(default_factory=Settings)
    failures: list[_Counted] = field(default_factory=list)

    def change(self, **values: Any) -> None:
        """Set some of the settings."""
        self.settings = dataclasses.replace(self.settings, **values)

    def reset(self, **values: Any) -> None:
        """Nothing goes wrong any more; everything is at its default but these."""
        self.settings = Settings(**values)
        self.failures.clear()

    def add(self, failure: Failure) -> None:
        """Have calls go wrong from now on."""
        self.failures.append(_Counted(failure=failure))

    def next_failure(self, name: str) -> Failure | None:
        """What goes wrong with a call of this action that arrives now, if anything."""
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
    """Values of settings as JSON has them, as `Settings` wants them."""
    values = dict(document)
    if "lacking" in values:
        values["lacking"] = tuple(Pool(**pool) for pool in values["lacking"])
    for name in {"denied", "mounts"} & values.keys():
        values[name] = tuple(values[name])
    return values


def check_caller(request: Request, settings: Settings) -> None:
    """Refuse who may not do this.

    Raises
    ------
    ApiError
        With the code that each service has for it.
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
    """Permissions that a call needs besides its own."""
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
