"""A /16 of loopback addresses for one cloud; no other cloud on this machine uses the block."""

from __future__ import annotations

import fcntl
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CLAIMS = Path("/run/skygrid-test-clouds")
"""One lock file per block; the kernel releases the lock when its owner ends."""

FIRST_BLOCK, BLOCKS = 64, 128
"""First block is 127.64.0.0/16; lower blocks belong to the nodes of `tests/sshd.py`."""

PER_THIRD = 250


@dataclass(frozen=True)
class InstanceAddresses:
    """Addresses of one instance."""

    public: str
    private: str
    hidden: str
    """Address of the instance's sshd and metadata service; the APIs do not report it."""

    index: int


class AddressBlock:
    """A block of addresses; `take` returns the lowest free one.

    Attributes
    ----------
    folder : Path
        For files of the cloud that owns the block.
    """

    def __init__(self) -> None:
        CLAIMS.mkdir(mode=0o700, exist_ok=True)
        for block in random.sample(range(FIRST_BLOCK, FIRST_BLOCK + BLOCKS), BLOCKS):
            lock = (CLAIMS / str(block)).open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            self._lock: IO[str] = lock
            self.folder = CLAIMS / f"{block}-files"
            # A cloud that was killed may have left files.
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(mode=0o700)
            self._prefix = f"127.{block}"
            self._used: set[int] = set()
            return
        raise RuntimeError(f"all {BLOCKS} address blocks are in use by other clouds")

    def take(self) -> InstanceAddresses:
        """Return the lowest addresses that no instance uses."""
        index = next(number for number in range(60 * PER_THIRD) if number not in self._used)
        self._used.add(index)
        third, fourth = divmod(index, PER_THIRD)
        public, private, hidden = (
            f"{self._prefix}.{third + zone}.{fourth + 2}" for zone in (0, 64, 128)
        )
        return InstanceAddresses(public, private, hidden, index)

    def give_back(self, addresses: InstanceAddresses) -> None:
        """Make these addresses available to the next instance."""
        self._used.discard(addresses.index)

    def release(self) -> None:
        """Delete the folder and unlock the block for another cloud."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()
