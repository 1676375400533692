"""Keys of a run on EC2: the user key for logins and the pinned host key of each node.

All keys are ed25519. They lie in the run's folder, readable only by its owner.
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from skygrid.util.atomic_file import write_atomic

KEYS_FOLDER = "aws"
"""Folder of the keys inside the run's folder."""

USER_KEY = "key"
KNOWN_HOSTS = "known_hosts"


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """A private key in OpenSSH's format, and its public half as one line without a comment."""

    private: str
    public: str


def make_key_pair() -> KeyPair:
    """Make a new ed25519 key pair."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return KeyPair(private=private.decode(), public=public.decode())


class RunKeys:
    """The folder of a run's keys; keys of earlier sessions are kept.

    Parameters
    ----------
    folder : Path
        Created if missing. Only one process may use it at a time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user_key = folder / USER_KEY
        """File of the private key for logins."""

        self.known_hosts = folder / KNOWN_HOSTS
        """Host keys by instance id, and by node name before the launch."""

        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._public = folder / f"{USER_KEY}.pub"
        if not (self.user_key.exists() and self._public.exists()):
            pair = make_key_pair()
            _write_private(self.user_key, pair.private)
            write_atomic(self._public, f"{pair.public}\n".encode())

    @property
    def public(self) -> str:
        """The public key as a line of authorized_keys."""
        return self._public.read_text(encoding="ascii").strip()

    def pin(self, name: str, public: str) -> None:
        """Make `public` the only accepted host key of `name`.

        Parameters
        ----------
        name : str
            Instance id or node name.
        public : str
            Kind and key, as in a public key file.
        """
        kind, key = public.split()[:2]
        with self._lock:
            lines = [line for line in self._lines() if line.split()[0] != name]
            lines.append(f"{name} {kind} {key}")
            write_atomic(self.known_hosts, "".join(f"{line}\n" for line in lines).encode())

    def pinned(self, name: str) -> str | None:
        """Return the pinned key of `name`, or None."""
        with self._lock:
            for line in self._lines():
                if line.split()[0] == name:
                    return line.split(maxsplit=1)[1]
        return None

    def _lines(self) -> list[str]:
        if not self.known_hosts.exists():
            return []
        return self.known_hosts.read_text(encoding="ascii").splitlines()

    def forget(self) -> str:
        """Delete the folder with `forget_keys`."""
        return forget_keys(self.folder)


def forget_keys(folder: Path) -> str:
    """Delete a folder of keys, once no node uses them.

    Returns
    -------
    trouble : str
        Message for the user if the deletion failed, else empty.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:  # deleted by an earlier teardown
        return ""
    except OSError as error:
        return f"keys of ended nodes could not be deleted, delete them: {folder} ({error})"
    return ""


def _write_private(path: Path, text: str) -> None:
    """Write a file that is never readable by other users."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text, encoding="ascii")
