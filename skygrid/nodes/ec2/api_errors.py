"""Classification of AWS API errors: the next step, and the message for the user.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (November 2025).
botocore is not imported; its errors are recognised by shape and name.
"""

from __future__ import annotations

import re
from enum import Enum

import msgspec

from .quotas import OTHER, VCPU_CODES, quota_page, vcpu_quota
from .records import Pool


class Decision(Enum):
    """Reaction to a failed call."""

    NEXT_POOL = "next pool"
    """No capacity of this type on this market in this zone."""

    QUOTA = "quota"
    """A quota of the account is used up; other pools of the same market would fail too."""

    BACK_OFF = "back off"
    """Throttling or a temporary fault: repeat the call later."""

    NEW_TOKEN = "new token"
    """The client token was used up: repeat the call with another."""

    NOT_YET_VISIBLE = "not yet visible"
    """A new resource is not visible everywhere yet, or is already gone."""

    IN_USE = "in use"
    """The resource cannot be deleted while another one uses it."""

    NOT_ALLOWED = "not allowed"
    EXPIRED = "expired"
    """The credentials are missing, wrong or expired."""

    STOP = "stop"


THROTTLED = frozenset(
    {
        "EC2ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Codes of throttled calls, which were certainly not executed."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A failed call with its classification."""

    decision: Decision
    code: str
    text: str
    """The problem and the next step, for the user."""

    @property
    def maybe_done(self) -> bool:
        """True if the call may have been executed: no answer, or a 5xx that is not throttling."""
        return self.decision is Decision.BACK_OFF and self.code not in THROTTLED


_BY_CODE: dict[Decision, frozenset[str]] = {
    Decision.NEXT_POOL: frozenset(
        {
            "InsufficientAddressCapacity",
            "InsufficientCapacity",
            "InsufficientCapacityOnHost",
            "InsufficientFreeAddressesInSubnet",
            "InsufficientHostCapacity",
            "InsufficientInstanceCapacity",
            "InsufficientReservedInstanceCapacity",
            "SpotMaxPriceTooLow",
            "Unsupported",
            "UnsupportedOperation",
        }
    ),
    Decision.QUOTA: VCPU_CODES | OTHER.keys(),
    Decision.BACK_OFF: THROTTLED
    | frozenset(
        {
            "ConnectTimeoutError",
            "ConnectionClosedError",
            "ConnectionError",
            "EndpointConnectionError",
            "HTTPClientError",
            "IncompleteReadError",
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "PriorRequestNotComplete",
            "ProxyConnectionError",
            "ReadTimeoutError",
            "RequestTimeout",
            "ResponseParserError",
            "ResponseStreamingError",
            "ServiceUnavailable",
            "Unavailable",
        }
    ),
    Decision.NEW_TOKEN: frozenset({"IdempotentInstanceTerminated", "IdempotentParameterMismatch"}),
    Decision.IN_USE: frozenset({"DependencyViolation", "InvalidGroup.InUse"}),
    Decision.NOT_ALLOWED: frozenset(
        {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}
    ),
    Decision.EXPIRED: frozenset(
        {
            "AuthFailure",
            "CredentialRetrievalError",
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "NoAuthTokenError",
            "NoCredentialsError",
            "PartialCredentialsError",
            "RequestExpired",
            "SSOTokenLoadError",
            "SignatureDoesNotMatch",
            "TokenRefreshRequired",
            "TokenRetrievalError",
            "UnauthorizedSSOTokenError",
            "UnrecognizedClientException",
        }
    ),
}
_VISIBLE_LATER = frozenset(
    {
        "InvalidGroup.NotFound",
        "InvalidInstanceID.NotFound",
        "InvalidNetworkInterfaceID.NotFound",
        "InvalidSecurityGroupID.NotFound",
    }
)
"""Resources that may be invisible for a moment after their creation; others never appear later."""

_DECISIONS = {code: decision for decision, codes in _BY_CODE.items() for code in codes}


def judge(error: BaseException, action: str, region: str, pool: Pool | None = None) -> Failure:
    """Classify a failed call.

    Parameters
    ----------
    error : Exception
        A ``ClientError`` of boto3, or a ``BotoCoreError`` if there was no answer.
    action : str
        Name of the call in IAM: ``ec2:RunInstances``.
    region : str
    pool : Pool, optional
        Pool of a launch, whose quota may be used up.

    Returns
    -------
    failure : Failure
    """
    code, message = code_of(error), _message(error)
    decision = _decision(error, code)
    text = (
        _quota_text(code, message, region, pool)
        if decision is Decision.QUOTA
        else _text(decision, code, message, action, region)
    )
    return Failure(decision=decision, code=code, text=text)


def code_of(error: BaseException) -> str:
    """Return the API's error code, or the name of the exception's class if there was no answer."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", "")) or "Unknown"
    return type(error).__name__


def _message(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Message", ""))
    return str(error)


def _decision(error: BaseException, code: str) -> Decision:
    plain = _plain(code)
    if plain in _DECISIONS:
        return _DECISIONS[plain]
    if plain in _VISIBLE_LATER:
        return Decision.NOT_YET_VISIBLE
    return Decision.BACK_OFF if _status(error) >= 500 else Decision.STOP


def _plain(code: str) -> str:
    # Some services, and some answers of EC2, prefix codes with "Client." or "Server.".
    return re.sub(r"^(Client|Server)\.", "", code)


def _status(error: BaseException) -> int:
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return 0
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)


def _quota_text(code: str, message: str, region: str, pool: Pool | None) -> str:
    quota = OTHER.get(_plain(code))
    if quota is None and pool is not None:
        quota = vcpu_quota(pool.market, pool.instance_type)
        name = f"for {pool.instance_type} on the {pool.market} market"
    else:
        name = "for vCPUs of instances"
    name = name if quota is None else f'"{quota.name}"'
    return (
        f"the quota {name} of the account in {region} is used up ({_said(code, message)}). Ask for "
        f"more at {quota_page(quota, region)}, or take fewer nodes or smaller types."
    )


def _said(code: str, message: str) -> str:
    return f"{code}: {_one_line(message)}" if message else code


def _text(decision: Decision, code: str, message: str, action: str, region: str) -> str:
    said = _said(code, message)
    match decision:
        case Decision.NOT_ALLOWED:
            return (
                f"the credentials do not allow {missing_action(message, action)} in {region}: add "
                f"it to their IAM policy; guides/aws.md has one that is enough ({said})"
            )
        case Decision.EXPIRED:
            return _credentials_text(code, said)
        case Decision.BACK_OFF:
            return f"{action} in {region} did not succeed: {said}"
        case Decision.STOP if code in _ACCOUNT_TEXTS:
            return f"{_ACCOUNT_TEXTS[code]} ({said})"
        case _:
            return f"{action} in {region} failed: {said}"


_ACCOUNT_TEXTS = {
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        "the account has never used spot instances and the credentials may not prepare it: a user "
        "with that right should run `aws iam create-service-linked-role --aws-service-name "
        "spot.amazonaws.com` once"
    ),
    "Blocked": "AWS has blocked the account: see its support page",
    "OptInRequired": "the account is not signed up for this service or region: enable it first",
    "PendingVerification": "AWS is still verifying the account for this region: try again later",
    "InvalidAMIID.Malformed": "ami under [aws] is not the id of an image",
}


def missing_action(message: str, action: str) -> str:
    """Return the denied IAM action: the one in the message, else the call's own."""
    found = re.search(r"not authorized to perform:? ([a-z0-9-]+:[A-Za-z0-9]+)", message)
    return found[1] if found else action


def _credentials_text(code: str, said: str) -> str:
    if code in ("NoCredentialsError", "NoAuthTokenError"):
        return (
            "there are no AWS credentials: run `aws configure` or `aws sso login`, or set "
            "AWS_PROFILE"
        )
    if code in ("RequestExpired", "SignatureDoesNotMatch"):
        return (
            f"AWS refuses the signature of the call ({said}): set this machine's clock, and renew "
            "the credentials (`aws sso login`, or new access keys)"
        )
    return (
        f"the AWS credentials are not accepted or have expired ({said}): renew them "
        "(`aws sso login`, or new access keys)"
    )


def _one_line(message: str) -> str:
    # Drop the encoded text of hundreds of characters for `aws sts decode-authorization-message`.
    text = re.sub(r"\s*Encoded authorization failure message: \S+", "", message)
    return " ".join(text.split())[:400]
