"""A caller who launches instances and logs in by hand, for tests of the cloud itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.cloud.client import REGION, Cloud, wait
from tests.cloud.extras import IMAGES
from tests.sshd import make_key

CALLER = "203.0.113.10"


class Caller:
    """A login key, a host key, a security group and default launch parameters."""

    def __init__(self, cloud: Cloud, folder: Path, *, ingress: str | None = f"{CALLER}/32") -> None:
        self.cloud = cloud
        self.ec2 = cloud.client("ec2")
        self._folder = folder
        self.key = folder / "key"
        self.public_key = make_key(self.key, "caller")
        self.host_public_key = make_key(folder / "host", "host")
        self.group: str = self.ec2.create_security_group(GroupName="g", Description="g")["GroupId"]
        if ingress is not None:
            self.allow(ingress)

    def allow(self, cidr: str) -> None:
        """Allow SSH from this block of addresses."""
        self.ec2.authorize_security_group_ingress(
            GroupId=self.group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp=cidr
        )

    def cloud_config(self, **more: Any) -> str:
        """Return user-data that authorises this caller's key and sets the host key."""
        config = {
            "ssh_authorized_keys": [self.public_key],
            "ssh_keys": {
                "ed25519_private": (self._folder / "host").read_text(),
                "ed25519_public": self.host_public_key,
            },
            **more,
        }
        return f"#cloud-config\n{json.dumps(config)}\n"

    def launch(self, user_data: str | bytes | None = None, **parameters: Any) -> str:
        """Launch one instance and return its id."""
        return self.launch_all(user_data, **parameters)[0]

    def launch_all(self, user_data: str | bytes | None = None, **parameters: Any) -> list[str]:
        given = {
            "ImageId": IMAGES["x86_64"],
            "InstanceType": "c7i.xlarge",
            "MinCount": 1,
            "MaxCount": 1,
            "UserData": self.cloud_config() if user_data is None else user_data,
            "SecurityGroupIds": [self.group],
            "InstanceInitiatedShutdownBehavior": "terminate",
            **parameters,
        }
        answer = self.ec2.run_instances(**given)
        return [str(one["InstanceId"]) for one in answer["Instances"]]

    def describe(self, instance_id: str) -> dict[str, Any]:
        """Return the API's description of an instance."""
        answer = self.ec2.describe_instances(InstanceIds=[instance_id])
        found: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
        return found

    def state(self, instance_id: str) -> str:
        return str(self.describe(instance_id)["State"]["Name"])

    def wait_state(self, instance_id: str, state: str) -> None:
        """Wait until the API reports this state."""
        wait(lambda: self.state(instance_id) == state, lambda: f"{instance_id} to be {state}")

    def address(self, instance_id: str) -> str:
        return str(self.describe(instance_id)["PublicIpAddress"])

    def ready(self, instance_id: str, name: str = "ubuntu") -> str:
        """Wait until a login succeeds and return the address."""
        address = self.address(instance_id)
        wait(
            lambda: self.ssh(address, "true", name=name).returncode == 0,
            lambda: f"a login: {self.ssh(address, 'true', name=name).stderr}",
        )
        return address

    def ssh(
        self,
        address: str,
        command: str,
        *options: str,
        name: str = "ubuntu",
        key: Path | None = None,
        seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host; fails unless it has the host key of this caller."""
        return subprocess.run(
            self.ssh_words(address, command, *options, name=name, key=key),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def ssh_words(
        self,
        address: str,
        command: str,
        *options: str,
        name: str = "ubuntu",
        key: Path | None = None,
    ) -> list[str]:
        """Return the OpenSSH command line for `ssh`."""
        known = self._folder / "known_hosts"
        known.write_text(f"* {self.host_public_key}\n")
        return [
            *("ssh", "-F", "/dev/null", *options, "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"),
            *("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"),
            *("-o", "IdentitiesOnly=yes", "-i", str(key or self.key)),
            *(f"{name}@{address}", command),
        ]

    def end(self, *instance_ids: str) -> None:
        """Terminate these instances, wait until they are terminated and delete the group."""
        if instance_ids:
            self.ec2.terminate_instances(InstanceIds=list(instance_ids))
        for one in instance_ids:
            self.wait_state(one, "terminated")
        self.ec2.delete_security_group(GroupId=self.group)


def subnet_without_a_route(cloud: Cloud, zone: str = f"{REGION}a") -> str:
    """Make a subnet of the default VPC without a route to the internet and return its id."""
    ec2 = cloud.client("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]
    subnet: str = ec2.create_subnet(
        VpcId=vpc["VpcId"], CidrBlock="172.31.240.0/24", AvailabilityZone=zone
    )["Subnet"]["SubnetId"]
    table = ec2.create_route_table(VpcId=vpc["VpcId"])["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    return subnet
