"""Settings of a whole process, such as environment variables, copied from driver to nodes.

A search file may set environment variables, change the working directory, and so on. Agents start
before the file is loaded, or on other machines, so the changes since the driver's start travel with
the search.
"""

from __future__ import annotations

import contextlib
import locale
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from skygrid.worker.machine.machine import THREAD_VARIABLES

KEPT_VARIABLES = frozenset(
    {*THREAD_VARIABLES, "PYTHONHASHSEED", "SKYGRID_ROOT", "VIRTUAL_ENV", "PYTHONPATH"}
)
"""Environment variables that a node sets for itself."""

IMPORT_PREFIXES = ("SCIPY_", "SKLEARN_", "NUMPY_", "NPY_", "JOBLIB_", "OPENBLAS_", "MKL_", "BLIS_")
"""Beginnings of the names of environment variables that libraries read once, when an agent imports
them."""

FOLDER_VARIABLES = frozenset({"TMPDIR", "TEMP", "TMP"})
"""Environment variables that `tempfile` reads once."""

SECRET_VARIABLES = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
"""Environment variables that never travel to another machine."""


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a process."""

    environment: Mapping[str, str | None] = {}
    """Environment variables; None for one that is unset."""

    folder: str | None = None
    """Working directory; None: unchanged."""

    locale: str | None = None
    """All categories in the format of `locale.setlocale`; None: unchanged."""

    umask: int | None = None
    recursion_limit: int | None = None
    """None: unchanged."""

    arguments: tuple[str, ...] | None = None
    """`sys.argv`, which user modules may read on import; None: unchanged."""

    numpy_errors: Mapping[str, Any] = {}
    """Arguments of `numpy.seterr`."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle so that unpickling on a node applies the settings."""
        return _set_from, ({name: getattr(self, name) for name in self.__struct_fields__},)


def taken(*, numpy: bool = True) -> ProcessState:
    """Return the settings of this process.

    Parameters
    ----------
    numpy : bool, default=True
        Include NumPy's error settings, which imports NumPy.
    """
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # the working directory was removed
        folder = None
    return ProcessState(
        environment=dict(os.environ),
        folder=folder,
        locale=locale.setlocale(locale.LC_ALL),
        umask=_umask(),
        recursion_limit=sys.getrecursionlimit(),
        arguments=tuple(sys.argv),
        numpy_errors=_numpy_errors() if numpy else {},
    )


def changes(before: ProcessState, now: ProcessState, *, shares_modules: bool) -> ProcessState:
    """Return the settings that a node needs for fits to run as in this process.

    Parameters
    ----------
    before : ProcessState
        State before any user code ran.
    now : ProcessState
    shares_modules : bool
        True if the node is this machine and can use the same working directory.
    """
    left_out = KEPT_VARIABLES if shares_modules else KEPT_VARIABLES | SECRET_VARIABLES
    names = {*before.environment, *now.environment} - left_out
    return ProcessState(
        environment={
            name: now.environment.get(name)
            for name in sorted(names)
            if now.environment.get(name) != before.environment.get(name)
        },
        folder=now.folder if shares_modules else None,
        locale=now.locale if now.locale != before.locale else None,
        umask=now.umask if now.umask != before.umask else None,
        recursion_limit=(
            now.recursion_limit if now.recursion_limit != before.recursion_limit else None
        ),
        arguments=now.arguments,
        numpy_errors=now.numpy_errors,
    )


def read_at_import(environment: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the environment variables that a process must have when its interpreter starts."""
    return {name: text for name, text in environment.items() if name.startswith(IMPORT_PREFIXES)}


_set: dict[str, ProcessState] = {}
"""Under ``before``: the settings that the current search's have replaced."""


def set_state(state: ProcessState) -> None:
    """Apply the settings of a search's driver, after a reset of the previous search's.

    Settings that this machine does not support, such as a missing locale, are reported on stderr.
    """
    before = _set.pop("before", None)
    if before is not None:
        _apply(before)
    now = taken(numpy=False)
    _set["before"] = ProcessState(
        environment={name: now.environment.get(name) for name in state.environment},
        folder=now.folder if state.folder is not None else None,
        locale=now.locale if state.locale is not None else None,
        umask=now.umask if state.umask is not None else None,
        recursion_limit=now.recursion_limit if state.recursion_limit is not None else None,
    )
    _apply(state)


def _set_from(fields: Mapping[str, Any]) -> ProcessState:
    state = ProcessState(**fields)
    set_state(state)
    return state


def _apply(state: ProcessState) -> None:
    for name, value in state.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "TZ" in state.environment:
        time.tzset()
    if FOLDER_VARIABLES & state.environment.keys():
        tempfile.tempdir = None
    if state.locale is not None:
        with _said(f"locale {state.locale}"):
            locale.setlocale(locale.LC_ALL, state.locale)
    if state.folder is not None:
        with _said(f"working directory {state.folder}"):
            os.chdir(state.folder)
    if state.umask is not None:
        os.umask(state.umask)
    if state.recursion_limit is not None:
        with _said(f"recursion limit {state.recursion_limit}"):
            sys.setrecursionlimit(state.recursion_limit)
    if state.arguments is not None:
        sys.argv[:] = state.arguments
    if state.numpy_errors:
        import numpy as np

        np.seterr(**state.numpy_errors)


@contextlib.contextmanager
def _said(setting: str) -> Any:
    try:
        yield
    except (OSError, locale.Error, RecursionError) as error:
        sys.stderr.write(f"skygrid: {setting} cannot be set on this node: {error}\n")


def _umask() -> int | None:
    """Return the umask from ``/proc/self/status`` (proc(5)): the system call would change it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        mask = os.umask(0o77)
        os.umask(mask)
        return mask
    return next((int(line[6:], 8) for line in lines if line.startswith("Umask:")), None)


def _numpy_errors() -> dict[str, Any]:
    import numpy as np

    return dict(np.geterr())


START = taken(numpy=False)
"""Settings of this process when skygrid was imported."""
