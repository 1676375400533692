"""Exceptions travel as data of limited size, and invalid records do no harm."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import msgspec
import pytest

from skygrid.errors import BudgetReachedError, SearchFailedError
from skygrid.sklearn_search.exception_values import Unsent
from skygrid.sklearn_search.exceptions import exception_of
from skygrid.worker.evaluation.exception_records import records_of
from skygrid.worker.wire.messages.exceptions import (
    MOST_EXCEPTIONS,
    ClassName,
    ExceptionRecord,
    TaggedValue,
)
from skygrid.worker.wire.messages.results import FitResult


def received(records: tuple[ExceptionRecord, ...], fit_error: str = "traceback") -> Any:
    """Return the driver's result for records that came over the wire."""
    result = FitResult(
        lease=1, candidate=0, slot=0, status="raised", fit_error=fit_error, exception=records
    )
    payload = msgspec.msgpack.encode(result)
    assert len(payload) < 2**22
    return exception_of(msgspec.msgpack.decode(payload, type=FitResult), "a fit")


def again(error: BaseException) -> Any:
    """Return an exception after its way over the wire."""
    return received(records_of(error))


def record(*classes: str, **fields: Any) -> ExceptionRecord:
    names = tuple(ClassName(*name.split(":")) for name in classes)
    return ExceptionRecord(classes=names, **fields)


class TestBounds:
    """Records of an exception are small."""

    def test_chain(self) -> None:
        """The first hundred exceptions of a long chain of causes are sent."""
        error: BaseException = ValueError(0)
        for number in range(1, 1000):
            cause, error = error, ValueError(number)
            error.__cause__ = cause
        ours, length = again(error), 0
        while ours is not None:
            ours, length = ours.__cause__, length + 1
        assert length == MOST_EXCEPTIONS

    def test_group(self) -> None:
        """The first members of a large group are sent; placeholders stand for the others."""
        members = again(ExceptionGroup("many", [ValueError(i) for i in range(300)])).exceptions
        assert len(members) == 300
        assert members[98].args == (98,)
        assert isinstance(members[299], SearchFailedError)

    def test_depth(self) -> None:
        """A deeply nested container is replaced by its printed text."""
        nested: Any = 5
        for _ in range(500):
            nested = [nested]
        inner = again(ValueError(nested)).args[0]
        for _ in range(20):
            (inner,) = inner
        assert isinstance(inner, Unsent)

    def test_a_list_that_holds_itself(self) -> None:
        """A container that contains itself many times is sent."""
        endless: list[Any] = []
        endless.extend([endless] * 10)
        assert isinstance(again(ValueError(endless)).args[0], list)

    def test_many_attributes(self) -> None:
        """Too many attributes are not sent."""
        error = ValueError("full")
        error.__dict__.update((f"a{number}", number) for number in range(100_000))
        assert vars(again(error)).keys() == {"__notes__"}

    def test_large_values(self) -> None:
        """Large texts of several causes are shortened."""
        error: BaseException = ValueError("x")
        for number in range(10):
            cause, error = error, ValueError(str(number) * 1_000_000)
            error.__cause__ = cause
        assert str(again(error)).startswith("9999")


class TestHostileRecords:
    """Invalid records become an exception and have no other effect."""

    def test_no_constructor_runs(self) -> None:
        """An exception is created without the constructor of its class."""
        error = received((record(f"{__name__}:Counting", args=(1, 2)),))
        assert isinstance(error, Counting)
        assert error.args == (1, 2)
        assert Counting.made == 0

    @pytest.mark.parametrize("name", ["builtins:open", "os:system", "builtins:int", "os:nothing"])
    def test_other_classes(self, name: str) -> None:
        """A name that is no exception class is not used."""
        error = received((record(name, text="t", args=("echo",)),))
        assert isinstance(error, SearchFailedError)
        assert str(error) == "t"

    def test_no_module_is_imported(self) -> None:
        """A module that is not loaded is not imported."""
        import sys

        assert isinstance(received((record("antigravity:E"),)), SearchFailedError)
        assert "antigravity" not in sys.modules

    def test_skygrids_own_errors(self) -> None:
        """A node cannot raise an error of skygrid's own."""
        error = received((record("skygrid.errors:BudgetReachedError", "builtins:Exception"),))
        assert isinstance(error, SearchFailedError)
        assert not isinstance(error, BudgetReachedError)
        assert error.exit_code == 1

    def test_indices_outside_of_memory(self) -> None:
        """A UnicodeDecodeError with an index before its bytes reads no memory."""
        fields = {
            "encoding": "utf-8", "object": TaggedValue("bytes", data=b"abc"), "reason": "no",
            "start": -(2**40), "end": -(2**40) + 1,
        }  # fmt: skip
        error = received((record("builtins:UnicodeDecodeError", fields=fields),))
        assert (error.start, error.end) == (0, 0)

    def test_a_group_that_contains_itself(self) -> None:
        """Groups that contain each other, or no exception, are replaced."""
        kind = "builtins:ExceptionGroup"
        fields = {"message": "m"}
        first = record(kind, fields=fields, members=(1, 7, -1))
        second = record(kind, fields=fields, members=(0,))
        error = received((first, second, record(kind), record(kind, fields=fields)))
        assert isinstance(error.exceptions[0].exceptions[0], SearchFailedError)
        assert isinstance(error.exceptions[1], SearchFailedError)

    @pytest.mark.parametrize(
        "value",
        [
            TaggedValue("array", ("|O", TaggedValue("tuple", (1,))), b"12345678"),
            TaggedValue("array", ("<f8", TaggedValue("tuple", (9,))), b"12345678"),
            TaggedValue("dict", (1, 2, 3)),
            TaggedValue("dict", (TaggedValue("list"), 2)),
            TaggedValue("set", (TaggedValue("list"),)),
            TaggedValue("bunch", ("self", 2)),
            TaggedValue("exception", (5,)),
            TaggedValue("exception", ("0",)),
            TaggedValue("number", ("int", "zz")),
            TaggedValue("class", ("os", "system", "", "")),
            TaggedValue("text", data=b"\xff"),
            TaggedValue("other"),
            TaggedValue("pickle", data=b"cos\nsystem\n."),
        ],
        ids=str,
    )
    def test_values(self, value: TaggedValue) -> None:
        """A value that cannot be decoded is replaced."""
        error = received((record("builtins:ValueError", args=(value,), text=value),))
        assert isinstance(error.args[0], Unsent | SearchFailedError)

    def test_missing_links(self) -> None:
        """A cause that was not sent is replaced."""
        error = received((record("builtins:ValueError", cause=-1, context=99),))
        assert isinstance(error.__cause__, SearchFailedError)

    def test_notes_that_are_no_texts(self) -> None:
        """Notes that are no texts are dropped; those of the driver stay."""
        notes = TaggedValue("list", (1, "kept"))
        error = received((record("builtins:ValueError", attributes={"__notes__": notes}),))
        assert error.__notes__[0] == "kept"
        assert len(error.__notes__) == 2

    def test_names_and_tracebacks_are_safe_for_a_terminal(self) -> None:
        """Escape sequences are removed from the parts of a message that skygrid writes."""
        error = received((record("m:\x1b[2J\x00Evil", text="t"),), "\x1b]0;owned\x07")
        assert "owned" in error.__notes__[-1]
        assert not any("\x1b" in text for text in (*error.__notes__, type(error).__qualname__))

    def test_texts_are_safe_for_a_terminal(self) -> None:
        """A script that does not catch the exception writes its text to the terminal."""
        rude = "\x1b]0;owned\x07"
        sent = record("builtins:ValueError", text=rude, args=(rude, TaggedValue("list", (rude,))))
        error = received((sent,), "")
        assert error.args == ("?]0;owned?", ["?]0;owned?"])
        assert "\x1b" not in str(error)

    def test_an_empty_record(self) -> None:
        """A failed fit without an exception, or with one without a class, is still an error."""
        assert isinstance(received(()), SearchFailedError)
        assert type(received((record(),))) is Exception


class Counting(Exception):
    """Exception that counts its constructor calls."""

    made = 0

    def __new__(cls, *args: Any) -> Any:
        Counting.made += 1
        return super().__new__(cls, *args)

    def __init__(self, *args: Any) -> None:
        Counting.made += 1
        super().__init__(*args)


class Frozen(Exception):
    """Exception that refuses every assignment."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


def test_a_frozen_exception_is_created_again() -> None:
    """An exception that refuses assignments arrives with its note."""
    error = again(Frozen("frozen"))
    assert type(error) is Frozen
    assert error.args == ("frozen",)
    assert error.__notes__


class Combined(ValueError, LookupError):
    """Exception with two bases."""


def test_links_keep_their_identity() -> None:
    """An exception that is cause, argument and attribute of another stays one object."""
    cause = Combined("cause")
    error = ValueError("a", cause)
    error.__cause__, error.origin = cause, cause  # type: ignore[attr-defined]
    ours = again(error)
    assert type(ours.args[1]) is Combined
    assert ours.args[1] is ours.__cause__ is ours.origin


MADE = """
def make():
    class Local(LookupError):
        pass
    return Local

class Holder:
    Error = make()

First, Second = make(), make()
Other = make()
del Other
"""


def test_a_class_that_a_function_made_is_found_by_its_global(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A class that a function of a module made is found as the global or attribute that it is."""
    module = ModuleType("made_here")
    monkeypatch.setitem(sys.modules, "made_here", module)
    exec(MADE, vars(module))
    for kind in (module.First, module.Second, module.Holder.Error):
        ours = again(kind(kind))
        assert type(ours) is ours.args[0] is kind
    assert isinstance(again(module.make()("x")), SearchFailedError)
    node_has = records_of(module.First("x"))
    module.First = KeyError
    assert isinstance(received(node_has), SearchFailedError)
