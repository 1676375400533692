"""Recognition of run folders that this user made, in the place where they are.

To resume a run is to execute code that its folder holds or names: the search file, the pickled plan
in the journal, the recorded config. A folder of this user therefore holds marks that other
users cannot make: HMACs of the folder and of each plan, under a key that only this user can read.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pwd
import secrets
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skygrid.errors import DamagedJournalError
from skygrid.journal.sqlite import plan_digests
from skygrid.reports.run_record import RunRecord
from skygrid.util.regular_file import read_regular

MARK = ".mark"
"""File with the marks, in a run's folder: one a line."""

MARK_BYTES = 16 * 2**20
"""Largest file of marks that is read. A round has a line of 65 bytes."""

KEY_BYTES = 32
JOURNAL = "journal.sqlite"
FILES = ("run.json", JOURNAL, f"{JOURNAL}-wal", "secrets.json")
"""Files of a run whose content can become code."""

ROLLBACK = f"{JOURNAL}-journal"
"""File that SQLite applies to a journal when it opens it. skygrid uses a WAL instead."""

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_ENTER = stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True, kw_only=True)
class FolderFacts:
    """Facts about a run's folder that decide whether it is trusted."""

    run_id: str
    path: str
    """Absolute, without symbolic links."""

    owner: int
    """User id of the owner; -1 where the folder and its files have several."""

    others_write: bool
    """True if other users can write to the folder or its files."""

    code: str
    """Digest of the parts of ``run.json`` that choose code: the search file and the config."""

    plans: tuple[str, ...] = ()
    """Digests of the pickled plans in the journal, with the numbers of their rounds."""


def facts_of(folder: Path, record: RunRecord) -> FolderFacts:
    """Return the facts about a run's folder.

    Parameters
    ----------
    folder : Path
    record : RunRecord
        Content of its ``run.json``.

    Raises
    ------
    OSError
        If the folder cannot be examined.
    JournalError
        If the journal cannot be read although it is intact.
    """
    status = folder.stat()
    there = [one.stat() for name in FILES if (one := folder / name).exists()]
    owners = {one.st_uid for one in (status, *there)}
    # In a folder that only its owner may enter, other users cannot reach the files.
    reached = [status, *(there if status.st_mode & OTHERS_ENTER else ())]
    return FolderFacts(
        run_id=record.id,
        path=str(folder.resolve()),
        owner=owners.pop() if len(owners) == 1 else -1,
        others_write=any(one.st_mode & OTHERS_WRITE for one in reached),
        code=_digest_of_code(record),
        plans=_plans(folder / JOURNAL),
    )


def _digest_of_code(record: RunRecord) -> str:
    chosen = msgspec.json.encode([record.search_file, record.config], order="sorted")
    return hashlib.sha256(chosen).hexdigest()


def _plans(journal: Path) -> tuple[str, ...]:
    if not journal.is_file():
        return ()
    try:
        return tuple(plan_text(round, digest) for round, digest in plan_digests(journal))
    except DamagedJournalError:  # no plan is loaded from it: it cannot be opened before a salvage
        return ()


def plan_text(round: int, digest: str) -> str:
    """Return the number of a round and the digest of its plan as one fact."""
    return f"plan {round} {digest}"


def marks_of(facts: FolderFacts, key: bytes) -> tuple[str, ...]:
    """Return the marks of a folder with these facts: that of the folder, and one for each plan."""
    folder = ("folder", facts.path, str(facts.owner), str(facts.others_write), facts.code)
    return tuple(
        _hmac(key, (facts.run_id, *parts)) for parts in (folder, *((one,) for one in facts.plans))
    )


def _hmac(key: bytes, parts: Iterable[str]) -> str:
    text = "\0".join(parts)
    return hmac.new(key, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()


def why_foreign(
    facts: FolderFacts, marks: Iterable[str], key: bytes | None, user: int
) -> str | None:
    """Return the reason why a folder may hold the code of someone else; None: this user made it.

    A folder that others can write is never trusted: they can change it at any time.

    Parameters
    ----------
    facts : FolderFacts
    marks : iterable of str
        Lines of the file of marks.
    key : bytes or None
        Key of this user, None if there is none.
    user : int
        Id of this user.
    """
    if facts.owner != user:
        return f"it belongs to {_user_name(facts.owner)}"
    if facts.others_write:
        return "other users can write to it"
    if key is None:
        return "there is no key on this machine that could confirm that you made it"
    there = frozenset(marks)
    folder, *plans = marks_of(facts, key)
    if folder not in there:
        return "it was made elsewhere, changed, or made by another user or an earlier version"
    if not there.issuperset(plans):
        return "a plan in its journal was made elsewhere"
    return None


def examine(folder: Path, record: RunRecord) -> str | None:
    """Return the reason why this user should not trust a run's folder; None: the user made it.

    Raises
    ------
    JournalError
        If the journal cannot be read although it is intact.
    """
    if (folder / ROLLBACK).exists():
        return f"it has a file {ROLLBACK}, which would change the journal"
    try:
        facts = facts_of(folder, record)
        marks = _read_marks(folder)
    except OSError as error:
        return f"it cannot be examined: {error.strerror}"
    return why_foreign(facts, marks, _read_key(), os.geteuid())


def mark_own(folder: Path, record: RunRecord) -> None:
    """Mark a folder with this record, and the plans in its journal, as made by this user.

    Earlier marks stay: they are for records and plans that this user made too.
    """
    # Without a mark, `skygrid resume` asks. That is no reason to fail here.
    with suppress(OSError, RuntimeError):
        _add_marks(folder, marks_of(facts_of(folder, record), _read_key() or _make_key()))


def mark_plan(folder: Path, run_id: str, round: int, digest: str) -> None:
    """Mark the plan of a round as made by this user.

    Parameters
    ----------
    folder : Path
    run_id : str
    round : int
    digest : str
        As `skygrid.journal.sqlite.plan_digests` returns it.
    """
    with suppress(OSError, RuntimeError):  # as in `mark_own`
        key = _read_key() or _make_key()
        _add_marks(folder, [_hmac(key, (run_id, plan_text(round, digest)))])


def _read_marks(folder: Path) -> list[str]:
    try:
        content = read_regular(folder / MARK, MARK_BYTES, follow=False)
    except FileNotFoundError:  # the folder has no mark yet
        return []
    return content.decode(errors="replace").split()


def _add_marks(folder: Path, marks: Iterable[str]) -> None:
    path = folder / MARK
    with suppress(FileNotFoundError):  # the first mark
        if not stat.S_ISREG(path.lstat().st_mode):
            path.unlink()  # a link of someone else would be written through
    before = set(_read_marks(folder))
    new = [mark for mark in dict.fromkeys(marks) if mark not in before]
    if new:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(path, flags, 0o600), "w") as file:
            # The line of a process that was killed may lack its end.
            file.write("\n" + "\n".join(new) + "\n")


def _key_path() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or ""
    state = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return state / "skygrid" / "key"


def _read_key() -> bytes | None:
    """Return this user's key; None if there is none, or others can read it."""
    try:
        path = _key_path()
        status, key = path.stat(), read_regular(path, KEY_BYTES, follow=False)
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


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a user of another machine or of a container
        return f"user {number}" if number >= 0 else "several users"
