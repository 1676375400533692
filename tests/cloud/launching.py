"""RunInstances with AWS's rules: tokens, counts, zones, quotas and capacity."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.cloud.api import ApiError, Reply, Request
from tests.cloud.user_data import LARGEST_BYTES

if TYPE_CHECKING:
    from tests.cloud.world import World

Forward = Callable[[Mapping[str, str]], tuple[int, bytes]]

INSTANCE_ID = re.compile(r"<instanceId>(i-[0-9a-f]+)</instanceId>")

PUBLIC = re.compile(r"<association>.*?</association>|<ipAddress>.*?</ipAddress>")
"""Elements that the answer to RunInstances does not contain yet."""

LONGEST_TOKEN = 64


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The launch that a client token identifies."""

    digest: str
    ids: tuple[str, ...]
    reply: Reply


class LaunchRules:
    """Rules of RunInstances, with the client tokens of one cloud."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._launches: dict[tuple[str, str], Launch] = {}

    def run(self, request: Request, forward: Forward) -> Reply:
        """Launch instances, or repeat the answer to an earlier call with the same token.

        The caller holds the world's lock.

        Raises
        ------
        ApiError
            With EC2's code for the invalid parameter or the missing capacity.
        """
        token = request.form.get("ClientToken", "")
        if len(token) > LONGEST_TOKEN or not token.isascii():
            raise ApiError(
                code="InvalidParameterValue",
                message=f"Client token exceeds {LONGEST_TOKEN} ASCII characters",
            )
        same = digest(request.form)
        if token and (earlier := self._launches.get((request.region, token))):
            return self._again(earlier, same)
        self._check_parameters(request)
        form = dict(request.form)
        zone = self._choose_zone(request, form)
        count = self._check_room(request, zone)
        form["MinCount"] = form["MaxCount"] = str(count)
        status, body = forward(form)
        if status != 200:
            return Reply(status=status, body=body)
        reply, ids = self._start(request.region, body.decode())
        if token:
            launch = Launch(digest=same, ids=ids, reply=reply)
            self._launches[request.region, token] = launch
        return reply

    def _again(self, earlier: Launch, same: str) -> Reply:
        if earlier.digest != same:
            raise ApiError(
                code="IdempotentParameterMismatch",
                message="The client token was used with different parameters",
            )
        states = {self._world.instances[one].state for one in earlier.ids}
        if states & {"shutting-down", "terminated"}:
            raise ApiError(
                code="IdempotentInstanceTerminated",
                message="The client token belongs to an instance that has been terminated",
            )
        if states == {"running"}:
            text = earlier.reply.body.replace(
                b"<code>0</code><name>pending</name>", b"<code>16</code><name>running</name>"
            )
            return Reply(body=text)
        return earlier.reply

    def _start(self, region: str, text: str) -> tuple[Reply, tuple[str, ...]]:
        """Start machines and return the answer with their real addresses."""
        backend = self._world.backend(region)
        ids = tuple(dict.fromkeys(INSTANCE_ID.findall(text)))
        for one in ids:
            record = backend.get_instance(one)
            private, dashed = record.private_ip, record.private_ip.replace(".", "-")
            public = record.public_ip
            instance = self._world.add(region, record)
            text = text.replace(f">{private}<", f">{instance.addresses.private}<")
            text = text.replace(f"ip-{dashed}.", f"{instance.hostname}.")
            if public:
                text = re.sub(rf"ec2-{public.replace('.', '-')}\.[a-z0-9.-]+", "", text)
        text = PUBLIC.sub("", text)
        return Reply(body=text.encode()), ids

    # ---- checks ----------------------------------------------------------------------------------

    def _check_parameters(self, request: Request) -> None:
        form = request.form
        backend = self._world.backend(request.region)
        try:
            data = base64.b64decode(form.get("UserData", ""), validate=True)
        except ValueError as error:
            raise ApiError(
                code="InvalidUserData.Malformed", message="Invalid BASE64 encoding of user data."
            ) from error
        if len(data) > LARGEST_BYTES:
            raise ApiError(
                code="InvalidParameterValue",
                message=f"User data is limited to {LARGEST_BYTES} bytes",
            )
        image = backend.amis.get(form.get("ImageId", ""))
        if image is None:
            raise ApiError(
                code="InvalidAMIID.NotFound",
                message=f"The image id '[{form.get('ImageId')}]' does not exist",
            )
        self._check_type(request, image)

    def _check_type(self, request: Request, image: Any) -> None:
        name = request.form.get("InstanceType", "m1.small")
        details = _types().get(name)
        if details is None:
            raise ApiError(
                code="InvalidParameterValue",
                message=f"Invalid value '{name}' for InstanceType.",
            )
        known = details["ProcessorInfo"]["SupportedArchitectures"]
        if image.architecture not in known:
            raise ApiError(
                code="InvalidParameterValue",
                message=(
                    f"The architecture '{', '.join(known)}' of the specified instance type does "
                    f"not match the architecture '{image.architecture}' of the specified AMI. "
                    "Specify an instance type and an AMI that have matching architectures, and "
                    "try again."
                ),
            )

    def _choose_zone(self, request: Request, form: dict[str, str]) -> str:
        """Return the zone of the launch; if none is requested, one that has capacity."""
        backend = self._world.backend(request.region)
        subnet = form.get("SubnetId") or form.get("NetworkInterface.1.SubnetId")
        if subnet is not None:
            if not any(subnet in found for found in backend.subnets.values()):
                raise ApiError(
                    code="InvalidSubnetID.NotFound",
                    message=f"The subnet ID '{subnet}' does not exist",
                )
            return str(backend.get_subnet(subnet).availability_zone)
        if asked := form.get("Placement.AvailabilityZone"):
            return asked
        zones = [zone.name for zone in backend.describe_availability_zones()]
        able = [zone for zone in zones if self._has_room(request, zone)]
        form["Placement.AvailabilityZone"] = (able or zones)[0]
        return form["Placement.AvailabilityZone"]

    def _has_room(self, request: Request, zone: str) -> bool:
        name = request.form.get("InstanceType", "m1.small")
        market = market_of(request)
        lacking = self._world.faults.settings.lacking
        return _offered(request.region, zone, name) and not any(
            pool.holds(zone, name, market) for pool in lacking
        )

    def _check_room(self, request: Request, zone: str) -> int:
        """Return the number of instances to launch."""
        name = request.form.get("InstanceType", "m1.small")
        market = market_of(request)
        if not _offered(request.region, zone, name):
            raise ApiError(
                code="Unsupported",
                message=(
                    f"Your requested instance type ({name}) is not supported in your requested "
                    f"Availability Zone ({zone})."
                ),
            )
        least, most = int(request.form.get("MinCount", 1)), int(request.form.get("MaxCount", 1))
        room = self._within_quota(request.region, name, market)
        if room < least:
            raise _over_quota(market, self._world.faults.settings.on_demand_vcpus)
        if not self._has_room(request, zone):
            raise _no_capacity(market, name, zone)
        return min(most, room)

    def _within_quota(self, region: str, name: str, market: str) -> int:
        settings = self._world.faults.settings

        def vcpus(one: str) -> int:
            return int(_types()[one]["VCpuInfo"]["DefaultVCpus"])

        number, used = self._world.vcpus_used(region, market, vcpus)
        limit = settings.spot_vcpus if market == "spot" else settings.on_demand_vcpus
        room = max(0, limit - used) // vcpus(name)
        if market == "spot" and settings.spot_count is not None:
            room = min(room, settings.spot_count - number)
        return room


def market_of(request: Request) -> str:
    """Return "on-demand" or "spot"."""
    spot = request.form.get("InstanceMarketOptions.MarketType") == "spot"
    return "spot" if spot else "on-demand"


def digest(form: Mapping[str, str]) -> str:
    """Return a digest of all parameters, to compare two calls."""
    text = "\n".join(f"{name}={form[name]}" for name in sorted(form))
    return hashlib.sha256(text.encode()).hexdigest()


def _over_quota(market: str, limit: int) -> ApiError:
    if market == "spot":
        return ApiError(
            code="MaxSpotInstanceCountExceeded", message="Max spot instance count exceeded"
        )
    return ApiError(
        code="VcpuLimitExceeded",
        message=(
            f"You have requested more vCPU capacity than your current vCPU limit of {limit} "
            "allows for the instance bucket that the specified instance type belongs to. Please "
            "visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this "
            "limit."
        ),
    )


def _no_capacity(market: str, name: str, zone: str) -> ApiError:
    text = (
        "There is no Spot capacity available that matches your request."
        if market == "spot"
        else f"We currently do not have sufficient {name} capacity in the Availability Zone you "
        f"requested ({zone}). Our system will be working on provisioning additional capacity."
    )
    return ApiError(code="InsufficientInstanceCapacity", message=text, status=500)


def _types() -> Mapping[str, Any]:
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    return INSTANCE_TYPES


def _offered(region: str, zone: str, name: str) -> bool:
    from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

    offers = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, ())
    return any(one["InstanceType"] == name and one["Location"] == zone for one in offers)
