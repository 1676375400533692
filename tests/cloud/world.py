"""All instances of a cloud and their life cycle, in moto's records and as machines."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from tests.cloud.addresses import AddressBlock
from tests.cloud.faults import Faults, Settings
from tests.cloud.instance import BY_CALL, FROM_INSIDE, INTERRUPTED, NO_VOLUME, Instance, Reason
from tests.cloud.machine import processes_in

ACCOUNT = "123456789012"

ALIVE = frozenset({"pending", "running", "shutting-down", "stopping", "stopped"})

COUNTED = frozenset({"pending", "running"})
"""States that count against a quota."""


class World:
    """Instances by id, with one lock for them and moto's records and one for moto's S3 objects.

    Code that needs both locks takes the one for objects second.
    """

    def __init__(self, faults: Faults, say: Callable[[str], None]) -> None:
        self.faults = faults
        self.lock = threading.RLock()
        self.objects_lock = threading.RLock()
        self.instances: dict[str, Instance] = {}
        self._say = say
        self._block = AddressBlock()
        self._timers: set[threading.Timer] = set()
        self._enders: set[threading.Thread] = set()
        self._prepared: set[str] = set()
        self._own_problems: list[str] = []
        # Errors in the cloud's own threads become problems of the test.
        threading.excepthook = self._thread_failed

    def _thread_failed(self, failed: threading.ExceptHookArgs) -> None:
        assert failed.exc_value is not None
        self.failed(failed.exc_value, "a thread", ours=True)

    def failed(self, error: BaseException, what: str, *, ours: bool) -> None:
        """Record an unexpected error; moto's own errors are only printed, because clients retry.

        Parameters
        ----------
        error : BaseException
        what : str
            The operation that failed.
        ours : bool
            True if the error is the cloud's own, not moto's.
        """
        text = "".join(traceback.format_exception(error))
        if ours:
            self._own_problems.append(f"the cloud itself, {what}: {text}")
        print(f"{what}: {text}", file=sys.stderr, flush=True)

    # ---- moto's records -------------------------------------------------------------------------

    def uploads(self, bucket: str) -> frozenset[str] | None:
        """Return the ids of unfinished uploads to a bucket; None if the bucket does not exist."""
        from moto.s3.models import s3_backends

        found = s3_backends[ACCOUNT]["aws"].buckets.get(bucket)
        return None if found is None else frozenset(found.multiparts)

    def backend(self, region: str) -> Any:
        """Return moto's EC2 of a region; adds the gateway that its default VPC lacks."""
        from moto.ec2.models import ec2_backends

        backend = ec2_backends[ACCOUNT][region]
        if region not in self._prepared:
            self._prepared.add(region)
            give_gateway(backend, backend.default_vpc)
        return backend

    def remove_default_vpc(self, region: str) -> None:
        """Remove the account's default VPC."""
        backend = self.backend(region)
        vpc = backend.default_vpc
        for subnet in backend.describe_subnets(filters={"vpc-id": [vpc.id]}):
            backend.delete_subnet(subnet.id)
        for gateway in list(backend.internet_gateways.values()):
            if gateway.vpc is vpc:
                backend.detach_internet_gateway(gateway.id, vpc.id)
                backend.delete_internet_gateway(gateway.id)
        backend.delete_vpc(vpc.id)

    # ---- launch and boot -------------------------------------------------------------------------

    def add(self, region: str, record: Any) -> Instance:
        """Start a machine for a new instance of moto's; the caller holds the lock."""
        settings = self.faults.settings
        instance = Instance(
            record=record,
            region=region,
            addresses=self._block.take(),
            settings=settings,
            folder=self._block.folder / str(record.id),
        )
        instance.folder.mkdir()
        instance.group_ids_at_launch = frozenset(instance.group_ids())
        instance.reachable = settings.unreachable == 0
        instance.bootable = settings.dead == 0
        self.faults.change(
            unreachable=max(0, settings.unreachable - 1),
            dead=max(0, settings.dead - 1),
            boot_seconds=settings.boot_seconds + settings.boot_step_seconds,
        )
        instance.use_addresses()
        instance.set_state("pending")
        instance.start_metadata()
        self.instances[instance.id] = instance
        self._say(f"{instance.id} {record.instance_type} {record.availability_zone} pending")
        if settings.boot_seconds or not (instance.reachable and instance.bootable):
            instance.open_gates(lambda: self.faults.settings)  # the port exists but does not answer
        if not can_use_volume_key(settings):
            self._end([instance], NO_VOLUME)
        self._later(settings.pending_seconds, lambda: self._run(instance))
        self._later(
            max(settings.pending_seconds, settings.boot_seconds), lambda: self._boot(instance)
        )
        return instance

    def _run(self, instance: Instance) -> None:
        with self.lock:
            if instance.state == "pending":
                instance.set_state("running")
                self._say(f"{instance.id} running at {instance.record.public_ip or 'no address'}")

    def _boot(self, instance: Instance) -> None:
        with self.lock:
            if instance.ending or not instance.bootable:
                return
            if instance.reachable:
                instance.close_gates()
            instance.start_machine(lambda event: self._heard(instance, event))

    def _heard(self, instance: Instance, event: dict[str, Any]) -> None:
        """Handle an event of a machine, in that machine's thread."""
        with self.lock:
            match event["event"]:
                case "sshd" if not instance.ending:
                    instance.listens_at = time.monotonic()
                    if not instance.gates:
                        instance.open_gates(lambda: self.faults.settings)
                case "failed":
                    instance.problems.append(f"{event['step']}: {event['why']}")
                case "down" if event["how"] == "poweroff":
                    self._ended_from_inside(instance)
                case "down" if event["how"] in {"halt", "reboot"}:
                    self._say(f"{instance.id} {event['how']}: it stays running and does nothing")
                    instance.bootable = False
                    instance.fall_silent()
                case "gone" if instance.bootable:
                    # No "down" event: the kernel ended the pid namespace, or a kill did.
                    self._ended_from_inside(instance)

    def _ended_from_inside(self, instance: Instance) -> None:
        behaviour = instance.record.instance_initiated_shutdown_behavior
        if behaviour == "terminate":
            self._end([instance], FROM_INSIDE)
        elif not instance.ending:
            instance.ending = True
            instance.set_state("stopped", FROM_INSIDE)
            self._say(f"{instance.id} stopped from inside")

    # ---- shutdown --------------------------------------------------------------------------------

    def terminate(self, ids: Iterable[str]) -> None:
        """End these as TerminateInstances does; the caller holds the lock."""
        self._end([self.instances[one] for one in ids if one in self.instances], BY_CALL)

    def interrupt(self, instance_id: str, seconds: float) -> None:
        """Announce a spot instance's end, and end it after `seconds`."""
        with self.lock:
            instance = self.instances[instance_id]
            instance.notice(seconds)
            self._say(f"{instance_id} will be interrupted in {seconds:g} s")
        self._later(seconds, lambda: self._end_locked(instance))

    def _end_locked(self, instance: Instance) -> None:
        with self.lock:
            self._end([instance], INTERRUPTED)

    def _end(self, instances: Iterable[Instance], reason: Reason) -> None:
        for instance in instances:
            if instance.ended_at is not None or instance.state == "shutting-down":
                continue
            instance.ending = True
            instance.set_state("shutting-down", reason)
            self._say(f"{instance.id} shutting-down ({reason.code})")
            ender = threading.Thread(target=self._finish, args=(instance, reason), daemon=True)
            self._enders.add(ender)
            ender.start()

    def _finish(self, instance: Instance, reason: Reason) -> None:
        began = time.monotonic()
        instance.switch_off()
        left = instance.settings.shutdown_seconds
        left = max(left, self.faults.settings.shutdown_seconds) - (time.monotonic() - began)
        threading.Event().wait(max(0.0, left))
        with self.lock:
            if self.instances.get(instance.id) is not instance:
                return
            for nic in instance.record.nics.values():
                nic.delete_on_termination = True  # deleted with its instance
            instance.record.terminate()
            for nic in instance.record.nics.values():
                nic.public_ip = None
            instance.set_state("terminated", reason)
            instance.ended_at = time.monotonic()
            self._block.give_back(instance.addresses)
            self._say(f"{instance.id} terminated")

    # ---- queries ---------------------------------------------------------------------------------

    def update_gates(self) -> None:
        """Apply the current rules to all gates."""
        for instance in self.instances.values():
            for gate in instance.gates:
                gate.update()

    def vcpus_used(self, region: str, market: str, vcpus: Callable[[str], int]) -> tuple[int, int]:
        """Return the number of instances and vCPUs of a market that count against the quota."""
        found = [
            vcpus(instance.record.instance_type)
            for instance in self.instances.values()
            if instance.region == region
            and instance.state in COUNTED
            and (instance.record.lifecycle or "on-demand") == market
        ]
        return len(found), sum(found)

    def problems(self) -> list[str]:
        """Return the errors of boots and of the cloud itself."""
        return [*self._own_problems] + [
            f"{instance.id}: {problem}\n{instance.console()[-2000:]}"
            for instance in list(self.instances.values())
            for problem in instance.problems
        ]

    def left(self) -> dict[str, list[str]]:
        """Return the ids of everything that is left in the API, by kind."""
        found: dict[str, list[str]] = {}

        def add(kind: str, names: Iterable[str]) -> None:
            if listed := sorted(names):
                found.setdefault(kind, []).extend(listed)

        with self.lock:
            for region in sorted(self._prepared):
                backend = self.backend(region)
                add("instances", (one.id for one in backend.all_instances() if one.state in ALIVE))
                add("volumes", (one.id for one in backend.volumes.values()))
                add("keys", backend.key_pairs)
                add(
                    "groups",
                    (
                        group.id
                        for groups in backend.groups.values()
                        for group in groups.values()
                        if not group.is_default and group.name != "default"
                    ),
                )
            with self.objects_lock:
                add("objects", stored_objects())
        return found

    def processes(self) -> list[str]:
        """Return the command lines of all processes on instances."""
        with self.lock:
            machines = [one.machine for one in self.instances.values() if one.machine is not None]
            namespaces = {machine.namespace for machine in machines} - {""}
        return [command for _, command in processes_in(namespaces)]

    # ---- reset -----------------------------------------------------------------------------------

    def clear(self) -> None:
        """End every machine and delete all records."""
        with self.lock:
            instances = list(self.instances.values())
            self.instances.clear()
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
            for instance in instances:
                instance.ending = True
                instance.bootable = False
        enders = [threading.Thread(target=wipe, args=(instance,)) for instance in instances]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
        for instance in instances:
            if instance.ended_at is None:
                self._block.give_back(instance.addresses)
        with self.lock:
            self._prepared.clear()
            self._own_problems.clear()

    def close(self) -> None:
        """End every machine and release the address block."""
        self.clear()
        self._block.release()

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        self._timers.add(timer)
        timer.start()


def can_use_volume_key(settings: Settings) -> bool:
    """Return whether the caller may encrypt volumes with the account's default key."""
    if settings.volume_key == Settings.volume_key:
        return True
    denied = any(fnmatchcase("kms:CreateGrant", pattern) for pattern in settings.denied)
    return settings.volume_key_state == "Enabled" and not denied


def wipe(instance: Instance) -> None:
    """Kill a machine at once and delete its files."""
    if instance.machine is not None:
        instance.machine.pull_plug()
    instance.disconnect()
    instance.forget()


def give_gateway(backend: Any, vpc: Any) -> None:
    """Add the internet gateway and the route that AWS's default VPC has."""
    gateway = backend.create_internet_gateway()
    backend.attach_internet_gateway(gateway.id, vpc.id)
    table = next(
        one
        for one in backend.route_tables.values()
        if one.vpc_id == vpc.id and one.main_association_id
    )
    backend.create_route(table.id, "0.0.0.0/0", gateway_id=gateway.id)


def stored_objects() -> list[str]:
    """Return ``bucket/key`` of every object and of every unfinished upload."""
    from moto.s3.models import s3_backends

    found = []
    for name, bucket in s3_backends[ACCOUNT]["aws"].buckets.items():
        found += [f"{name}/{key}" for key in bucket.keys]
        found += [f"{name}/{one.key_name} (upload)" for one in bucket.multiparts.values()]
    return found
