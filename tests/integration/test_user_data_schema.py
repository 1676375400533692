"""User-data against cloud-init's own schema."""

from __future__ import annotations

import pytest

from skygrid.nodes.ec2.launch.user_data import user_data
from tests.cloud.schema import check_user_data
from tests.unit.nodes.ec2.test_keys import orders

pytestmark = pytest.mark.cloud


def test_cloud_init_accepts_the_user_data() -> None:
    """cloud-init's own schema command reports no error."""
    check_user_data(user_data(orders()))
