"""Raises a fit's exception again on the driver.

A node sends exceptions as data; nothing is unpickled. The class is looked up among the loaded ones.
The instance is made without its constructor and gets the arguments, slots and attributes that the
node sent. The only code of the class that runs is its ``__str__``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from skygrid.errors import SearchFailedError
from skygrid.sklearn_search.exception_values import loaded_class, plain_text, read_value
from skygrid.util.terminal import printable
from skygrid.worker.evaluation.exception_records import slots_of, text_or_none
from skygrid.worker.wire.messages.calls import CallDone
from skygrid.worker.wire.messages.exceptions import ClassName, ExceptionRecord, PlainValue
from skygrid.worker.wire.messages.results import FitResult

MOST_TRACEBACK = 100_000
"""Maximum length of the attached traceback, in characters."""

_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: set for classes that a class statement made."""


def raise_again(result: FitResult, place: str) -> NoReturn:
    """Raise the exception that scikit-learn would have raised for a fit with status ``raised``.

    `place` names the fit in messages.

    Raises
    ------
    BaseException
        Of the class that the fit raised, if it is loaded here. Otherwise a `SearchFailedError` that
        also inherits from the nearest loaded base class. A note carries the fit's traceback.
    """
    error = exception_of(result, place)
    context = error.__context__
    try:
        raise error
    finally:
        if context is not None:  # Python replaces it if the caller is handling an exception
            _set(error, "__context__", context)
        # The traceback refers to this frame: a reference back would keep X until the next garbage
        # collection.
        del error


def exception_of(result: FitResult | CallDone, place: str) -> BaseException:
    """Make the exception that `raise_again` raises."""
    error = _Rebuilder(result.exception).rebuilt()
    traceback = printable(result.fit_error or "", MOST_TRACEBACK)
    notes = [f"Raised by {place}; its traceback there:\n{traceback}"]
    if isinstance(error, _StandIn):
        name = printable(result.exception[0].classes[0].qualified)
        notes.insert(0, f"No class {name} is loaded here; this exception is a stand-in.")
    if isinstance(error, StopIteration):
        error = _out_of_a_generator(error)
    _add_notes(error, notes)
    return error


def _out_of_a_generator(error: StopIteration) -> RuntimeError:
    """Return the error that PEP 479 makes from it: joblib runs fits in a generator."""

    def fits() -> Iterator[None]:
        yield
        raise error

    try:
        list(fits())
    except RuntimeError as raised:
        return raised.with_traceback(None)
    raise AssertionError("PEP 479 holds since Python 3.7")


def _add_notes(error: BaseException, notes: list[str]) -> None:
    # Not by add_note: a frozen dataclass would refuse it.
    attributes = _get(error, "__dict__")
    known = attributes.get("__notes__")
    kept = [note for note in known if isinstance(note, str)] if isinstance(known, list) else []
    attributes["__notes__"] = [*kept, *notes]


class _StandIn(SearchFailedError):
    """Base of stand-ins for exceptions whose class is not loaded here."""


class _Rebuilder:
    """Makes exceptions from their records."""

    def __init__(self, records: Sequence[ExceptionRecord]) -> None:
        self._records = records
        self._made: dict[int, BaseException] = {}
        self._making: set[int] = set()

    def rebuilt(self) -> BaseException:
        """Return the first exception, with all exceptions that it refers to."""
        if not self._records:
            return SearchFailedError("a fit raised an exception that its node did not send")
        for number in range(len(self._records)):
            self._exception(number)
        for number, record in enumerate(self._records):
            self._fill(self._made[number], record)
        # Last, because a text may depend on another exception.
        for number, record in enumerate(self._records):
            _correct_text(self._made[number], record.text)
        return self._made[0]

    def _exception(self, number: int) -> BaseException:
        """Return the exception with a number, not filled yet."""
        if number not in self._made:
            if number in self._making or not 0 <= number < len(self._records):
                return SearchFailedError("an exception that its node did not send")
            self._making.add(number)
            self._made[number] = self._bare(self._records[number])
        return self._made[number]

    def _bare(self, record: ExceptionRecord) -> BaseException:
        kind = _class_of(record)
        arguments: tuple[Any, ...] = ()
        if issubclass(kind, BaseExceptionGroup):
            message = read_value(record.fields.get("message"), self._exception)
            arguments = message, [self._exception(member) for member in record.members]
        try:
            return _built_in_base(kind).__new__(kind, *arguments)
        except (TypeError, ValueError):  # an empty group, for example
            return SearchFailedError(f"{kind.__qualname__}: {_text_of(record)}")

    def _fill(self, error: BaseException, record: ExceptionRecord) -> None:
        _set(error, "args", tuple(read_value(wire, self._exception) for wire in record.args))
        attributes, slots = _get(error, "__dict__"), slots_of(type(error))
        for name, wire in (record.fields | record.attributes).items():
            value = read_value(wire, self._exception)
            if name not in slots:
                attributes[name] = value
            elif _is_sound(error, name, value):
                # Some slots are read-only, and a hostile node may send values of the wrong type.
                with suppress(AttributeError, TypeError, ValueError, OverflowError):
                    slots[name].__set__(error, value)
        if record.cause is not None:
            _set(error, "__cause__", self._exception(record.cause))
        if record.context is not None:
            _set(error, "__context__", self._exception(record.context))
        _set(error, "__suppress_context__", record.suppress_context)


def _is_sound(error: BaseException, name: str, value: Any) -> bool:
    """Refuse a negative index: older releases of CPython read any memory by it (gh-123378)."""
    if not isinstance(error, UnicodeError) or name not in {"start", "end"}:
        return True
    return type(value) is int and value >= 0


def _class_of(record: ExceptionRecord) -> type[BaseException]:
    """Return the class that was raised, or a stand-in for it."""
    name, *_ = record.classes or (ClassName("builtins", "Exception"),)
    own = _exception_class(name)
    if own is not None:
        return own
    found = [kind for kind in map(_exception_class, record.classes) if kind is not None]
    nearest = [kind for kind in found[:1] if not issubclass(_StandIn, kind)]
    try:
        return _subclass(name.qualified, name.module, (_StandIn, *nearest), _text_of(record))
    except TypeError:  # a class that allows no further base
        return _subclass(name.qualified, name.module, (_StandIn,), _text_of(record))


def _exception_class(name: ClassName) -> type[BaseException] | None:
    found = loaded_class(name)
    if found is None or not issubclass(found, BaseException):
        return None
    # Exceptions of skygrid say how a run ended; a fit must not decide that.
    return None if found.__module__.partition(".")[0] == "skygrid" else found


def _correct_text(error: BaseException, wire: PlainValue) -> None:
    """Restore an exception's text if its class derives it from an object that was not sent."""
    if wire is None:
        return
    # A hostile node may send a text that cannot be read; the class then makes its own.
    with suppress(TypeError, ValueError):
        text = plain_text(wire)
        if text_or_none(str, error) != text:
            kind = type(error)
            same = _subclass(kind.__qualname__, kind.__module__, (kind,), text)
            object.__setattr__(error, "__class__", same)


def _subclass(
    qualified: str, module: str, bases: tuple[type[BaseException], ...], text: str
) -> type[BaseException]:
    """Return a class of the given name whose instances have this text."""
    names = {
        "__module__": printable(module),
        "__qualname__": printable(qualified),
        "__slots__": (),
        "__str__": lambda self: text,
    }
    return type(printable(qualified.rpartition(".")[2]), bases, names)


def _built_in_base(kind: type[BaseException]) -> type[BaseException]:
    """Return the base class with CPython's own ``__new__``, which is safe with any content."""
    return next(
        base for base in kind.__mro__ if "__new__" in vars(base) and not base.__flags__ & _HEAP_TYPE
    )


def _text_of(record: ExceptionRecord) -> str:
    try:
        return plain_text(record.text)
    except (TypeError, ValueError):  # as in `_correct_text`
        return ""


def _get(error: BaseException, name: str) -> Any:
    return vars(BaseException)[name].__get__(error)


def _set(error: BaseException, name: str, value: Any) -> None:
    """Set an attribute of `BaseException` itself, bypassing the exception's class."""
    vars(BaseException)[name].__set__(error, value)
