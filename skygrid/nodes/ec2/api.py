"""Clients of the AWS API: region, credentials and bounded retries."""

from __future__ import annotations

import getpass
import os
import platform
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from skygrid.config import AwsConfig, limits
from skygrid.errors import ConfigError, NodeError

from .api_errors import judge

CALLS_AT_ONCE = 40
"""Maximum number of pooled connections to one service; each node's thread may hold one."""


PRICING_REGION = "us-east-1"
"""The price list API exists in few regions and answers for all:
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html"""


def api_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of a refused or unanswered call, for an ``except`` clause."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return ClientError, BotoCoreError, ResponseParserError


def words_of(kind: str) -> str:
    """Return the key of a kind in answers of EC2: ``SecurityGroups`` for ``security_groups``."""
    return "".join(word.capitalize() for word in kind.split("_"))


class Clients:
    """Clients of the AWS API for one region, made at first use.

    Threads may share boto3 clients but must not make them concurrently, hence the lock.

    Parameters
    ----------
    session : boto3.session.Session
    region : str
    """

    def __init__(self, session: Any, region: str) -> None:
        self._session = session
        self.region = region
        self._made: dict[tuple[str, int], Any] = {}
        self._lock = threading.RLock()

    @property
    def ec2(self) -> Any:
        """EC2 with botocore's retries, for calls that may be repeated."""
        return self._client("ec2")

    @property
    def ec2_once(self) -> Any:
        """EC2 without retries, for launches: the launcher decides by the error."""
        return self._client("ec2", attempts=1)

    @property
    def ssm(self) -> Any:
        """Systems Manager, for the public parameters of images."""
        return self._client("ssm")

    @property
    def s3(self) -> Any:
        """S3 in the region of the run."""
        return self._client("s3")

    @property
    def kms(self) -> Any:
        """Keys, for the one that encrypts volumes."""
        return self._client("kms")

    @property
    def pricing(self) -> Any:
        """The price list, without retries."""
        return self._client("pricing", attempts=1)

    @property
    def quotas(self) -> Any:
        """Service quotas."""
        return self._client("service-quotas")

    @cached_property
    def caller(self) -> Mapping[str, str]:
        """``Account``, ``Arn`` and ``UserId`` of the caller.

        Raises
        ------
        NodeError
            If credentials are missing or not accepted.
        """
        try:
            return dict(self._client("sts").get_caller_identity())
        except api_errors() as error:
            raise NodeError(judge(error, "sts:GetCallerIdentity", self.region).text) from error

    @property
    def account(self) -> str:
        """Number of the account that pays."""
        return str(self.caller["Account"])

    def described(
        self, kind: str, filters: Mapping[str, Sequence[str]], **arguments: Any
    ) -> list[Any]:
        """Return all resources of a kind, over all pages.

        Parameters
        ----------
        kind : str
            As in the names of boto3's calls: ``security_groups``.
        filters : mapping of str to sequence of str
        **arguments
            Further arguments of the call.

        Raises
        ------
        Exception
            An error of `api_errors`.
        """
        listed = [{"Name": name, "Values": list(values)} for name, values in filters.items()]
        pages = self.ec2.get_paginator(f"describe_{kind}").paginate(Filters=listed, **arguments)
        if kind == "instances":
            groups = [group for page in pages for group in page["Reservations"]]
            return [one for group in groups for one in group["Instances"]]
        return [one for page in pages for one in page[words_of(kind)]]

    def _client(self, service: str, attempts: int = 4) -> Any:
        with self._lock:
            found = self._made.get((service, attempts))
            if found is None:
                found = self._made[service, attempts] = self._make(service, attempts)
            return found

    def _make(self, service: str, attempts: int) -> Any:
        from botocore.config import Config

        pricing = service == "pricing"
        config = Config(
            connect_timeout=5,
            read_timeout=limits.EC2_PRICE_ANSWER if pricing else limits.EC2_ANSWER,
            max_pool_connections=CALLS_AT_ONCE,
            retries={"mode": "adaptive" if attempts > 1 else "standard"}
            | {"total_max_attempts": attempts},
            user_agent_extra="skygrid",
        )
        region = PRICING_REGION if pricing else self.region
        return self._session.client(service, region_name=region, config=config)


def open_clients(
    settings: AwsConfig, environment: Mapping[str, str] | None = None, region: str | None = None
) -> Clients:
    """Return clients with the profile and region that the AWS CLI would use; no call is made.

    Parameters
    ----------
    settings : AwsConfig
        ``profile`` and ``region`` override the environment.
    environment : mapping of str to str, optional
        Default: ``os.environ``.
    region : str, optional
        Overrides the region of the settings.

    Raises
    ------
    ConfigError
        If the profile does not exist or no region is configured.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ProfileNotFound

    environment = os.environ if environment is None else environment
    try:
        session = boto3.session.Session(profile_name=settings.profile)
        # The AWS CLI reads AWS_REGION, but boto3 does not:
        # https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html
        chosen = region or settings.region or environment.get("AWS_REGION") or session.region_name
    except ProfileNotFound as error:
        raise ConfigError(_no_profile(settings, environment, error)) from None
    except BotoCoreError as error:
        raise ConfigError(f"the AWS configuration cannot be read: {error}") from error
    if not chosen:
        raise ConfigError(
            'no AWS region is chosen: write region = "eu-central-1" (or another) under [aws] in '
            "the config file, or set AWS_REGION, or run `aws configure`"
        )
    return Clients(session, chosen)


def _no_profile(settings: AwsConfig, environment: Mapping[str, str], error: Exception) -> str:
    import botocore.session

    there = ", ".join(botocore.session.Session().available_profiles) or "none"
    origin = "profile under [aws]" if settings.profile else "AWS_PROFILE"
    name = settings.profile or environment.get("AWS_PROFILE") or str(error)
    return f"{origin} is {name!r}, and the AWS configuration has no such profile; it has: {there}"


def owner_of(clients: Clients) -> str:
    """Return the owner of a run for its tags: the caller's ARN, then user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in the password database
        user = str(os.getuid())
    return f"{clients.caller['Arn']} {user}@{platform.node()}"
