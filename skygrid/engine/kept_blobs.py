"""Blobs of calls that a node keeps for later calls."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from skygrid.worker.wire.blobs import RawBlob


class KeptBlobs:
    """Names and sizes of the blobs of calls on one node, in the order of their last use."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self.bytes = 0
        """Size of all of them together."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._sizes)

    def use(self, blobs: Iterable[RawBlob]) -> None:
        """Note that a call on the node uses these blobs."""
        for blob in blobs:
            self.bytes += blob.size - self._sizes.pop(blob.digest, 0)
            self._sizes[blob.digest] = blob.size

    def drop(self, limit: int, used: Collection[str]) -> list[str]:
        """Forget unused blobs, the oldest first, until the rest is within a limit.

        Parameters
        ----------
        limit : int
            In bytes.
        used : collection of str
            Digests that stay.

        Returns
        -------
        names : list of str
            Digests of the forgotten blobs.
        """
        dropped = []
        for name in [name for name in self._sizes if name not in used]:
            if self.bytes <= limit:
                break
            self.bytes -= self._sizes.pop(name)
            dropped.append(name)
        return dropped

    def forget(self, names: Iterable[str]) -> None:
        """Forget these blobs."""
        for name in names:
            self.bytes -= self._sizes.pop(name, 0)

    def clear(self) -> None:
        """Forget all of them."""
        self._sizes.clear()
        self.bytes = 0
