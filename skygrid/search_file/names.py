"""The names of the contract in a search file, and their values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from skygrid.errors import SearchFileError
from skygrid.user_code.failures import failure
from skygrid.user_code.source import Place, SearchFile, did_you_mean

GRID = ("estimator", "param_grid")
RANDOMIZED = ("param_distributions", "n_iter", "random_state")
OPTIONS = ("cv", "scoring", "refit", "error_score", "return_train_score")
KNOWN = {"search", "dataset", "holdout", *GRID, *RANDOMIZED, *OPTIONS}
"""Every name of the contract."""

# For these names None means "not given", as in `holdout = None`; for others it is a value.
_NONE_IS_ABSENT = {"search", "param_grid", "param_distributions", "holdout"}

# Names whose values scikit-learn itself calls, with the possible numbers of arguments.
_CALLED_WITH = {"scoring": (2, 3), "refit": (1,)}

WITHOUT_EFFECT = {
    "n_jobs": "--concurrency, the number of fits at a time on each node",
    "verbose": "skygrid run -v",
    "pre_dispatch": "--concurrency",
}
"""Names that users of scikit-learn expect to have an effect, with their remedy."""

_OTHER_WORDS = {
    "estimator": ("model", "clf", "classifier", "regressor", "pipe", "pipeline"),
    "param_grid": ("grid", "params", "parameters", "param_space"),
    "param_distributions": ("distributions", "param_dist"),
    "dataset": ("data", "train", "training_data"),
    "search": ("gs", "grid_search", "random_search", "search_cv"),
}


class Names:
    """The module-level names of a search file that was run."""

    def __init__(self, file: SearchFile, module: ModuleType) -> None:
        self.file = file
        self._values = vars(module)
        self._results: dict[str, Any] = {}

    def given(self, name: str) -> bool:
        """Return whether the file gives this name."""
        if name not in self._values:
            return False
        return not (name in _NONE_IS_ABSENT and self._values[name] is None)

    def place(self, name: str) -> Place:
        """Return the place of `name` for messages."""
        return self.file.place(name)

    def value(self, name: str) -> Any:
        """Return the value of a given name; a function is called once.

        Raises
        ------
        SearchFileError
            The function needs arguments, raises, or returns nothing.
        """
        if name not in self._results:
            value = self._values[name]
            self._results[name] = self._call(name, value) if _is_factory(name, value) else value
        return self._results[name]

    def missing(self, name: str, remedy: str) -> SearchFileError:
        """Return the error for a missing name, pointing at a similar name if there is one.

        `remedy` is the advice if no name in the file is similar.
        """
        return self.missing_one_of((name,), remedy)

    def missing_one_of(self, names: Sequence[str], remedy: str) -> SearchFileError:
        """Return the error for a file that gives none of `names`."""
        own = [name for name in self._own_names() if name not in KNOWN]
        for name in names:
            if name in self._values:
                return self.place(name).mistake("is None", remedy)
            close = did_you_mean(name, own, cutoff=0.7)
            if close is None:
                close = next((word for word in _OTHER_WORDS.get(name, ()) if word in own), None)
            if close is not None:
                return self.place(close).mistake(
                    "is not a name that skygrid reads", f"did you mean {name!r}?"
                )
        needed = " or ".join(repr(name) for name in names)
        return SearchFileError(f"{self.file.shown} has no {needed}; {remedy}")

    def refuse_misspelt(self, names: Iterable[str]) -> None:
        """Refuse a near miss of an optional name, which would otherwise be ignored silently.

        A variable that the file itself reads is never a near miss.
        """
        wanted = [name for name in names if name not in self._values]
        for own in self._own_names():
            if own in self.file.read or own.startswith("_"):
                continue
            close = did_you_mean(own.strip("_"), wanted, cutoff=0.85)
            if close is not None:
                raise self.place(own).mistake(
                    "is not a name that skygrid reads",
                    f"did you mean {close!r}? (An unused name is best deleted.)",
                )

    def holds(self, test: Callable[[Any], bool]) -> str | None:
        """Return a name that the file binds itself and whose value passes `test`."""
        return next((own for own in self._own_names() if test(self._values[own])), None)

    def defines(self, name: str) -> bool:
        """Return whether the file defines a function of this name."""
        return name in self._own_names() and inspect.isfunction(self._values[name])

    def _own_names(self) -> list[str]:
        """Return names that the file assigns or defines, in the order of their lines."""
        own = [name for name in self.file.assigned if name in self._values]
        return sorted(own, key=lambda name: (self.file.lines[name], name))

    def _call(self, name: str, function: Callable[[], Any]) -> Any:
        place = self.file.place(name)
        needed = _required_arguments(function)
        if needed:
            raise place.mistake(
                f"is a function that needs {', '.join(needed)}",
                "write one without arguments, or assign the value",
            )
        try:
            value = function()
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the user's code)
            raise failure(self.file, error, f"{name}()") from None
        if inspect.iscoroutine(value):
            value.close()
            raise place.mistake("is an async function", f"write `def {name}():`")
        if value is None:
            raise place.mistake("is a function that returned None", "end it with `return ...`")
        return value


def notes_without_effect(names: Names, search: Any) -> list[str]:
    """Return a sentence about each setting of scikit-learn's own loop, which skygrid replaces."""
    notes = []
    for name, instead in WITHOUT_EFFECT.items():
        if names.given(name) and name not in names.file.read:
            notes.append(f"{name} in the search file is not read: use {instead}")
    if names.given("search") and getattr(search, "n_jobs", None) not in (None, 1):
        notes.append(
            f"n_jobs={search.n_jobs} of the search does not decide how many fits run at a time: "
            f"use {WITHOUT_EFFECT['n_jobs']}"
        )
    return notes


def _is_factory(name: str, value: Any) -> bool:
    """Return whether `value` is a function that makes the value, rather than the value itself."""
    if not callable(value) or isinstance(value, type) or hasattr(value, "fit"):
        return False
    if name == "cv" and hasattr(value, "split"):
        return False
    if name not in _CALLED_WITH:
        return True
    return _accepts(value, 0) and not any(_accepts(value, n) for n in _CALLED_WITH[name])


def accepts(function: Callable[..., Any], *counts: int) -> bool:
    """Return whether the function can be called with one of these numbers of arguments."""
    return any(_accepts(function, count) for count in counts)


def _accepts(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:  # it takes another number of arguments
        return False
    except ValueError:  # some built-in functions have no signature
        return count > 0
    return True


def _required_arguments(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some built-in functions have no signature
        return []
    optional = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return [
        repr(parameter.name)
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind not in optional
    ]
