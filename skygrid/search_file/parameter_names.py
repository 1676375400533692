"""Check that the estimator has the parameters that a grid names.

A clone is given one candidate of each kind through ``set_params``, as in every fit. `get_params`
alone would refuse estimators that accept more than they list. Candidates of one kind set the same
parameters; where a component is swapped (``"clf": [SVC()]``) and its parameters are set
(``"clf__C"``), also the same component.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from sklearn.base import clone

from skygrid.errors import SearchFileError
from skygrid.search_file.estimators import is_estimator, is_estimator_class, parameters_of
from skygrid.search_file.suggestions import remedy_for
from skygrid.user_code.failures import error_text
from skygrid.user_code.source import Place, describe

Settings = dict[str, Any]

# Parameters that hold named components, which decide on the other names.
_COMPONENTS = {"steps", "transformers", "transformer_list", "estimators"}

_MOST_KINDS = 500
"""Maximum number of swapped combinations tried per grid; the fits check the rest."""


def check_parameter_names(
    grids: Sequence[Mapping[str, Any]], estimator: Any, place: Place, *, listed: bool
) -> None:
    """Refuse a parameter that ``set_params`` would refuse in some candidate.

    Parameters
    ----------
    grids : sequence of mappings
        Parameter names to the values to try; shapes already checked.
    estimator : estimator
        Cloned, never changed.
    listed : bool
        The user wrote a list of dicts; messages then give the index.
    """
    components = {k for k, v in parameters_of(estimator, place).items() if is_estimator(v)}
    swapping: dict[tuple[str, ...], list[str]] = {}
    kinds: set[object] = set()
    for index, grid in enumerate(grids):
        names = tuple(grid)
        if names not in swapping:
            swapping[names] = _swapping(grid)
        elif not swapping[names] and components.isdisjoint(names):
            continue  # the names were tried with an earlier dict, and no value affects them
        here = place.part(f"[{index}]") if listed else place
        for name in components.intersection(names).union(swapping[names]):
            _refuse_classes(name, grid[name], here)
        swaps = {name: _distinct(grid[name]) for name in swapping[names]}
        kind = (names, tuple(tuple(values) for values in swaps.values()))
        if kind not in kinds:
            kinds.add(kind)
            _try(estimator, grid, {name: list(swaps[name].values()) for name in swaps}, here)


def _swapping(grid: Mapping[str, Any]) -> list[str]:
    """Return names whose values decide which other names of this grid exist."""
    heads = {
        "__".join(parts[:depth])
        for parts in (name.split("__") for name in grid)
        for depth in range(1, len(parts))
    }
    return [name for name in grid if name in heads or name.rpartition("__")[2] in _COMPONENTS]


def _refuse_classes(name: str, values: Any, place: Place) -> None:
    if hasattr(values, "rvs"):
        return
    for value in values:
        if is_estimator_class(value):
            raise place.part(f"[{name!r}]").mistake(
                f"lists the class {value.__name__}, not an instance", f"write {value.__name__}()"
            )


def _distinct(values: Any) -> dict[object, Any]:
    """Return one value of each kind, by kind; two forests of different size are one kind."""
    if hasattr(values, "rvs"):
        return {}
    return {_kind(value): value for value in values}


def _kind(value: Any) -> object:
    if not is_estimator(value):
        return value if isinstance(value, str | None) else id(value)
    own = getattr(value, "__dict__", {}).values()
    composite = any(isinstance(part, list | tuple) or hasattr(part, "get_params") for part in own)
    return id(value) if composite else type(value)


def _try(
    estimator: Any, grid: Mapping[str, Any], swaps: Mapping[str, list[Any]], place: Place
) -> None:
    probe = clone(estimator)
    for names in _by_head(grid):
        for settings in islice(_candidates(grid, names, swaps), _MOST_KINDS):
            try:
                probe.set_params(**settings)
            except Exception as error:  # noqa: BLE001 (set_params may be the user's own)
                raise _explain(estimator, settings, swaps, place, error) from None


def _by_head(grid: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield names that can depend on one another: those below one component."""
    everywhere = [name for name in grid if name in _COMPONENTS]
    groups: dict[str, list[str]] = {}
    for name in grid:
        if name not in _COMPONENTS:
            groups.setdefault(name.partition("__")[0], []).append(name)
    for names in groups.values():
        yield [*everywhere, *names]
    if everywhere and not groups:
        yield everywhere


def _candidates(
    grid: Mapping[str, Any], names: list[str], swaps: Mapping[str, list[Any]]
) -> Iterator[Settings]:
    plain = {name: _example(grid[name]) for name in names if not swaps.get(name)}
    swapped = [name for name in names if swaps.get(name)]
    for values in product(*(swaps[name] for name in swapped)):
        # Cloned as a fit clones them, or setting "clf__C" would change the user's own SVC.
        yield {
            **{name: clone(v, safe=False) for name, v in zip(swapped, values, strict=True)},
            **plain,
        }


def _example(values: Any) -> Any:
    """Return a value to set; None for a distribution: sampling may advance its random state."""
    if hasattr(values, "rvs"):
        return None
    try:
        return values[0]
    except (LookupError, TypeError):  # an empty list or no list, which is refused elsewhere
        return None


def _explain(
    estimator: Any,
    settings: Settings,
    swaps: Mapping[str, list[Any]],
    place: Place,
    error: Exception,
) -> SearchFileError:
    """Return the error for the outermost refused parameter, with a remedy."""
    for name in sorted(settings, key=lambda name: (name.count("__"), name)):
        probe = clone(estimator)
        above = {n: settings[n] for n in settings if n in swaps and _decides(n, name)}
        try:
            probe.set_params(**above)
            known = parameters_of(probe, place)
            probe.set_params(**{name: settings[name]})
        except Exception as cause:  # noqa: BLE001 (set_params may be the user's own)
            return _refusal(name, known, probe, swaps, place, cause)
    return place.mistake(
        f"has values that {describe(estimator)} refuses: {error_text(error)}", "change them"
    )


def _decides(swapped: str, name: str) -> bool:
    return name != swapped and (name.startswith(f"{swapped}__") or swapped in _COMPONENTS)


def _refusal(
    name: str,
    known: Mapping[str, Any],
    probe: Any,
    swaps: Mapping[str, list[Any]],
    place: Place,
    cause: Exception,
) -> SearchFileError:
    if name in known:
        return place.part(f"[{name!r}]").mistake(
            f"is refused by {describe(probe)}: {error_text(cause)}", "change its values"
        )
    parent = name.rpartition("__")[0]
    while parent and parent not in known:
        parent = parent.rpartition("__")[0]
    owner = known[parent] if parent else probe
    whose = f"{describe(owner)} as {parent!r}" if parent else describe(owner)
    return place.mistake(
        f"names {name!r}, which {whose} does not have",
        remedy_for(name, known, parent=parent, swapped=swaps.get(parent, [])),
    )
