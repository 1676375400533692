"""A fitted search as bytes that can be loaded without the user's files and without skygrid."""

from __future__ import annotations

import functools
import pickle
import threading
from typing import IO, Any

import cloudpickle

from skygrid.worker.user_code.pickling import CACHED, REDUCERS


def save_search(search: Any, file: IO[bytes]) -> str | None:
    """Pickle a search with the functions and classes of the user's modules in it.

    Parameters
    ----------
    search : BaseSearchCV
        The user's modules are registered with cloudpickle to be pickled by value.

    Returns
    -------
    problem : str or None
        Reason why the user's modules were left out; loading the search must then import them.

    Raises
    ------
    Exception
        The search cannot be pickled either way.
    """
    try:
        _SavingPickler(file).dump(search)
    except OSError:
        raise  # of the file itself
    except Exception as error:  # noqa: BLE001 (pickling runs the user's code)
        file.seek(0)
        file.truncate()
        pickle.dump(search, file)
        return f"{type(error).__name__}: {error}"
    return None


class _SavingPickler(cloudpickle.Pickler):
    """cloudpickle's pickler, extended to objects that functions of a user's module refer to.

    Its output needs only cloudpickle and the standard library.
    """

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, CACHED) and _comes_by_value(obj):
            state = {name: value for name, value in vars(obj).items() if name != "cache_parameters"}
            parameters = obj.cache_parameters()
            arguments = (obj.__wrapped__, parameters["maxsize"], parameters["typed"])
            return CACHED, (*arguments, functools._CacheInfo), state
        return super().reducer_override(obj)


def _comes_by_value(function: Any) -> bool:
    return function.__module__ in {"__main__", *cloudpickle.list_registry_pickle_by_value()}


def _empty(made: Any) -> Any:
    """Return a reducer that replaces an object by a new one of the same kind."""
    return lambda obj: (made, ())


_SavingPickler.dispatch_table = cloudpickle.Pickler.dispatch_table.new_child(
    {
        type(threading.Lock()): _empty(threading.Lock),
        type(threading.RLock()): _empty(threading.RLock),
        **REDUCERS,
    }
)
