"""The key that encrypts new volumes: nodes do not start without the right to use it.

An account may replace the key that AWS manages by one of its own. Launches then need permissions
for that key, and without them the instance ends right after ``RunInstances`` has succeeded:
https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
"""

from __future__ import annotations

from skygrid.nodes.ec2.api import Clients, api_errors
from skygrid.nodes.ec2.api_errors import Decision, judge
from skygrid.nodes.records import Finding

MANAGED_BY_AWS = "alias/aws/ebs"
NAME = "AWS volume key"
REMEDY = 'add the statement "VolumesOnlyWithAKeyOfYourOwn" of guides/aws.md to their IAM policy'


def examine_volume_key(clients: Clients) -> Finding | None:
    """Check the account's default key for volumes; None if AWS manages it.

    Parameters
    ----------
    clients : Clients
    """
    action, key = "ec2:GetEbsDefaultKmsKeyId", ""
    try:
        key = str(clients.ec2.get_ebs_default_kms_key_id()["KmsKeyId"])
        if key.endswith(MANAGED_BY_AWS):
            return None
        action = "kms:DescribeKey"
        found = clients.kms.describe_key(KeyId=key)["KeyMetadata"]
    except api_errors() as error:
        failure = judge(error, action, clients.region)
        return refused(key, failure.text, denied=failure.decision is Decision.NOT_ALLOWED)
    return finding(key, found["KeyManager"], found["KeyState"])


def refused(key: str, text: str, *, denied: bool) -> Finding:
    """Return the finding about a key, possibly unknown, that cannot be looked at."""
    if not key:
        return Finding(name=NAME, notes=(f"the default key of volumes is not known: {text}",))
    problem = f"new volumes are encrypted with {key}, a key of your own: {text}"
    return Finding(name=NAME, problems=(f"{problem}; {REMEDY}" if denied else problem,))


def finding(key: str, manager: str, state: str) -> Finding | None:
    """Return the finding about a key; None if AWS manages it.

    Parameters
    ----------
    key : str
    manager, state : str
        ``KeyManager`` and ``KeyState`` of KMS.
    """
    if manager == "AWS":
        return None
    if state != "Enabled":
        problem = (
            f"new volumes are encrypted with {key}, which is {state}, so no node can start: enable "
            "it, or choose another default key for EBS"
        )
        return Finding(name=NAME, problems=(problem,))
    note = (
        f"nodes need kms:CreateGrant and other permissions for it: if they end at once with "
        f"Client.InternalError, {REMEDY}"
    )
    return Finding(
        name=NAME,
        facts=(f"new volumes are encrypted with {key}, a key of your own",),
        notes=(note,),
    )
