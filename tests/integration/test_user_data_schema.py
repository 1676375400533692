"""User-data as cloud-init itself sees it."""

from __future__ import annotations

import pytest

from skygrid.nodes.ec2.launch.user_data import user_data
from tests.cloud.schema import check_user_data
from tests.unit.nodes.ec2.test_keys import orders

pytestmark = pytest.mark.cloud


def test_cloud_init_takes_the_user_data() -> None:
    """cloud-init's own schema command has nothing to say against it."""
    check_user_data(user_data(orders()))
