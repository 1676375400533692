"""Region, profile and credentials of a run on AWS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skygrid.config import AwsConfig
from skygrid.errors import ConfigError, NodeError
from skygrid.nodes.ec2.api import open_clients


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """AWS configuration with a default profile, one more profile and no credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    config = tmp_path / "config"
    config.write_text("[default]\n[profile work]\nregion = eu-west-3\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def region(settings: AwsConfig) -> str:
    """Return the region that these settings lead to."""
    return open_clients(settings).region


def test_the_region_is_that_of_the_aws_cli(home: pytest.MonkeyPatch) -> None:
    """Precedence of regions: the config, AWS_REGION, AWS_DEFAULT_REGION, the profile."""
    assert region(AwsConfig(profile="work")) == "eu-west-3"
    home.setenv("AWS_DEFAULT_REGION", "us-east-2")
    assert region(AwsConfig(profile="work")) == "us-east-2"
    home.setenv("AWS_REGION", "us-west-1")
    assert region(AwsConfig(profile="work")) == "us-west-1"
    assert region(AwsConfig(profile="work", region="sa-east-1")) == "sa-east-1"
    assert open_clients(AwsConfig(region="sa-east-1"), region="us-east-1").region == "us-east-1"


def test_aws_profile_chooses_the_profile(home: pytest.MonkeyPatch) -> None:
    """AWS_PROFILE chooses the profile, as it does for the AWS CLI."""
    home.setenv("AWS_PROFILE", "work")

    assert region(AwsConfig()) == "eu-west-3"


def test_a_missing_region_is_named(home: pytest.MonkeyPatch) -> None:
    """Without a region no call is made, and the message says where to write one."""
    with pytest.raises(ConfigError, match="no AWS region is chosen: write region") as caught:
        region(AwsConfig())
    assert caught.value.exit_code == 2


def test_an_unknown_profile_is_named_with_the_known_ones(home: pytest.MonkeyPatch) -> None:
    """An unknown profile is refused, and the profiles of the configuration are listed."""
    with pytest.raises(ConfigError, match=r"under \[aws\] is 'wrok', .*: default, work"):
        region(AwsConfig(profile="wrok"))
    home.setenv("AWS_PROFILE", "wrok")
    with pytest.raises(ConfigError, match=r"AWS_PROFILE is 'wrok'"):
        region(AwsConfig())


def test_missing_credentials_are_named(home: pytest.MonkeyPatch) -> None:
    """Without credentials the first call raises an error with a remedy and exit code 3."""
    clients = open_clients(AwsConfig(region="eu-west-1"))

    with pytest.raises(NodeError, match="no AWS credentials: run `aws configure`") as caught:
        _ = clients.account
    assert caught.value.exit_code == 3
