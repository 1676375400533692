"""Calls in a slot: a batch of function calls to the pickle of their results.

`joblib.Parallel` divides its calls into batches; the calls of one batch run one after another.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn

from skygrid.worker.limits import INLINE_BYTES
from skygrid.worker.machine.thread_pools import ThreadPools
from skygrid.worker.user_code.returning import ReturnPickler
from skygrid.worker.wire.messages.calls import CallDone
from skygrid.worker.wire.messages.results import WarningNote

from .call_arrays import forget_blobs, forget_deleted, use_folder
from .contents import CallSetup
from .evaluator import random_state
from .exception_records import TEXT_LIMIT, records_of, shortened
from .joblib_backend import nested, run_in_process

MOST_WARNINGS = 1000
"""Most warnings that one batch reports."""


@dataclass(frozen=True)
class CallBatch:
    """Calls that run one after another in one slot."""

    calls: Sequence[tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]]
    """Function, arguments and keyword arguments of each."""

    nesting_level: int
    """Level of joblib inside the calls."""


def payload_path(folder: str, lease: int) -> str:
    """Return the path of the file with the pickled `CallBatch` of a lease."""
    return os.path.join(folder, f"{lease}-call")


def result_path(folder: str, lease: int) -> str:
    """Return the path of the file with the large pickle of a lease's results."""
    return os.path.join(folder, f"{lease}-result")


class CallRunner:
    """Runs the calls of one round.

    Parameters
    ----------
    setup : CallSetup
    folder : str
        Folder that the node's slots share.
    """

    def __init__(self, setup: CallSetup, folder: str) -> None:
        self._setup = setup
        self._folder = folder
        self._noted: list[WarningNote] = []

    def prepare_process(self, pools: ThreadPools) -> None:
        """Make this process a slot for calls: settings as in a new interpreter.

        Parameters
        ----------
        pools : ThreadPools
            Limits the threads of a call.
        """
        sklearn.set_config(**_sklearn_config)
        if not pools.limited:
            pools.limit()
        run_in_process(self._setup.joblib)
        random.seed()
        np.random.set_state(random_state())
        warnings.resetwarnings()
        warnings.filters.extend(_filters)  # type: ignore[attr-defined]  # a list, typed as a sequence
        warnings.showwarning = self._note_warning
        use_folder(self._folder)

    def leave_process(self) -> None:
        """Drop everything that refers to this round."""
        warnings.showwarning = _showwarning
        forget_blobs()

    def run(self, lease: int, slot: int, begin: Callable[[int], None]) -> CallDone:
        """Run the batch of a lease.

        Parameters
        ----------
        lease, slot : int
            Copied into the result.
        begin : callable
            Called before each call with its position in the batch.

        Returns
        -------
        done : CallDone
            Holds any exception of the user's code; none is raised.
        """
        self._noted = []
        forget_deleted()
        try:
            results = self._results(lease, begin)
            data, size = self._kept(lease, results)
            return CallDone(
                lease=lease,
                slot=slot,
                status="returned",
                data=data,
                size=size,
                warnings=tuple(self._noted),
            )
        except BaseException as error:  # noqa: BLE001 (it travels to the driver)
            return self._raised(lease, slot, error)

    def _results(self, lease: int, begin: Callable[[int], None]) -> list[Any]:
        with open(payload_path(self._folder, lease), "rb") as file:
            batch: CallBatch = pickle.load(file)
        results = []
        with nested(batch.nesting_level):
            for position, (function, args, kwargs) in enumerate(batch.calls):
                begin(position)
                results.append(function(*args, **kwargs))
        return results

    def _kept(self, lease: int, value: Any) -> tuple[bytes, int]:
        """Pickle a value; return (pickle, 0), or (nothing, bytes in the lease's file)."""
        stream = io.BytesIO()
        ReturnPickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
        view = stream.getbuffer()
        if len(view) <= INLINE_BYTES:
            return bytes(view), 0
        with open(result_path(self._folder, lease), "wb", buffering=0) as file:
            left = view
            while left:
                left = left[file.write(left) :]
        return b"", len(view)

    def _raised(self, lease: int, slot: int, error: BaseException) -> CallDone:
        text = "".join(traceback.format_exception(error))
        try:
            data, size = self._kept(lease, error)
        except Exception:  # noqa: BLE001 (the records describe it too)
            data, size = b"", 0
        return CallDone(
            lease=lease,
            slot=slot,
            status="raised",
            data=data,
            size=size,
            fit_error=shortened(text, TEXT_LIMIT).encode("utf-8", "backslashreplace").decode(),
            exception=records_of(error),
            warnings=tuple(self._noted),
        )

    def _note_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        if len(self._noted) < MOST_WARNINGS:
            name = f"{category.__module__}:{category.__qualname__}"
            self._noted.append(WarningNote(name, str(message), filename, lineno))


_showwarning = warnings.showwarning
_filters = list(warnings.filters)
_sklearn_config = sklearn.get_config()
