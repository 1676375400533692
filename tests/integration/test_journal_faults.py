"""The journal on disk under real faults: killed writers, full disks, damaged files, locks."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from skygrid.errors import DamagedJournalError, FingerprintError, JournalError
from skygrid.journal.sqlite import SqliteJournal
from skygrid.plan.records import Outcome, RoundPlan
from tests.disks import remount, small_disk

ROOT = Path(__file__).resolve().parents[2]
FINGERPRINT = {"X": "ab" * 32}


def outcome(candidate: int, *, fit_error: str | None = None) -> Outcome:
    return Outcome(
        round=0,
        candidate=candidate,
        split=0,
        status="scored",
        node="node-1",
        slot=0,
        test_scores=1.0 / (candidate + 3),
        n_test_samples=10,
        fit_seconds=0.5,
        score_seconds=0.5,
        fit_error=fit_error,
        finished_at=1.0,
    )


def outcomes(start: int, stop: int) -> list[Outcome]:
    return [outcome(candidate) for candidate in range(start, stop)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def recorded(path: Path) -> list[Outcome]:
    """Outcomes in a journal at `path` that was closed normally."""
    written = outcomes(0, 3000)
    with closing(SqliteJournal(path)) as journal:
        journal.claim(FINGERPRINT)
        journal.settle(RoundPlan(round=0, candidates=[{}] * 3000, splits=[([0], [1])]))
        journal.append(written)
    return written


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that runs code in Python, with this module's `outcomes`."""
    processes: list[subprocess.Popen[str]] = []

    def run(code: str, *arguments: object) -> subprocess.Popen[str]:
        preamble = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]\n"
        process = subprocess.Popen(
            [sys.executable, "-c", preamble + textwrap.dedent(code), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 512 kB."""
    with small_disk(tmp_path / "disk", "512k") as folder:
        yield folder


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


WRITER = """
    from pathlib import Path
    from test_journal_faults import FINGERPRINT, SqliteJournal, outcomes
    journal = SqliteJournal(Path(sys.argv[1]))
    journal.claim(FINGERPRINT)
    done = 0
    while True:
        journal.append(outcomes(done, done + 50))
        done += 50
        print(done, flush=True)
"""

HOLDER = """
    from pathlib import Path
    from test_journal_faults import SqliteJournal, outcomes
    journal = SqliteJournal(Path(sys.argv[1]))
    journal.append(outcomes(0, 10))
    print("ready", flush=True)
    sys.stdin.read()
"""


class TestKilledWriters:
    @pytest.mark.parametrize("batches", [1, 7, 40])
    def test_reported_outcomes_are_kept(self, path: Path, start: Callable, batches: int) -> None:
        """Outcomes that a writer reported survive kill -9 during the next append."""
        process = start(WRITER, path)
        for _ in range(batches):
            reported = int(read(process))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        with closing(SqliteJournal(path, read_only=True)) as journal:
            seen = journal.outcomes(0)
        with closing(SqliteJournal(path)) as journal:
            journal.claim(FINGERPRINT)
            found = journal.outcomes(0)
            assert found == seen == outcomes(0, len(found))
            assert len(found) >= reported
            assert len(found) % 50 == 0, "a batch is there whole or not at all"
            journal.append(outcomes(len(found), len(found) + 1))
            assert journal.count() == len(found) + 1

    def test_killed_while_it_creates(self, path: Path) -> None:
        """A file from an interrupted creation is an empty journal."""
        path.touch()
        with pytest.raises(JournalError, match="holds nothing yet"):
            SqliteJournal(path, read_only=True)
        with closing(SqliteJournal(path)) as journal:
            assert journal.count() == 0

    def test_a_forked_child_does_not_keep_the_lock(self, path: Path, start: Callable) -> None:
        """A child that outlives its killed writer does not hold the lock."""
        code = """
            import os
            from pathlib import Path
            from test_journal_faults import SqliteJournal
            journal = SqliteJournal(Path(sys.argv[1]))
            if os.fork() == 0:
                print("child", flush=True)
                sys.stdin.read()
                os._exit(0)
            os.waitpid(-1, 0)
        """
        process = start(code, path)
        assert read(process) == "child"
        process.kill()
        process.wait()
        SqliteJournal(path).close()


class TestLocks:
    def test_one_writer(self, path: Path, start: Callable) -> None:
        """A second writer gets the first one's process id; readers work; the lock ends with it."""
        holder = start(HOLDER, path)
        read(holder)
        with pytest.raises(JournalError, match=rf"is being written by process {holder.pid}\b"):
            SqliteJournal(path)
        with closing(SqliteJournal(path, read_only=True)) as reader:
            assert reader.outcomes(0) == outcomes(0, 10)
        holder.kill()
        holder.wait()
        with closing(SqliteJournal(path)) as journal:
            assert journal.outcomes(0) == outcomes(0, 10)

    def test_one_writer_in_one_process(self, path: Path) -> None:
        """The lock also holds within a process, and a refused attempt does not release it."""
        with closing(SqliteJournal(path)) as journal:
            for _ in range(2):
                with pytest.raises(JournalError, match=f"by process {os.getpid()}"):
                    SqliteJournal(path)
            journal.append(outcomes(0, 1))
        with closing(SqliteJournal(path)) as journal:
            assert journal.count() == 1
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]

    def test_readers_follow_the_writer(self, path: Path) -> None:
        """An open reader sees later outcomes and does not block the writer."""
        with (
            closing(SqliteJournal(path)) as writer,
            closing(SqliteJournal(path, read_only=True)) as reader,
        ):
            for count in (5, 10):
                writer.append(outcomes(0, count))
                assert reader.count() == count

    def test_locked_by_another_program(
        self, path: Path, recorded: list[Outcome], start: Callable
    ) -> None:
        """A file that another program locks is reported, and can be written after that."""
        locker = start(
            """
            import sqlite3
            connection = sqlite3.connect(sys.argv[1], isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE")
            print("locked", flush=True)
            sys.stdin.read()
            """,
            path,
        )
        read(locker)
        with closing(SqliteJournal(path, busy_timeout=0.05)) as journal:
            with pytest.raises(JournalError, match="another program keeps it locked") as caught:
                journal.append(outcomes(3000, 3001))
            assert str(path) in str(caught.value)
            locker.kill()
            locker.wait()
            journal.append(outcomes(3000, 3001))
            assert journal.outcomes(0) == [*recorded, outcome(3000)]

    def test_a_reader_changes_nothing(self, path: Path, recorded: list[Outcome]) -> None:
        """A journal opened for reading refuses to write and gives a remedy."""
        with closing(SqliteJournal(path, read_only=True)) as journal:
            journal.claim(FINGERPRINT)
            with pytest.raises(FingerprintError):
                journal.claim({"X": "cd" * 32})
            with pytest.raises(JournalError, match="reading only; resume the run"):
                journal.append(outcomes(3000, 3001))
            assert journal.count() == len(recorded)


class TestFullDisk:
    def fill(self, journal: SqliteJournal) -> int:
        """Append until the disk is full; return the number of recorded outcomes."""
        done = 0
        while done < 100_000:
            try:
                journal.append(outcomes(done, done + 20))
            except JournalError as error:
                assert re.search(r"journal\.sqlite: .*Make room", str(error))  # noqa: PT017
                break
            done += 20
        return done

    def test_full_disk(self, small: Path) -> None:
        """On a full disk an append fails, and earlier outcomes stay."""
        path = small / "journal.sqlite"
        with closing(SqliteJournal(path)) as journal:
            done = self.fill(journal)
            assert done > 0
            assert journal.outcomes(0) == outcomes(0, done)
        remount(small, "size=8m")
        with closing(SqliteJournal(path)) as journal:
            assert journal.outcomes(0) == outcomes(0, done)
            journal.append(outcomes(done, done + 20))
            assert journal.outcomes(0) == outcomes(0, done + 20)

    def test_space_is_freed_while_the_journal_is_open(self, small: Path) -> None:
        """An open journal continues after space was freed."""
        path = small / "journal.sqlite"
        with closing(SqliteJournal(path)) as journal:
            done = self.fill(journal)
            remount(small, "size=8m")
            journal.append(outcomes(done, done + 20))
            assert journal.outcomes(0) == outcomes(0, done + 20)

    def test_no_space_for_a_new_journal(self, small: Path) -> None:
        """A journal that cannot be created is reported."""
        filler = small / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(1_000_000))
        with pytest.raises(JournalError, match="Make room"):
            SqliteJournal(small / "journal.sqlite")
        filler.unlink()
        SqliteJournal(small / "journal.sqlite").close()

    def test_quota(self, path: Path, start: Callable) -> None:
        """At a limit on file size an append fails, and earlier outcomes can be read."""
        process = start(
            """
            import resource, signal
            from pathlib import Path
            from test_journal_faults import JournalError, SqliteJournal, outcomes
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            journal = SqliteJournal(Path(sys.argv[1]))
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
            done = 0
            try:
                while done < 100_000:
                    journal.append(outcomes(done, done + 20))
                    done += 20
            except JournalError as error:
                print(done, error, flush=True)
            """,
            path,
        )
        done, message = read(process).split(" ", 1)
        process.wait()
        assert "Make room" in message
        assert str(path) in message
        assert int(done) > 0
        with closing(SqliteJournal(path)) as journal:
            assert journal.outcomes(0) == outcomes(0, int(done))


class TestPlaces:
    def test_read_only_folder(self, small: Path) -> None:
        """In a read-only folder writing is refused with a remedy, and reading works."""
        path = small / "journal.sqlite"
        with closing(SqliteJournal(path)) as journal:
            journal.append(outcomes(0, 100))
        remount(small, "ro")
        with pytest.raises(JournalError, match=r"journal\.sqlite.*can be written"):
            SqliteJournal(path)
        with closing(SqliteJournal(path, read_only=True)) as journal:
            assert journal.outcomes(0) == outcomes(0, 100)

    def test_read_only_folder_after_a_kill(
        self, small: Path, start: Callable, tmp_path: Path
    ) -> None:
        """The outcomes of a killed writer on a read-only disk are read completely or not at all."""
        path = small / "journal.sqlite"
        holder = start(HOLDER, path)
        read(holder)
        holder.kill()
        holder.wait()
        remount(small, "ro")
        try:
            with closing(SqliteJournal(path, read_only=True)) as journal:
                assert journal.outcomes(0) == outcomes(0, 10)
        except JournalError as error:
            assert "copy the run's folder" in str(error)  # noqa: PT017 - either is right
        shutil.copytree(small, tmp_path / "copy")
        with closing(SqliteJournal(tmp_path / "copy" / path.name)) as journal:
            assert journal.outcomes(0) == outcomes(0, 10)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_forbidden_folder(self, path: Path, recorded: list[Outcome]) -> None:
        """Without permission to write in the folder, writing is refused and reading works."""
        path.parent.chmod(0o500)
        try:
            with pytest.raises(JournalError, match="can be written"):
                SqliteJournal(path)
            with closing(SqliteJournal(path, read_only=True)) as journal:
                assert journal.outcomes(0) == recorded
        finally:
            path.parent.chmod(0o700)

    def test_a_lock_file_that_cannot_be_removed_does_not_hinder_the_end(self, path: Path) -> None:
        """On a disk that has become read-only, closing raises nothing and frees the lock."""
        journal = SqliteJournal(path)
        lock = path.with_name(path.name + ".lock")
        lock.unlink()
        lock.mkdir()  # no file: unlink fails, as it does on a read-only disk
        journal.close()
        lock.rmdir()
        SqliteJournal(path).close()

    def test_missing_folder(self, tmp_path: Path) -> None:
        """A missing folder is named."""
        with pytest.raises(JournalError, match=r"no folder .*missing.*--runs-dir"):
            SqliteJournal(tmp_path / "missing" / "journal.sqlite")

    def test_missing_file(self, path: Path) -> None:
        """A reader of a missing journal raises an error and creates no file."""
        with pytest.raises(JournalError, match="there is no journal at"):
            SqliteJournal(path, read_only=True)
        assert not path.exists()

    @pytest.mark.parametrize("read_only", [False, True])
    def test_a_folder_of_that_name(self, path: Path, read_only: bool) -> None:
        """A folder in place of the file is reported."""
        path.mkdir()
        with pytest.raises(JournalError, match="is not a regular file"):
            SqliteJournal(path, read_only=read_only)

    def test_odd_names(self, tmp_path: Path) -> None:
        """A path may contain special characters of URIs."""
        folder = tmp_path / "50% of it? #1 & é"
        folder.mkdir()
        with closing(SqliteJournal(folder / "journal.sqlite")) as journal:
            journal.append(outcomes(0, 1))
        assert [entry.name for entry in folder.iterdir()] == ["journal.sqlite"]
        with closing(SqliteJournal(folder / "journal.sqlite", read_only=True)) as journal:
            assert journal.count() == 1


@pytest.mark.parametrize("read_only", [False, True])
class TestDamage:
    def refuse(self, path: Path, read_only: bool, message: str) -> None:
        """Check that opening fails with this message and leaves the file unchanged."""
        before = path.read_bytes()
        with pytest.raises(JournalError, match=message) as caught:
            SqliteJournal(path, read_only=read_only)
        assert str(path) in str(caught.value)
        assert path.read_bytes() == before
        assert not path.with_name(path.name + ".lock").exists()

    @pytest.mark.parametrize("share", [0.001, 0.02, 0.5, 0.9999])
    def test_truncated(
        self, path: Path, recorded: list[Outcome], read_only: bool, share: float
    ) -> None:
        """A file without its end is refused."""
        os.truncate(path, int(path.stat().st_size * share))
        self.refuse(path, read_only, "truncated or damaged|is not a journal")

    @pytest.mark.parametrize("position", [0.3, 0.6, 0.95])
    def test_damaged_page(
        self, path: Path, recorded: list[Outcome], read_only: bool, position: float
    ) -> None:
        """A file with a damaged page is refused."""
        page = int(path.stat().st_size * position) // 4096 * 4096
        with path.open("r+b") as file:
            file.seek(page)
            file.write(bytes(range(256)) * 16)
        self.refuse(path, read_only, "truncated or damaged")

    def test_a_byte_of_a_score(self, path: Path, recorded: list[Outcome], read_only: bool) -> None:
        """A score that changed on the disk is not returned."""
        content = path.read_bytes()
        score = struct.pack(">d", recorded[1234].test_scores)
        assert content.count(score) == 1
        path.write_bytes(content.replace(score, score[:-1] + bytes([score[-1] ^ 1])))
        message = r"candidate 1234.*2999 of 3000 recorded outcomes can be kept"
        with (
            pytest.raises(DamagedJournalError, match=message),
            closing(SqliteJournal(path, read_only=read_only)) as journal,
        ):
            journal.outcomes(0)

    def test_not_a_database(self, path: Path, read_only: bool) -> None:
        """A file that is no database is refused."""
        path.write_text("candidate,score\n" * 1000)
        self.refuse(path, read_only, "is not a journal")

    def test_another_programs_database(self, path: Path, read_only: bool) -> None:
        """An SQLite file of another program is refused."""
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE cookies (value)")
        self.refuse(path, read_only, "SQLite file of another program")

    def test_another_version(self, path: Path, recorded: list[Outcome], read_only: bool) -> None:
        """A journal of another version is refused with the version."""
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 7")
            connection.execute("PRAGMA journal_mode = DELETE")
        self.refuse(path, read_only, "has version 7; this skygrid reads version 3")
