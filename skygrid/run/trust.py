"""Recognition of run folders that this user made, in the place where they are.

To resume a run is to execute code that its folder holds or names: the search file, the pickled plan
in the journal, the recorded config. A folder of this user therefore holds a mark that other
users cannot make: an HMAC under a key that only this user can read.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pwd
import secrets
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = ".mark"
"""File with the mark, in a run's folder."""

KEY_BYTES = 32
FILES = ("run.json", "journal.sqlite")
"""Files of a run whose content can become code."""

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_ENTER = stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True, kw_only=True)
class FolderFacts:
    """Facts about a run's folder that its mark confirms."""

    run_id: str
    path: str
    """Absolute, without symbolic links."""

    owner: int
    """User id of the owner; -1 where the folder and its files have several."""

    others_write: bool
    """True if other users can write to the folder or its files."""


def facts_of(folder: Path, run_id: str) -> FolderFacts:
    """Return the facts about a run's folder.

    Raises
    ------
    OSError
        If the folder cannot be examined.
    """
    status = folder.stat()
    there = [one.stat() for name in FILES if (one := folder / name).exists()]
    owners = {one.st_uid for one in (status, *there)}
    # In a folder that only its owner may enter, other users cannot reach the files.
    reached = [status, *(there if status.st_mode & OTHERS_ENTER else ())]
    return FolderFacts(
        run_id=run_id,
        path=str(folder.resolve()),
        owner=owners.pop() if len(owners) == 1 else -1,
        others_write=any(one.st_mode & OTHERS_WRITE for one in reached),
    )


def mark_of(facts: FolderFacts, key: bytes) -> str:
    """Return the mark of a folder with these facts."""
    text = "\0".join((facts.run_id, facts.path, str(facts.owner), str(facts.others_write)))
    return hmac.new(key, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()


def why_foreign(facts: FolderFacts, mark: str, key: bytes | None, user: int) -> str | None:
    """Return the reason why a folder may hold the code of someone else; None: this user made it.

    The mark decides. Owner and mode only explain: some file systems have neither.

    Parameters
    ----------
    facts : FolderFacts
    mark : str
        Content of the mark file, empty if there is none.
    key : bytes or None
        Key of this user, None if there is none.
    user : int
        Id of this user.
    """
    if key is not None and hmac.compare_digest(mark.encode(), mark_of(facts, key).encode()):
        return None
    if facts.owner != user:
        return f"it belongs to {_user_name(facts.owner)}"
    if facts.others_write:
        return "other users can write to it"
    return "it was made elsewhere, by another user, or by an earlier version"


def examine(folder: Path, run_id: str) -> str | None:
    """Return the reason why this user should not trust a run's folder; None: the user made it."""
    try:
        facts = facts_of(folder, run_id)
        mark = _read_small(folder / MARK)
    except OSError as error:
        return f"it cannot be examined: {error.strerror}"
    return why_foreign(facts, mark.decode(errors="replace"), _read_key(), os.geteuid())


def mark_own(folder: Path, run_id: str) -> None:
    """Mark a folder as made, or trusted, by this user."""
    # Without a mark, `skygrid resume` asks. That is no reason to fail here.
    with suppress(OSError, RuntimeError):
        text = mark_of(facts_of(folder, run_id), _read_key() or _make_key())
        path = folder / MARK
        path.unlink(missing_ok=True)  # a link of someone else would be written through
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)


def _key_path() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or ""
    state = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return state / "skygrid" / "key"


def _read_key() -> bytes | None:
    """Return this user's key; None if there is none, or others can read it."""
    try:
        path = _key_path()
        status, key = path.stat(), _read_small(path)
    except (OSError, RuntimeError):  # a user without a home folder has no key
        return None
    private = status.st_uid == os.geteuid() and not status.st_mode & 0o077
    return key if private and len(key) == KEY_BYTES else None


def _make_key() -> bytes:
    """Make this user's key, or return the one that another process makes at the same moment."""
    path = _key_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent) as file:  # mode 0600
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        with suppress(FileExistsError):  # another process was faster
            os.link(file.name, path)
    key = _read_key()
    if key is None:
        raise OSError(f"{path} is no key of this user")
    return key


def _read_small(path: Path) -> bytes:
    """Return the first bytes of a regular file; nothing if it does not exist."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:  # no mark, no key: the caller asks
        return b""
    with os.fdopen(descriptor, "rb") as file:
        return file.read(1024) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a user of another machine or of a container
        return f"user {number}" if number >= 0 else "several users"
