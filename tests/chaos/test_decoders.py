"""Every decoder, on random and on damaged input: an error of its own, or a value that can be used.

Inputs that once did harm are examples here, so that each run tries them.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stderr, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB

from skygrid.engine.result_check import fault_of
from skygrid.environment.kit import build_kit
from skygrid.environment.records import Environment
from skygrid.environment.shell_commands import (
    PROBE_BEGIN,
    PROBE_END,
    read_probe,
    unpack_and_prepare,
)
from skygrid.errors import ConfigError, JournalError, PreparationError, SkygridError
from skygrid.journal.salvage import salvage
from skygrid.journal.schema import KEYS
from skygrid.journal.sqlite import SqliteJournal, recorded_outcomes
from skygrid.nodes.ec2.cloud_record import CloudRecord, Launch, read_cloud_record
from skygrid.nodes.ec2.records import Pool
from skygrid.nodes.ssh.doctor import notes_on, problems_of
from skygrid.nodes.ssh.targets import SshOptions, find_target
from skygrid.plan.records import Outcome, RoundPlan, ScoreForm
from skygrid.reports.console import SafeConsole
from skygrid.reports.result_json import read_summary, result_json
from skygrid.reports.run_record import DriverMark, NodeRecord, RunRecord
from skygrid.reports.run_view import RunView, run_json
from skygrid.reports.summary import RunFacts, summarise
from skygrid.reports.terminal.finished import summary_view
from skygrid.reports.terminal.runs import run_panel, runs_view
from skygrid.run.secrets_file import recorded_settings
from skygrid.sklearn_search.exception_values import read_value
from skygrid.sklearn_search.exceptions import exception_of
from skygrid.sklearn_search.warnings import WarningCounter, category_of
from skygrid.util.terminal import show_warnings
from skygrid.worker.evaluation.exception_records import MOST_DEPTH, records_of
from skygrid.worker.slots.pool import LENGTH, SlotPool
from skygrid.worker.slots.slot_news import SlotNews
from skygrid.worker.wire import stream
from skygrid.worker.wire.frames import HEADER, FrameError, FrameReader, encode
from skygrid.worker.wire.messages.exceptions import ClassName, ExceptionRecord, TaggedValue
from skygrid.worker.wire.messages.from_agent import FromAgent, Heartbeat
from skygrid.worker.wire.messages.results import FitResult, Report, TypedNumber, WarningNote
from skygrid.worker.wire.messages.to_agent import ToAgent
from skygrid.worker.wire.packing import unpack
from skygrid.worker.wire.scores import from_wire

few = settings(max_examples=25)
some = settings(max_examples=60)

text = st.text(max_size=20)
number = st.integers(-(2**63), 2**64 - 1) | st.floats() | st.just(1e300)
plain = st.recursive(
    st.none() | st.booleans() | number | text | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
in_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def changed_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw bytes with a flipped bit, a missing piece, a repeated piece or another end."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        stop = min(len(data), start + draw(st.integers(1, 40)))
        change = draw(st.sampled_from(["flip", "cut", "remove", "repeat", "insert"]))
        if change == "flip" and data:
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del data[start:]
        elif change == "remove":
            del data[start:stop]
        elif change == "repeat":
            data[start:start] = data[start:stop]
        else:
            data[start:start] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


@st.composite
def changed_document(draw: st.DrawFn, whole: Any) -> Any:
    """Draw a JSON document in which one value is missing or another one."""
    document = json.loads(json.dumps(whole))
    place, steps = document, draw(st.integers(1, 3))
    for step in range(steps):
        keys = list(place) if isinstance(place, dict) else range(len(place))
        if not keys:
            break
        key = draw(st.sampled_from(list(keys)))
        if step + 1 < steps and isinstance(place[key], dict | list):
            place = place[key]
        elif draw(st.booleans()):
            place[key] = draw(in_json)
            break
        else:
            del place[key]
            break
    return document


# ---- frames, messages and stream -----------------------------------------------------------------

HONEST = Report(
    round=0,
    results=[
        FitResult(
            lease=1,
            candidate=0,
            slot=0,
            status="raised",
            test_scores={"a": 0.5, "b": TypedNumber("<f4", "0000003f")},
            exception=records_of(ValueError("x", {"a": [1, 2.0, b"y"]})),
        )
    ],
)
BEAT = Heartbeat(busy=1, running=[1], slots_bytes=5, load=0.5)


def framed(payload: bytes) -> bytes:
    """Return a frame with the right checksum, as a node that lies sends it."""
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def read_frames(data: bytes, kind: Any) -> list[Any]:
    """Return the messages in front of the first error."""
    found: list[Any] = []
    with suppress(FrameError):
        found.extend(FrameReader(kind).feed(data))
    return found


@given(data=st.binary(max_size=200) | changed_bytes(encode(HONEST) + encode(BEAT)))
@example(data=b"\xff" * 8)
def test_frames(data: bytes) -> None:
    """Bytes that are no frames end in a FrameError."""
    assert all(one in (HONEST, BEAT) for one in read_frames(data, FromAgent))


@given(
    payload=plain.map(msgspec.msgpack.encode)
    | changed_bytes(msgspec.msgpack.encode(HONEST))
    | st.binary(max_size=100)
)
@example(payload=b"\x91" * 100_000)
@example(payload=b"\x81\xa4type\xa6report")
@example(payload=msgspec.msgpack.encode({"type": "log", "text": "x"})[:-1] + b"\xff")
@example(payload=msgspec.msgpack.encode({"type": "beat", "busy": 2**60}))
def test_messages(payload: bytes) -> None:
    """A payload that is no message ends in a FrameError, for the driver and for the agent."""
    for kind in (FromAgent, ToAgent):
        for message in read_frames(framed(payload), kind):
            assert read_frames(encode(message), kind) or message != message


@given(data=st.binary(max_size=100) | changed_bytes(framed(msgspec.msgpack.encode(HONEST))))
@example(data=LENGTH.pack(100_000) + b"\x91" * 100_000)
def test_news_of_a_slot(data: bytes) -> None:
    """A fit that writes into its slot's pipe costs the slot, not the agent."""
    pool = SlotPool.__new__(SlotPool)
    pool._decoder = msgspec.msgpack.Decoder(SlotNews)
    with suppress(ValueError):
        list(pool._cut(bytearray(data)))


def conversation() -> bytes:
    """Return the packets of an honest end."""
    one = stream.ResumableStream(b"s" * stream.SESSION_BYTES)
    other = stream.ResumableStream(b"s" * stream.SESSION_BYTES)
    one.connect(), other.connect()
    hello = one.outgoing()
    one.feed(other.outgoing())
    one.write(b"some bytes")
    one.ping()
    one.end()
    return b"".join([hello, *(one.outgoing() for _ in range(4))])


@given(data=st.binary(max_size=100) | changed_bytes(conversation()))
@example(data=b"\x01\xff\xff\xff\xff")
@example(data=b"\x06\x03\x00\x00\x00\xff\xfe\xfd")
def test_the_stream(data: bytes) -> None:
    """Bytes that are no packets end in a StreamError, and every byte that is read was written."""
    end = stream.ResumableStream(b"s" * stream.SESSION_BYTES)
    end.connect()
    with suppress(stream.StreamError):
        end.feed(data)
        end.outgoing()
    with suppress(stream.StreamError):
        hello = stream.read_hello(data)
        assert hello is None or stream.StreamHost().admit(hello)


@given(data=st.binary(max_size=100) | changed_bytes(zlib.compress(b"x" * 10_000)))
@example(data=zlib.compress(bytes(100 << 20)))
def test_packed_chunks(data: bytes) -> None:
    """A packed chunk that is damaged, or that grows too large, is refused."""
    with suppress(ValueError):
        unpack(data)


# ---- scores and exceptions -----------------------------------------------------------------------

kinds = st.sampled_from(["int", "bool", "complex", "decimal", "fraction", "<f4", "|b1", ">i8"])
written = st.sampled_from(["", "0", "-f", "1/0", "NaN", "True", "1e400", "0000003f"])
score = st.floats() | st.builds(TypedNumber, kinds | text, written | text)
scores = st.none() | score | st.dictionaries(text, score, max_size=3)
FORMS = (ScoreForm(), ScoreForm(open=False), ScoreForm(metrics=frozenset({"a"}), train=True))


@given(test=scores, train=scores)
@example(test=TypedNumber("int", "f" * 400), train=None)
@example(test=TypedNumber("fraction", "f" * 9_000 + "/" + "e" * 900), train=None)
@example(test=TypedNumber("decimal", "1e999999999"), train=None)
@example(test=TypedNumber("decimal", "sNaN"), train=None)
@example(test={"a": {}}, train=None)
@example(test={}, train={})
@example(test=TypedNumber("<f99", "00"), train=None)
def test_scores(test: Any, train: Any) -> None:
    """Scores of a node have a fault, or scikit-learn can put them into an array."""
    result = FitResult(
        lease=1, candidate=0, slot=0, status="scored", test_scores=test, train_scores=train
    )
    try:
        result = msgspec.msgpack.decode(msgspec.msgpack.encode(result), type=FitResult)
    except msgspec.ValidationError:
        return
    for form in FORMS:
        if fault_of(result, form, 0.0) is None:
            read = from_wire(result.test_scores)  # type: ignore[arg-type]
            for value in read.values() if isinstance(read, dict) else [read]:
                value if isinstance(value, complex) else float(value)


tags = st.sampled_from(
    [
        "exception",
        "list",
        "tuple",
        "set",
        "dict",
        "bunch",
        "array",
        "bytes",
        "text",
        "number",
        "dtype",
        "class",
        "path",
        "other",
    ]
)
value: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | number | text | st.sampled_from(["<f8", "<i0", "|O8"]),
    lambda inner: st.builds(
        TaggedValue, tags | text, st.lists(inner, max_size=3).map(tuple), st.binary(max_size=16)
    ),
    max_leaves=6,
)
class_name = st.sampled_from(
    [
        ClassName("builtins", "ValueError"),
        ClassName("builtins", "UnicodeDecodeError"),
        ClassName("builtins", "ExceptionGroup"),
        ClassName("builtins", "KeyError"),
        ClassName("builtins", "object"),
        ClassName("json", "JSONDecodeError"),
        ClassName("skygrid.errors", "UsageError"),
        ClassName("subprocess", "Popen"),
        ClassName("nowhere", "Error"),
    ]
) | st.builds(ClassName, text, text, text)
index = st.none() | st.integers(-2, 3)
record = st.builds(
    ExceptionRecord,
    classes=st.lists(class_name, max_size=2).map(tuple),
    text=value,
    args=st.lists(value, max_size=2).map(tuple),
    fields=st.dictionaries(st.sampled_from(["start", "end", "errno", "message"]), value),
    attributes=st.dictionaries(text | st.just("__notes__"), value, max_size=2),
    members=st.lists(st.integers(-2, 3), max_size=2).map(tuple),
    cause=index,
    context=index,
)


@given(wire=value)
@example(wire=TaggedValue("array", ("<f8", TaggedValue("tuple", (2**40, 2**40))), b""))
@example(wire=TaggedValue("number", ("decimal", "1e999999999")))
@example(wire=TaggedValue("path", ("\0",)))
def test_values_of_an_exception(wire: Any) -> None:
    """Each value is read, or replaced by a stand-in; both have a text."""
    with suppress(msgspec.DecodeError, RecursionError):  # refused with its frame
        sent = msgspec.msgpack.decode(msgspec.msgpack.encode([wire]), type=list[Any])
        assert sent
    read = read_value(wire, ValueError)
    assert isinstance(repr(read)[:10] + str(read)[:10], str)


@given(records=st.lists(record, max_size=3).map(tuple))
@example(records=(ExceptionRecord(classes=(), cause=0, context=0),))
@example(records=(ExceptionRecord(classes=(ClassName("builtins", "BaseExceptionGroup"),)),))
def test_exceptions(records: tuple[ExceptionRecord, ...]) -> None:
    """Every record becomes an exception that can be raised and printed."""
    result = FitResult(lease=1, candidate=0, slot=0, status="raised", exception=records)
    error = exception_of(result, "a fit")
    assert isinstance(error, BaseException)
    assert isinstance(str(error), str)


@pytest.mark.parametrize("depth", [MOST_DEPTH + 1, 400])
def test_a_value_that_is_nested_too_deep(depth: int) -> None:
    """A value as deep as the decoder of messages allows does not exhaust the driver's stack."""
    packed = b"\x93\xa4list\x91" * depth + b"\x93\xa4list\x90\xc4\x00" + b"\xc4\x00" * depth
    wire = msgspec.msgpack.decode(packed, type=TaggedValue)
    raised = ExceptionRecord(classes=(ClassName("builtins", "ValueError"),), args=(wire,))
    result = FitResult(lease=1, candidate=0, slot=0, status="raised", exception=(raised,))
    assert "unreadable list" in str(exception_of(result, "a fit"))


category = st.sampled_from(
    ["builtins:UserWarning", "builtins:int", "builtins:SystemExit", "os:system", "nowhere:Warning"]
)


@given(
    note=st.builds(
        WarningNote,
        category | text,
        text,
        st.sampled_from(["/dev/zero", "/dev/tty", __file__]) | text,
        st.integers(-(2**31), 2**31 - 1),
    )
)
@example(note=WarningNote("builtins:UserWarning", "x", "/dev/zero", 1))
@example(note=WarningNote("builtins:UserWarning", "x", __file__, -(2**31)))
@example(note=WarningNote("builtins:UserWarning", "\x1b[2J", "\0", 2**31 - 1))
def test_warnings_of_a_fit(note: WarningNote) -> None:
    """Every note becomes a warning that can be printed, without a look into the file it names."""
    result = FitResult(
        lease=1, candidate=0, slot=0, status="scored", test_scores=1.0, warnings=(note,)
    )
    counter, screen = WarningCounter(), io.StringIO()
    counter.add([result])
    with warnings.catch_warnings(), redirect_stderr(screen):
        warnings.simplefilter("always")
        show_warnings()
        counter.issue()
    assert "\x1b" not in screen.getvalue()
    assert issubclass(category_of(note.category), Warning)


# ---- journal -------------------------------------------------------------------------------------

FINGERPRINT = {"X": "ab"}


def outcome(candidate: int) -> Outcome:
    return Outcome(
        round=0,
        candidate=candidate,
        split=0,
        status="scored",
        node="n",
        slot=0,
        test_scores=0.5 + candidate,
        fit_seconds=0.5,
        score_seconds=0.5,
        busy_seconds=0.5,
        finished_at=1.0,
    )


OUTCOMES = [outcome(number) for number in range(60)]


@pytest.fixture(scope="module")
def closed_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a closed journal with 60 outcomes."""
    path = tmp_path_factory.mktemp("journal") / "journal.sqlite"
    with closing(SqliteJournal(path)) as journal:
        journal.claim(FINGERPRINT)
        journal.settle(RoundPlan(round=0, candidates=[{}] * 60, splits=[([0], [1])]))
        journal.append(OUTCOMES)
    return path


@some
@given(data=st.data())
def test_a_damaged_journal(closed_journal: Path, data: st.DataObject) -> None:
    """A journal returns what was recorded or says that it is damaged; so does what is salvaged."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        path.write_bytes(data.draw(changed_bytes(closed_journal.read_bytes())))
        with suppress(JournalError):
            recorded_outcomes(path)
        try:
            with closing(SqliteJournal(path)) as journal:
                read = journal.outcomes(0)
        except JournalError:
            with suppress(JournalError):
                salvage(path, FINGERPRINT)
                with closing(SqliteJournal(path)) as journal:
                    assert set(map(msgspec.msgpack.encode, journal.outcomes(0))) <= _ENCODED
        else:
            assert read in (OUTCOMES, [])


_ENCODED = set(map(msgspec.msgpack.encode, OUTCOMES))

cell = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | text | st.binary(max_size=9)


@few
@given(data=st.data())
def test_a_row_that_another_program_changed(closed_journal: Path, data: st.DataObject) -> None:
    """A changed value of a row is found, for values of every type."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        path.write_bytes(closed_journal.read_bytes())
        with closing(sqlite3.connect(path)) as connection:
            table = data.draw(st.sampled_from([*KEYS, "totals"]))
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            column = data.draw(st.sampled_from(columns))
            with suppress(sqlite3.Error, UnicodeEncodeError):
                connection.execute(f"UPDATE {table} SET {column} = ?", (data.draw(cell),))
                connection.commit()
        try:
            with closing(SqliteJournal(path)) as journal:
                assert journal.outcomes(0) == OUTCOMES
        except JournalError:
            with suppress(JournalError):
                salvage(path, FINGERPRINT)


# ---- files of a run ------------------------------------------------------------------------------

RECORD = msgspec.to_builtins(
    RunRecord(
        id="0123456789abcdef",
        name="r",
        state="running",
        search_file="/x/search.py",
        argv=("skygrid", "run"),
        config={"retries": 2, "environment": {"index_url": "https://****@example.org"}},
        started_at=1000.0,
        driver=DriverMark(pid=1, host="h", started="x"),
        nodes=(NodeRecord(name="one", slots=2, versions={"numpy": "2"}),),
        fits_total=40,
        versions={"numpy": "2"},
        fingerprint={"X": "ab"},
    )
)


def printed(view: Any) -> str:
    console = SafeConsole(io.StringIO())
    console.width = 80
    console.print(view)
    return console.file.getvalue()  # type: ignore[attr-defined]


@given(document=changed_document(RECORD) | in_json)
@example(document=RECORD | {"driver": {"pid": 2**40, "host": os.uname().nodename}})
@example(document=RECORD | {"started_at": 1e300})
@example(document=RECORD | {"started_at": -1.0, "ended_at": 1e12})
@example(document=RECORD | {"fits_recorded": -(2**70)})
@example(document=RECORD | {"name": "\x1b]52;c;eA==\x07", "error": "\x1b[2J"})
def test_run_json(document: Any) -> None:
    """A run.json is refused, or can be listed and shown; no control character gets out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.json").write_text(json.dumps(document))
        try:
            found = RunRecord.read(folder)
        except SkygridError:
            return
        with suppress(SkygridError):
            recorded_settings(folder, found)
        view = RunView(folder=name, record=found, state=found.seen_state(), fits_recorded=3)
        shown = printed(runs_view([view], 2000.0)) + printed(run_panel(view, 2000.0))
        assert "\x1b" not in shown
        assert run_json(view)


@given(content=st.binary(max_size=100) | changed_bytes(json.dumps(RECORD).encode()))
@example(content=b"[" * 100_000)
@example(content=b'{"format": 1, "x": ' + b"9" * 5_000 + b"}")
@example(content=b"")
def test_documents_that_are_not_whole(content: bytes) -> None:
    """A file of a run that is cut or overwritten is refused with its name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        readers: list[tuple[str, Callable[[Path], Any]]] = [
            ("run.json", RunRecord.read),
            ("result.json", read_summary),
            ("cloud.json", read_cloud_record),
        ]
        for file, read in readers:
            (folder / file).write_bytes(content)
            with suppress(SkygridError):
                read(folder)


POOL = Pool(instance_type="c7i.large", market="spot", zone="a", subnet="s")
CLOUD = msgspec.to_builtins(
    CloudRecord(
        run_id="0123",
        region="eu-west-1",
        account="1",
        launches=(Launch(node="n", generation=1, token="t", pool=POOL, asked_at=1.0),),
    )
)


@given(document=changed_document(CLOUD) | in_json)
@example(document=CLOUD | {"launches": [{}]})
@example(document=CLOUD | {"alive_at": 1e300})
def test_cloud_json(document: Any) -> None:
    """A cloud.json is refused or read as a record."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "cloud.json").write_text(json.dumps(document))
        with suppress(SkygridError):
            assert isinstance(read_cloud_record(Path(name)), CloudRecord)


def a_result() -> dict[str, Any]:
    """Return the content of a small run's result.json."""
    X, y = make_classification(30, random_state=0)
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1.0]}, cv=2).fit(X, y)
    facts = RunFacts(name="r", folder="skygrid-runs/r", wall_seconds=1.5, outcomes=OUTCOMES[:2])
    document: dict[str, Any] = json.loads(
        result_json(summarise(search, facts), search.cv_results_, OUTCOMES[:2])
    )
    return document


RESULT = a_result()


@given(document=changed_document(RESULT) | in_json)
@example(document=RESULT | {"best_params": {"\x1b[2J": "\x1b]52;c;eA==\x07"}})
@example(document=RESULT | {"wall_seconds": 1e300})
@example(document=RESULT | {"wall_seconds": -1e300})
@example(document=RESULT | {"candidates": 2**70})
def test_result_json(document: Any) -> None:
    """A result.json is refused, or can be shown; no control character gets out."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "result.json").write_text(json.dumps(document))
        with suppress(SkygridError):
            found = read_summary(Path(name))
            assert found is not None
            assert "\x1b" not in printed(summary_view(found))


# ---- output of hosts -----------------------------------------------------------------------------

PROBE = f"""{PROBE_BEGIN}
root=/home/me/.cache/skygrid
system=Linux
machine=x86_64
libc=glibc 2.36
python=3.11.2 /usr/bin/python3
uv=uv 0.5 /usr/bin/uv
free_kib=1000
memory_kib=2000
writable=yes
{PROBE_END}
"""


@given(
    output=st.text()
    | changed_bytes(PROBE.encode()).map(lambda data: data.decode(errors="replace"))
    | st.tuples(st.sampled_from(["free_kib", "memory_kib", "python", "uv"]), st.text()).map(
        lambda pair: PROBE.replace(PROBE_END, f"{pair[0]}={pair[1]}\n{PROBE_END}")
    )
)
@example(output=f"{PROBE_END}\n{PROBE_BEGIN}")
@example(output=PROBE.replace("=1000", "=²"))
@example(output=PROBE.replace("=1000", "=" + "9" * 5_000))
@example(output=PROBE.replace("=1000", "=" + "9" * 400))
@example(output=PROBE.replace("=2000", "=" + "9" * 400))
def test_the_answer_of_a_probe(output: str) -> None:
    """A host's answer is refused, or its facts can be examined."""
    try:
        found = read_probe(output)
    except PreparationError:
        return
    list(problems_of(found))
    list(notes_on(found, "3.11"))
    assert found.memory_kib / 2**20 >= 0
    assert (found.free_kib or 0) / 2**20 >= 0


SETTINGS = """host x
user me
hostname example.org
port 22
identitiesonly no
identityfile ~/.ssh/id_rsa
userknownhostsfile ~/.ssh/known_hosts
globalknownhostsfile /etc/ssh/ssh_known_hosts
proxyjump none
"""


@pytest.fixture(scope="module")
def ssh_that_prints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Put a program `ssh` on the PATH that prints a file; return the file."""
    folder = tmp_path_factory.mktemp("ssh")
    (folder / "ssh").write_text(f"#!/bin/sh\nexec cat {folder}/settings\n")
    (folder / "ssh").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield folder / "settings"


@few
@given(output=changed_bytes(SETTINGS.encode()) | st.binary(max_size=60))
@example(output=SETTINGS.replace("port 22", "port x").encode())
@example(output=SETTINGS.replace("port 22", "port " + "9" * 5_000).encode())
@example(output=SETTINGS.replace("user me", "user m\xfc").encode("latin-1"))
@example(output=SETTINGS.replace("~/.ssh/id_rsa", "~nobodyofthatname/key").encode())
@example(output=SETTINGS.replace("~/.ssh/id_rsa", "\0").encode())
@example(output=SETTINGS.replace("jump none", "jump x,").encode())
def test_the_settings_of_openssh(ssh_that_prints: Path, output: bytes) -> None:
    """Settings that cannot be used are refused as a fault of the SSH configuration."""
    ssh_that_prints.write_bytes(output)
    with suppress(ConfigError):
        find_target("x", SshOptions())


# ---- kits ----------------------------------------------------------------------------------------


KIT = build_kit(Environment(python="3.12", minor="3.12", requirements=("a==1",)))


@settings(max_examples=10)
@given(damaged=st.integers(1, len(KIT.data) - 1).map(lambda n: KIT.data[:n]))
@example(damaged=b"")
@example(damaged=KIT.data[:-1])
def test_a_kit_that_is_cut(damaged: bytes) -> None:
    """A kit that does not arrive whole is refused by the host, and leaves nothing there."""
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(
            ["sh", "-c", unpack_and_prepare(name, KIT.environment_key, KIT.code_key)],
            input=damaged,
            capture_output=True,
            check=False,
        )
        assert done.returncode != 0
        assert b"skygrid:" in done.stderr
        assert [path.name for path in Path(name).iterdir()] == ["incoming"]
        assert not list((Path(name) / "incoming").iterdir())
