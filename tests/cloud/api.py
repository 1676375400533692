"""AWS API requests as they arrive, and replies in the format of each API.

Formats: EC2 and STS use the query protocol (form in, XML out), S3 uses REST, the others use JSON
1.1 with the operation in ``X-Amz-Target``. Errors have the format that botocore's parsers read.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

SCOPE = re.compile(r"Credential=[^/,]+/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")

TARGETS = {
    "AmazonSSM": "ssm",
    "AWSPriceListService": "pricing",
    "ServiceQuotasV20190624": "servicequotas",
    "TrentService": "kms",
}


PERMISSIONS = {
    "s3:AbortMultipartUpload": "s3:AbortMultipartUpload",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListObjects": "s3:ListBucket",
    "s3:UploadPart": "s3:PutObject",
}
"""IAM actions of S3 operations whose action has a different name:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
"""


def permission(name: str) -> str:
    """Return the IAM action that allows an operation; most have the same name."""
    return PERMISSIONS.get(name, name)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call of an API."""

    service: str
    action: str
    region: str
    form: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the query protocol, flat: ``InstanceId.1``."""

    document: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the JSON protocol."""

    @property
    def name(self) -> str:
        """Name as IAM writes it, e.g. ``ec2:RunInstances``."""
        return f"{self.service}:{self.action}"

    def listed(self, prefix: str) -> list[str]:
        """Return the values of ``prefix.1``, ``prefix.2``, ..."""
        found: list[str] = []
        while (text := self.form.get(f"{prefix}.{len(found) + 1}")) is not None:
            found.append(text)
        return found


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One HTTP response."""

    status: int = 200
    content_type: str = "text/xml;charset=UTF-8"
    headers: tuple[tuple[str, str], ...] = ()
    """All headers if moto made them; otherwise empty."""

    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class ApiError(Exception):
    """An error response, which botocore raises as ClientError."""

    code: str
    message: str
    status: int = 400


def read_request(environ: Mapping[str, Any], body: bytes) -> Request:
    """Return the request that an HTTP call contains."""
    signed = environ.get("HTTP_AUTHORIZATION", "") + environ.get("QUERY_STRING", "")
    scope = SCOPE.search(signed.replace("%2F", "/").replace("X-Amz-Credential=", "Credential="))
    region, service = (scope[1], scope[2]) if scope else ("us-east-1", "s3")
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        prefix, _, action = target.rpartition(".")
        document = json.loads(body) if body else {}
        return Request(
            service=TARGETS.get(prefix, service), action=action, region=region, document=document
        )
    if service == "s3":
        return Request(service=service, action=_s3_action(environ), region=region)
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    return Request(service=service, action=form.get("Action", ""), region=region, form=form)


def _s3_action(environ: Mapping[str, Any]) -> str:
    """Return the S3 operation of a call; covers the operations that skygrid uses."""
    method = environ["REQUEST_METHOD"]
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    _, _, key = environ.get("PATH_INFO", "").lstrip("/").partition("/")
    if not key:
        if method == "POST" and "delete" in query:
            return "DeleteObjects"
        names = {"PUT": "CreateBucket", "HEAD": "HeadBucket", "DELETE": "DeleteBucket"}
        if method == "GET" and "uploads" in query:
            return "ListMultipartUploads"
        return names.get(method, "ListObjects")
    if method == "POST":
        return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
    if method == "PUT":
        return "UploadPart" if "partNumber" in query else "PutObject"
    if method == "DELETE":
        return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
    return "HeadObject" if method == "HEAD" else "GetObject"


def replaced_form(environ: dict[str, Any], form: Mapping[str, str]) -> None:
    """Replace the form in the request before moto reads it."""
    body = urlencode(form).encode()
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))


def error_reply(request: Request, error: ApiError) -> Reply:
    """Return the error in the format of the requested service."""
    code, message = escape(error.code), escape(error.message)
    if request.service == "ec2":
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
            f"<Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            "<RequestID>request-id</RequestID></Response>"
        )
        return Reply(status=error.status, body=text.encode())
    if request.service == "sts":
        text = (
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
            f"<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            "<RequestId>request-id</RequestId></ErrorResponse>"
        )
        return Reply(status=error.status, body=text.encode())
    if request.service == "s3":
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{code}</Code><Message>{message}</Message>"
            "<RequestId>request-id</RequestId></Error>"
        )
        return Reply(status=error.status, body=text.encode())
    document = {"__type": error.code, "message": error.message}
    return json_reply(document, status=error.status)


def json_reply(document: Mapping[str, Any], status: int = 200) -> Reply:
    """Return a reply of a JSON service."""
    body = json.dumps(document).encode()
    return Reply(status=status, content_type="application/x-amz-json-1.1", body=body)


def ec2_reply(action: str, inner: str) -> Reply:
    """Return a reply of EC2 that contains this XML."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>request-id</requestId>{inner}</{action}Response>"
    )
    return Reply(body=text.encode())


def tag(name: str, text: object) -> str:
    """Return one XML element."""
    return f"<{name}>{escape(str(text))}</{name}>"
