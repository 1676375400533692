"""The endpoint of the cloud: corrects moto where it differs from AWS."""

from __future__ import annotations

import base64
import io
import re
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tests.cloud import extras
from tests.cloud.api import (
    ApiError,
    Reply,
    Request,
    ec2_reply,
    error_reply,
    read_request,
    replaced_form,
    tag,
)
from tests.cloud.faults import Failure, check_caller
from tests.cloud.launching import LaunchRules
from tests.cloud.world import World

StartResponse = Callable[..., Any]

GROUP_CHANGES = frozenset(
    {
        "AuthorizeSecurityGroupIngress",
        "RevokeSecurityGroupIngress",
        "ModifySecurityGroupRules",
        "ModifyInstanceAttribute",
    }
)

UNSUPPORTED = frozenset({"StopInstances", "StartInstances", "RebootInstances"})

BROKEN = ApiError(code="InternalError", message="An internal error has occurred", status=500)
"""AWS's answer to an internal error, which its SDKs retry."""

HTTP_WORDS = {one.value: one.phrase for one in HTTPStatus}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One call of an API."""

    action: str
    """Name, e.g. ``ec2:RunInstances``."""

    seconds: float
    """Time since the cloud began or was last cleared."""

    code: str = ""
    """Code of the error in the answer; empty if there was none."""

    dry_run: bool = False


class Front:
    """A WSGI application.

    Parameters
    ----------
    moto : WSGI application
    world : World
    """

    def __init__(self, moto: Callable[..., Iterable[bytes]], world: World) -> None:
        self._moto = moto
        self._world = world
        self._launching = LaunchRules(world)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._calls: list[Recorded] = []
        self._handlers: dict[str, Callable[[Request], Reply | None]] = {
            "ec2:TerminateInstances": self._terminate,
            "ec2:DeleteSecurityGroup": self._delete_group,
            "ec2:GetConsoleOutput": self._console,
            "ec2:DescribeSpotPriceHistory": self._spot_prices,
            "ec2:GetEbsDefaultKmsKeyId": lambda _: ec2_reply(
                "GetEbsDefaultKmsKeyId", tag("kmsKeyId", world.faults.settings.volume_key)
            ),
            "kms:DescribeKey": lambda _: extras.describe_key(world.faults.settings),
            "ssm:GetParameter": extras.get_parameter,
            "ssm:GetParameters": extras.get_parameter,
            "pricing:GetProducts": lambda request: extras.get_products(request, types()),
            "servicequotas:GetServiceQuota": lambda request: extras.get_service_quota(
                request, world.faults.settings
            ),
        }

    # ---- calls -----------------------------------------------------------------------------------

    def calls(self) -> list[Recorded]:
        """Return every call so far, in order."""
        with self._lock:
            return list(self._calls)

    def clear(self) -> None:
        """Delete the records of calls and launches."""
        with self._lock:
            self._calls.clear()
            self._began = time.monotonic()
        self._launching = LaunchRules(self._world)

    def _record(self, request: Request, code: str = "") -> None:
        with self._lock:
            self._calls.append(
                Recorded(
                    action=request.name,
                    seconds=time.monotonic() - self._began,
                    code=code,
                    dry_run=request.form.get("DryRun") == "true",
                )
            )

    # ---- one request ----------------------------------------------------------------------------

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == "/checkip":
            reply = Reply(
                content_type="text/plain", body=f"{self._world.faults.settings.caller}\n".encode()
            )
            return send(reply, start)
        request = read_request(environ, read_body(environ))
        failure = self._world.faults.next_failure(request.name)
        try:
            check_caller(request, self._world.faults.settings)
            if failure is not None and failure.what == "error":
                raise ApiError(code=failure.code, message=failure.message, status=failure.status)
            if request.form.get("DryRun") == "true":
                raise ApiError(
                    code="DryRunOperation",
                    message="Request would have succeeded, but DryRun flag is set.",
                    status=412,
                )
            reply = self._execute(request, environ)
        except ApiError as error:
            self._record(request, error.code)
            return send(error_reply(request, error), start)
        except Exception as error:
            # werkzeug would answer with an HTML page, which no SDK reads.
            self._world.failed(error, request.name, ours=raised_here(error))
            self._record(request, BROKEN.code)
            return send(error_reply(request, BROKEN), start)
        self._record(request, code_in(reply.status, reply.body))
        self._spoil(failure, environ)
        return send(reply, start)

    def _spoil(self, failure: Failure | None, environ: Mapping[str, Any]) -> None:
        """Delay the answer of an executed call, or close its connection."""
        if failure is None:
            return
        if failure.what == "late":
            threading.Event().wait(failure.seconds)
        elif failure.what == "cut":
            with suppress(OSError):
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)

    def _execute(self, request: Request, environ: dict[str, Any]) -> Reply:
        if request.service == "s3":
            with self._world.objects_lock:
                if request.action == "UploadPart":
                    self._check_upload(environ)
                return self._ask_moto(environ)
        with self._world.lock:
            if request.service == "ec2":
                self._world.backend(request.region)
                if request.action in UNSUPPORTED:
                    raise ApiError(code="UnsupportedOperation", message="Not in this cloud")
            if request.name == "ec2:RunInstances":
                return self._launching.run(request, self._forward(environ))
            handler = self._handlers.get(request.name)
            answer = handler(request) if handler else None
            if answer is not None:
                return answer
            with self._hidden(request):
                answer = self._ask_moto(environ)
            if request.action in GROUP_CHANGES:
                self._world.update_gates()
            return answer

    def _check_upload(self, environ: dict[str, Any]) -> None:
        """Refuse a part of an upload that does not exist or has ended."""
        bucket = environ["PATH_INFO"].lstrip("/").partition("/")[0]
        query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        uploads = self._world.uploads(bucket)
        if uploads is not None and query.get("uploadId") not in uploads:
            message = "The specified upload does not exist."
            raise ApiError(code="NoSuchUpload", message=message, status=404)

    def _forward(self, environ: dict[str, Any]) -> Callable[[Mapping[str, str]], tuple[int, bytes]]:
        def ask(form: Mapping[str, str]) -> tuple[int, bytes]:
            replaced_form(environ, form)
            reply = self._ask_moto(environ)
            return reply.status, reply.body

        return ask

    def _ask_moto(self, environ: dict[str, Any]) -> Reply:
        heard: list[Any] = []
        answer = self._moto(environ, lambda status, headers, *_: heard.extend([status, headers]))
        body = b"".join(answer)
        if callable(close := getattr(answer, "close", None)):
            close()
        status, headers = heard
        return Reply(status=int(status.split()[0]), headers=tuple(headers), body=body)

    def _hidden(self, request: Request) -> _Hidden:
        backend = self._world.backend(request.region) if request.service == "ec2" else None
        hidden = {one.id for one in self._world.instances.values() if not one.is_visible}
        return _Hidden(backend, hidden)

    # ---- corrections of moto ---------------------------------------------------------------------

    def _terminate(self, request: Request) -> Reply:
        ids = request.listed("InstanceId")
        known = {
            one.id: one
            for one in self._world.instances.values()
            if one.region == request.region and one.is_visible
        }
        if missing := [one for one in ids if one not in known]:
            word = "IDs" if len(missing) > 1 else "ID"
            verb = "do" if len(missing) > 1 else "does"
            raise ApiError(
                code="InvalidInstanceID.NotFound",
                message=f"The instance {word} '{', '.join(missing)}' {verb} not exist",
            )
        before = {one: (known[one].state, known[one].record._state.code) for one in ids}
        self._world.terminate(ids)
        items = "".join(
            "<item>"
            + tag("instanceId", one)
            + _state("currentState", known[one].state, known[one].record._state.code)
            + _state("previousState", *before[one])
            + "</item>"
            for one in ids
        )
        return ec2_reply("TerminateInstances", f"<instancesSet>{items}</instancesSet>")

    def _delete_group(self, request: Request) -> Reply | None:
        group_id = request.form.get("GroupId", "")
        if any(one.uses_group(group_id) for one in self._world.instances.values()):
            raise ApiError(
                code="DependencyViolation",
                message=f"resource {group_id} has a dependent object",
            )
        return None

    def _console(self, request: Request) -> Reply:
        instance = self._world.instances.get(request.form.get("InstanceId", ""))
        if instance is None or instance.region != request.region:
            raise ApiError(
                code="InvalidInstanceID.NotFound",
                message=f"The instance ID '{request.form.get('InstanceId')}' does not exist",
            )
        text = base64.b64encode(instance.console().encode()).decode()
        inner = (
            tag("instanceId", instance.id)
            + tag("timestamp", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}")
            + tag("output", text)
        )
        return ec2_reply("GetConsoleOutput", inner)

    def _spot_prices(self, request: Request) -> Reply:
        backend = self._world.backend(request.region)
        zones = [zone.name for zone in backend.describe_availability_zones()]
        return extras.describe_spot_price_history(request, types(), zones, datetime.now(UTC))


class _Hidden:
    """Hides instances that calls cannot see yet."""

    def __init__(self, backend: Any, hidden: set[str]) -> None:
        self._backend, self._hidden = backend, hidden

    def __enter__(self) -> None:
        if self._hidden and self._backend is not None:
            self._whole = self._backend.reservations
            self._backend.reservations = type(self._whole)(
                (name, reservation)
                for name, reservation in self._whole.items()
                if not any(one.id in self._hidden for one in reservation.instances)
            )

    def __exit__(self, *_: object) -> None:
        if self._hidden and self._backend is not None:
            self._backend.reservations = self._whole


def _state(name: str, state: str, code: int) -> str:
    return f"<{name}>{tag('code', code)}{tag('name', state)}</{name}>"


def types() -> Mapping[str, Any]:
    """Return instance types by name, in the format of DescribeInstanceTypes."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    return INSTANCE_TYPES


def code_in(status: int, body: bytes) -> str:
    """Return the code of a moto error, in XML or JSON; empty if it is not an error."""
    found = (
        re.search(rb'<Code>([^<]*)</Code>|"__type": *"([^"]*)"', body) if status >= 400 else None
    )
    return (found[1] or found[2]).decode() if found else ""


def read_body(environ: dict[str, Any]) -> bytes:
    """Read the body and put it back.

    Reading happens before any lock is taken: a slow sender must not hold one.
    """
    if "CONTENT_LENGTH" not in environ:
        return b""
    body: bytes = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def raised_here(error: BaseException) -> bool:
    """Return whether an error is this cloud's own, not moto's."""
    here = Path(__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(here):
            return True
        if "moto" in path.parts:
            return False
    return False


def send(reply: Reply, start: StartResponse) -> list[bytes]:
    """Start the response and return its body."""
    headers = reply.headers or (
        ("Content-Type", reply.content_type),
        ("Content-Length", str(len(reply.body))),
    )
    start(f"{reply.status} {HTTP_WORDS.get(reply.status, 'Error')}", list(headers))
    return [reply.body]
