"""One instance: what moto records of it, and the machine, gates and metadata service behind it."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.cloud.addresses import InstanceAddresses
from tests.cloud.faults import Settings
from tests.cloud.firewall import Gate, Rule, lets_in
from tests.cloud.machine import Machine, MachineSpec
from tests.cloud.metadata import MetadataService
from tests.cloud.user_data import BootPlan, UserDataError, read_user_data

STATES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
"""The codes of EC2's InstanceState."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why an instance ended, in EC2's words."""

    code: str
    message: str
    transition: str = ""


BY_CALL = Reason(
    code="Client.UserInitiatedShutdown",
    message="Client.UserInitiatedShutdown: User initiated shutdown",
    transition="User initiated",
)
FROM_INSIDE = Reason(
    code="Client.InstanceInitiatedShutdown",
    message="Client.InstanceInitiatedShutdown: Instance initiated shutdown",
)
INTERRUPTED = Reason(
    code="Server.SpotInstanceTermination",
    message="Server.SpotInstanceTermination: Spot instance termination",
)


@dataclass(kw_only=True)
class Instance:
    """State that changes under the world's lock, and what runs outside of it."""

    record: Any
    """moto's instance."""

    region: str
    addresses: InstanceAddresses
    settings: Settings
    """Those at its launch."""

    folder: Path
    """For its files alone."""

    launched_at: float = field(default_factory=time.monotonic)
    reachable: bool = True
    bootable: bool = True
    listens_at: float | None = None
    """When its sshd was up."""

    machine: Machine | None = None
    gates: list[Gate] = field(default_factory=list)
    metadata: MetadataService | None = None
    interruption: datetime | None = None
    """When a spot instance is going to be ended."""

    ending: bool = False
    ended_at: float | None = None
    problems: list[str] = field(default_factory=list)
    """What went wrong in its boot."""

    @property
    def id(self) -> str:
        """Its instance id."""
        return str(self.record.id)

    @property
    def state(self) -> str:
        """Its state in the API."""
        return str(self.record._state.name)

    def set_state(self, name: str, reason: Reason | None = None) -> None:
        """Have the API say so."""
        self.record._state.name = name
        self.record._state.code = STATES[name]
        if reason is not None:
            self.record.state_reason.code = reason.code
            self.record.state_reason.message = reason.message
            moment = datetime.now(UTC)
            self.record._reason = (
                f"{reason.transition} ({moment:%Y-%m-%d %H:%M:%S} GMT)" if reason.transition else ""
            )

    @property
    def is_visible(self) -> bool:
        """Whether other calls know it already."""
        return time.monotonic() >= self.launched_at + self.settings.invisible_seconds

    def group_ids(self) -> set[str]:
        """Its security groups."""
        found = {group.id for group in self.record.security_groups}
        for nic in self.record.nics.values():
            found |= {group.id for group in nic.group_set}
        return found

    def uses_group(self, group_id: str) -> bool:
        """Whether this group cannot be deleted because of it, now."""
        if group_id not in self.group_ids_at_launch:
            return False
        if self.state != "terminated" or self.ended_at is None:
            return True
        return time.monotonic() < self.ended_at + self.settings.interface_seconds

    group_ids_at_launch: frozenset[str] = frozenset()

    # ---- addresses ------------------------------------------------------------------------------

    def use_addresses(self) -> None:
        """Have the API say the addresses that are real here."""
        for nic in self.record.nics.values():
            nic.private_ip_address = self.addresses.private
            nic.private_dns_name = f"ip-{self.addresses.private.replace('.', '-')}.ec2.internal"
            nic.private_ip_addresses = [
                {"Primary": True, "PrivateIpAddress": self.addresses.private}
            ]
            if nic.public_ip:
                nic.public_ip = self.addresses.public

    @property
    def hostname(self) -> str:
        """As EC2 makes it of the private address."""
        return f"ip-{self.addresses.private.replace('.', '-')}"

    # ---- the machine ----------------------------------------------------------------------------

    def user_data(self) -> bytes:
        """What the launch said, decoded."""
        return base64.b64decode(str(self.record.user_data or ""))

    def start_metadata(self) -> None:
        """Answer at the metadata service's address."""
        self.metadata = MetadataService(self.addresses.hidden, self.look_up)

    def start_machine(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """Switch it on."""
        assert self.metadata is not None
        raw = self.user_data()
        try:
            plan = read_user_data(raw)
        except UserDataError as error:
            # As cloud-init: the machine comes up all the same, without what it was told.
            self.problems.append(f"user-data: {error}")
            plan = BootPlan()
        self.machine = Machine(self._spec(raw, plan), self.folder, tell)

    def _spec(self, raw: bytes, plan: BootPlan) -> MachineSpec:
        assert self.metadata is not None
        return MachineSpec(
            instance_id=self.id,
            address=self.addresses.hidden,
            hostname=self.hostname,
            metadata=self.metadata.url,
            user_data=raw,
            plan=plan,
            key_seconds=self.settings.key_seconds,
            mounts=self.settings.mounts,
            shared=Path(self.settings.shared) if self.settings.shared else None,
        )

    # ---- the network ----------------------------------------------------------------------------

    def open_gates(self, now: Callable[[], Settings]) -> None:
        """Have port 22 of its addresses, for whom the security groups let in."""
        hidden = self.addresses.hidden
        if self.record.public_ip:
            self.gates.append(
                Gate(
                    self.addresses.public,
                    hidden,
                    caller=lambda: now().caller,
                    admits=self._admits,
                )
            )
        self.gates.append(
            Gate(
                self.addresses.private,
                hidden,
                caller=lambda: now().jump_address,
                admits=self._admits,
                jump_only=True,
            )
        )

    def close_gates(self) -> None:
        """Have nothing at port 22 of its addresses: the kernel refuses who comes."""
        gates, self.gates = self.gates, []
        for gate in gates:
            gate.close()

    def fall_silent(self) -> None:
        """It answers nobody any more and closes no connection either, as what has no power."""
        self.reachable = False
        for gate in self.gates:
            gate.freeze()

    def _admits(self, address: str) -> bool:
        return (
            self.listens_at is not None and self.reachable and lets_in(self._rules(), address, 22)
        )

    def _rules(self) -> list[Rule]:
        backend = self.record.ec2_backend
        found = []
        for group_id in self.group_ids():
            group = backend.get_security_group_from_id(group_id)
            found += [
                Rule(
                    protocol=rule.ip_protocol,
                    first_port=rule.from_port,
                    last_port=rule.to_port,
                    cidr=rule.ip_range["CidrIp"],
                )
                for rule in (group.ingress_rules if group else ())
                if "CidrIp" in rule.ip_range
            ]
        return found

    # ---- metadata -------------------------------------------------------------------------------

    def look_up(self, path: str) -> str | None:
        """The metadata service's answer; below ``/latest/``."""
        if path == "user-data":
            return self.user_data().decode(errors="replace") or None
        return self._metadata().get(path.removeprefix("meta-data/").rstrip("/"))

    def _metadata(self) -> dict[str, str]:
        record = self.record
        found = {
            "instance-id": self.id,
            "ami-id": str(record.image_id),
            "instance-type": record.instance_type,
            "instance-life-cycle": record.lifecycle or "on-demand",
            "hostname": f"{self.hostname}.ec2.internal",
            "local-hostname": f"{self.hostname}.ec2.internal",
            "local-ipv4": self.addresses.private,
            "placement/availability-zone": str(record.availability_zone),
            "placement/region": self.region,
        }
        if record.public_ip:
            found["public-ipv4"] = record.public_ip
        if self.interruption is not None:
            moment = f"{self.interruption:%Y-%m-%dT%H:%M:%SZ}"
            found["spot/instance-action"] = f'{{"action": "terminate", "time": "{moment}"}}'
            found["spot/termination-time"] = moment
        return found

    def notice(self, seconds: float) -> None:
        """Announce its interruption."""
        self.interruption = datetime.now(UTC) + timedelta(seconds=seconds)

    # ---- the end --------------------------------------------------------------------------------

    def console(self) -> str:
        """What its boot has written."""
        path = self.folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def switch_off(self) -> None:
        """End its processes and whatever answers for it; slow, not under the lock."""
        if self.machine is not None:
            self.machine.end()
        self.disconnect()

    def disconnect(self) -> None:
        """Its addresses answer no more."""
        self.close_gates()
        metadata, self.metadata = self.metadata, None
        if metadata is not None:
            metadata.close()

    def forget(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.folder, ignore_errors=True)
