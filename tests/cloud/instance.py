"""One instance: moto's record with the machine, gates and metadata service behind it."""

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
"""Codes of EC2's InstanceState."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Reason for an instance's end, in EC2's words."""

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

NO_VOLUME = Reason(
    code="Client.InternalError",
    message="Client.InternalError: Client error on launch",
)
"""The end of an instance whose volume cannot be made with the account's key."""


@dataclass(kw_only=True)
class Instance:
    """One instance; the world's lock guards its state, the machine runs outside the lock."""

    record: Any
    """moto's record of the instance."""

    region: str
    addresses: InstanceAddresses
    settings: Settings
    """Settings of the cloud at the launch."""

    folder: Path
    """Folder for this instance's files only."""

    launched_at: float = field(default_factory=time.monotonic)
    reachable: bool = True
    bootable: bool = True
    listens_at: float | None = None
    """Time when its sshd started to listen."""

    machine: Machine | None = None
    gates: list[Gate] = field(default_factory=list)
    metadata: MetadataService | None = None
    interruption: datetime | None = None
    """Time when a spot instance will be ended."""

    ending: bool = False
    ended_at: float | None = None
    problems: list[str] = field(default_factory=list)
    """Errors of its boot."""

    @property
    def id(self) -> str:
        return str(self.record.id)

    @property
    def state(self) -> str:
        return str(self.record._state.name)

    def set_state(self, name: str, reason: Reason | None = None) -> None:
        """Set the state in the API."""
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
        """True once other calls can see the instance."""
        return time.monotonic() >= self.launched_at + self.settings.invisible_seconds

    def group_ids(self) -> set[str]:
        """Return the ids of its security groups."""
        found = {group.id for group in self.record.security_groups}
        for nic in self.record.nics.values():
            found |= {group.id for group in nic.group_set}
        return found

    def uses_group(self, group_id: str) -> bool:
        """Return whether this instance prevents the deletion of a security group."""
        if group_id not in self.group_ids_at_launch:
            return False
        if self.state != "terminated" or self.ended_at is None:
            return True
        return time.monotonic() < self.ended_at + self.settings.interface_seconds

    group_ids_at_launch: frozenset[str] = frozenset()

    # ---- addresses ------------------------------------------------------------------------------

    def use_addresses(self) -> None:
        """Replace moto's addresses in the API with the real ones."""
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
        """Host name that EC2 derives from the private address."""
        return f"ip-{self.addresses.private.replace('.', '-')}"

    # ---- the machine ----------------------------------------------------------------------------

    def user_data(self) -> bytes:
        """Return the decoded user-data of the launch."""
        return base64.b64decode(str(self.record.user_data or ""))

    def start_metadata(self) -> None:
        """Start the metadata service."""
        self.metadata = MetadataService(self.addresses.hidden, self.look_up)

    def start_machine(self, tell: Callable[[dict[str, Any]], None]) -> None:
        assert self.metadata is not None
        raw = self.user_data()
        try:
            plan = read_user_data(raw)
        except UserDataError as error:
            # As with cloud-init, the machine boots without its user-data.
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
        """Listen on port 22 of its addresses, for callers that the security groups admit."""
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
        """Stop listening on port 22 of its addresses: the kernel then refuses connections."""
        gates, self.gates = self.gates, []
        for gate in gates:
            gate.close()

    def fall_silent(self) -> None:
        """Stop answering without closing connections, as a machine without power."""
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
        """Return the metadata at a path below ``/latest/``, or None."""
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
        """Announce its interruption after `seconds`."""
        self.interruption = datetime.now(UTC) + timedelta(seconds=seconds)

    # ---- the end --------------------------------------------------------------------------------

    def console(self) -> str:
        """Return the output of its boot."""
        path = self.folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def switch_off(self) -> None:
        """End its processes and services. Slow: do not hold the lock."""
        if self.machine is not None:
            self.machine.end()
        self.disconnect()

    def disconnect(self) -> None:
        """Close its gates and its metadata service."""
        self.close_gates()
        metadata, self.metadata = self.metadata, None
        if metadata is not None:
            metadata.close()

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
