"""Blobs that an agent holds while it works.

They are unnamed files, which disappear when the agent ends, in shared memory if it has room, else
on disk. Offered blobs (the data) are kept in the node's cache instead, if it has one.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from typing import IO, Any

from skygrid.worker.wire.blobs import BlobError, open_blob, unnamed_file
from skygrid.worker.wire.messages.from_agent import BlobWanted
from skygrid.worker.wire.messages.to_agent import BlobAt, BlobChunk, BlobOffer
from skygrid.worker.wire.packing import unpack

from .cache import BlobCache, Part


class BlobStore:
    """Store that receives blobs in chunks and opens them by digest.

    Parameters
    ----------
    cache : BlobCache, optional
        Keeps offered blobs for later runs.
    """

    def __init__(self, cache: BlobCache | None = None) -> None:
        self._cache = cache
        self._files: dict[str, tuple[IO[bytes], int]] = {}
        self._adopted: set[str] = set()
        self._arriving: dict[str, tuple[Part, int]] = {}
        self._looking: Generator[BlobWanted | None] | None = None

    # -- blobs that are offered

    def offer(self, offer: BlobOffer) -> None:
        """Start to determine which bytes of a blob are here; `look` continues that."""
        if self._looking is not None:
            self._looking.close()
        self._looking = self._look(offer.digest, offer.size)

    @property
    def looking(self) -> bool:
        """True if `look` has work."""
        return self._looking is not None

    def look(self) -> BlobWanted | None:
        """Continue to look for an offered blob; return the answer when it is known.

        Raises
        ------
        BlobError
            If there is no room for the blob.
        """
        assert self._looking is not None
        answer = next(self._looking)
        if answer is not None:
            self._looking = None
        return answer

    def _look(self, digest: str, size: int) -> Generator[BlobWanted | None]:
        if digest not in self._files:
            part = None
            if self._cache is None:
                part = Part(unnamed_file(size))
            else:
                file = yield from self._cache.find(digest, size)
                if file is not None:
                    self._files[digest] = (file, size)
                else:
                    part = yield from self._cache.begin(digest, size)
            if part is not None and part.position < size:
                part.offered = True
                self._arriving[digest] = (part, size)
                yield BlobWanted(digest=digest, offset=part.position)
                return
            if part is not None:
                # An earlier transfer received all bytes but ended before the file was renamed.
                self._files[digest] = (self._keep(part, digest, size), size)
        yield BlobWanted(digest=digest, offset=size)

    @property
    def receiving(self) -> float | None:
        """Received fraction of the offered blob, from 0 to 1; None if none is arriving."""
        for part, size in self._arriving.values():
            if part.offered:
                return part.position / size
        return None

    # -- blobs that come

    def receive(self, chunk: BlobChunk) -> BlobWanted | None:
        """Add one chunk.

        Returns
        -------
        wanted : BlobWanted or None
            Message for the driver when an offered blob is complete.

        Raises
        ------
        BlobError
            If the chunk is not the next one, the digest does not match, or the disk is full.
        """
        name = chunk.digest[:12]
        part, _ = self._arriving.get(chunk.digest, (None, 0))
        if chunk.offset == 0 and (part is None or (part.position and not part.offered)):
            part = Part(unnamed_file(chunk.size))
            self._arriving[chunk.digest] = (part, chunk.size)
        if part is None:
            raise BlobError(f"blob {name} does not begin at offset 0")
        if part.position != chunk.offset:
            raise BlobError(f"blob {name}: expected offset {part.position}")
        try:
            data = unpack(chunk.data) if chunk.packed else chunk.data
        except ValueError as error:
            raise BlobError(f"blob {name}: {error}") from error
        try:
            part.write(data)
        except OSError as error:
            raise self._no_room(part, chunk.size, error) from error
        return self._finish(part, chunk) if part.position >= chunk.size else None

    def _finish(self, part: Part, chunk: BlobChunk) -> BlobWanted | None:
        del self._arriving[chunk.digest]
        if part.hash.hexdigest() != chunk.digest:
            part.discard()
            if not part.resumed:
                raise BlobError(f"blob {chunk.digest[:12]} arrived broken")
            # Bytes of the earlier transfer are to blame; the next answer requests all bytes again.
            self.offer(BlobOffer(digest=chunk.digest, size=chunk.size))
            return None
        file = self._keep(part, chunk.digest, chunk.size)
        self._files[chunk.digest] = (file, chunk.size)
        return BlobWanted(digest=chunk.digest, offset=chunk.size) if part.offered else None

    def _keep(self, part: Part, digest: str, size: int) -> IO[bytes]:
        if self._cache is None or part.path is None:
            return part.file
        try:
            return self._cache.finish(part, digest)
        except OSError as error:
            raise self._no_room(part, size, error) from error

    def _no_room(self, part: Part, size: int, error: OSError) -> BlobError:
        part.discard()  # free the disk
        return BlobError(f"no room for a blob of {size} bytes: {error}")

    def adopt(self, place: BlobAt) -> None:
        """Use a blob that is a file of the driver on this machine.

        Raises
        ------
        BlobError
            If the file cannot be opened or has another size.
        """
        try:
            file = open(place.path, "rb")  # noqa: SIM115  # kept open as long as the blob is used
        except OSError as error:
            raise BlobError(f"cannot open the blob at {place.path}: {error}") from error
        if os.fstat(file.fileno()).st_size != place.size:
            raise BlobError(f"the blob at {place.path} is not {place.size} bytes long")
        self._files[place.name] = (file, place.size)
        self._adopted.add(place.name)

    # -- blobs that are here

    @property
    def complete(self) -> tuple[str, ...]:
        """Digests or names of the complete blobs."""
        return tuple(self._files)

    def drop_partial(self) -> None:
        """Drop incomplete blobs; a cache keeps their bytes."""
        if self._looking is not None:
            self._looking.close()
            self._looking = None
        for part, _ in self._arriving.values():
            part.file.close()
        self._arriving.clear()

    def file(self, digest: str) -> tuple[IO[bytes], int]:
        """Return the file of a complete blob and its size in bytes.

        Raises
        ------
        BlobError
            If no such blob has arrived.
        """
        if digest not in self._files:
            raise BlobError(f"blob {digest[:12]} has not arrived")
        return self._files[digest]

    def open(self, digest: str) -> Any:
        """Return the object in a complete blob."""
        file, size = self.file(digest)
        return open_blob(file, size)

    def keep_only(self, digests: set[str]) -> None:
        """Drop every complete blob that is not in `digests`; a cache keeps its file."""
        for digest in set(self._files) - digests:
            self._files.pop(digest)[0].close()
        self._adopted &= digests

    def drop(self, names: Iterable[str]) -> None:
        """Drop some blobs."""
        self.keep_only(set(self._files).difference(names))

    def drop_adopted(self) -> None:
        """Drop the driver's files; `BlobAt` names them again when they are needed."""
        self.keep_only(set(self._files) - self._adopted)

    def close_in_child(self) -> None:
        """In a slot that was just forked, and may outlive the blobs: do not hold them."""
        self.keep_only(set())
