"""Large data over S3: uploaded once, downloaded by every node through a presigned URL.

Nodes need no role, because the URL grants reading of one object for some hours.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator

from skygrid.config import limits
from skygrid.nodes.ec2.teardown.teardown import key_prefix
from skygrid.worker.wire.blobs import Blob

from .api import Clients, api_errors
from .api_errors import judge

PART_BYTES = 16 * 1024 * 1024
MOST_PARTS = 9_000
"""S3 allows 10,000: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""


class RunStorage:
    """The objects of one run in S3. Thread-safe.

    Parameters
    ----------
    clients : Clients
    bucket : str
    run_id : str
    over_bytes : float
        Size above which a blob goes through S3.
    say : callable
        Receives messages about uploads and their failures.
    """

    def __init__(
        self,
        clients: Clients,
        bucket: str,
        run_id: str,
        over_bytes: float,
        say: Callable[[str], None],
    ) -> None:
        self._clients = clients
        self._bucket = bucket
        self._run_id = run_id
        self._over_bytes = over_bytes
        self._say = say
        self._uploading = threading.Lock()
        self._there: dict[str, bool] = {}
        """By digest: True if the upload succeeded."""

        self._stopped = threading.Event()

    def url_of(self, blob: Blob) -> str | None:
        """Return the URL of a blob; the first call uploads it, concurrent calls wait.

        Returns
        -------
        url : str or None
            None if the blob is small or its upload failed; it is then sent by SSH.
        """
        if blob.size <= self._over_bytes:
            return None
        with self._uploading:
            if blob.digest not in self._there:
                self._there[blob.digest] = self._upload(blob)
        if not self._there[blob.digest]:
            return None
        place = {"Bucket": self._bucket, "Key": self._key(blob)}
        return str(
            self._clients.s3.generate_presigned_url("get_object", place, ExpiresIn=limits.S3_URL)
        )

    def stop(self) -> None:
        """Abort the current upload and wait for its end, so that the objects can be deleted."""
        self._stopped.set()
        with self._uploading:
            return

    def _key(self, blob: Blob) -> str:
        return f"{key_prefix(self._run_id)}{blob.digest}"

    def _upload(self, blob: Blob) -> bool:
        from boto3.exceptions import Boto3Error
        from boto3.s3.transfer import TransferConfig

        where = f"s3://{self._bucket}"
        part = max(PART_BYTES, -(-blob.size // MOST_PARTS))
        self._say(f"uploading {blob.size / 2**30:.2f} GiB of data to {where}")
        try:
            self._clients.s3.upload_fileobj(
                _Reader(blob, self._stopped),
                self._bucket,
                self._key(blob),
                Config=TransferConfig(multipart_threshold=part, multipart_chunksize=part),
            )
        except (*api_errors(), Boto3Error) as error:
            cause = error.__cause__ or error.__context__ or error
            reason = judge(cause, "s3:PutObject", self._clients.region).text
            self._say(f"{where} refused the data, so it goes to each node over SSH: {reason}")
            return False
        except _StoppedError:  # by `stop`: the run ends and no node needs the data
            return False
        return True


class _StoppedError(Exception):
    """The upload was aborted."""


class _Reader(io.RawIOBase):
    """A blob as a file that can be read once, in parts."""

    def __init__(self, blob: Blob, stopped: threading.Event) -> None:
        super().__init__()
        self._chunks: Iterator[memoryview] = (data for _, data in blob.chunks())
        self._left = memoryview(b"")
        self._stopped = stopped

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        found: list[memoryview] = []
        wanted = size if size >= 0 else float("inf")
        while wanted > 0:
            if self._stopped.is_set():
                raise _StoppedError
            self._left = self._left or next(self._chunks, memoryview(b""))
            if not self._left:
                break
            taken = self._left[: int(min(wanted, len(self._left)))]
            self._left = self._left[len(taken) :]
            wanted -= len(taken)
            found.append(taken)
        return b"".join(found)
