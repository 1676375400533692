"""Resolution of a node's environment from settings, imports and the driver's versions."""

from __future__ import annotations

import logging
import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from skygrid.environment import requirements
from skygrid.environment.credentials import refuse_masked
from skygrid.environment.installed import Distribution, Installed, local_path, read_installed
from skygrid.environment.records import Environment, LocalDistribution
from skygrid.environment.settings import EnvironmentConfig
from skygrid.errors import ConfigError, PreparationError
from skygrid.worker.machine.machine import COMPARED_PACKAGES

LOGGER = logging.getLogger(__name__)

NEEDED = (*COMPARED_PACKAGES, "joblib", "threadpoolctl", "msgspec")
"""Distributions that an agent requires, or whose versions influence scores."""

_PYTHON = re.compile(r"\d+\.\d+(\.\d+)?")


def resolve(
    settings: EnvironmentConfig,
    imported_modules: Collection[str],
    installed: Installed | None = None,
) -> Environment:
    """Determine the content of a node's environment.

    Parameters
    ----------
    settings : EnvironmentConfig
    imported_modules : collection of str
        Top-level modules that the search file imported (`SearchSpec.imported`), possibly including
        the standard library and skygrid. Used only with ``packages = "auto"``.
    installed : Installed, optional
        Installed distributions; default: those of this interpreter.

    Returns
    -------
    environment : Environment
        Its `wheels` are still to be built if `local` is not empty.

    Raises
    ------
    ConfigError
        If a setting is invalid or contradicts the driver's versions.
    PreparationError
        If an imported module cannot be provided on a node.
    """
    extra = {"extra_index_url": " ".join(settings.extra_index_url)}
    refuse_masked({"index_url": settings.index_url, **extra})
    driver = read_installed() if installed is None else installed
    chosen = _Selection(driver)
    lock = None
    if settings.packages == "auto":
        _choose_imported(chosen, imported_modules)
    elif isinstance(settings.packages, str):
        lock = _choose_from_file(chosen, Path(settings.packages).expanduser())
    else:
        for text in settings.packages:
            where = "packages under [environment]"
            chosen.wanted(requirements.parse(text, where), text, where)
        chosen.needed(chosen.lines)
    python = _python(settings, driver)
    # Names only: a requirement's URL may contain a password.
    LOGGER.info("nodes get Python %s with %s", python, ", ".join(sorted(chosen.names)))
    return Environment(
        python=python,
        minor=driver.python,
        requirements=tuple(chosen.lines),
        lock=lock,
        additions=tuple(chosen.additions),
        local=tuple(chosen.local),
        index_url=settings.index_url,
        extra_index_url=settings.extra_index_url,
        setup=settings.setup,
        notes=tuple(_notes(settings, chosen)),
    )


@dataclass
class _Selection:
    """Requirements collected so far."""

    driver: Installed
    lines: list[str] = field(default_factory=list)
    additions: list[str] = field(default_factory=list)
    local: list[LocalDistribution] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    foreign: list[Distribution] = field(default_factory=list)
    """Distributions whose version has a local segment, as ``2.4.0+cu121``."""

    def as_here(self, name: str, into: list[str]) -> None:
        """Add a distribution in the driver's version."""
        self._take(Requirement(name), self.driver.distributions[name], into)

    def wanted(self, requirement: Requirement, text: str, where: str) -> None:
        """Add a requirement of the user; an open version becomes the driver's."""
        name = canonicalize_name(requirement.name)
        here = self.driver.distributions.get(name)
        if requirements.applies_here(requirement):
            _check_agreement(requirement, here, where)
        if requirements.is_exact(requirement):
            self.names.add(name)
            self.lines.append(text)
        elif here is not None and requirement.specifier.contains(here.version, prereleases=True):
            self._take(requirement, here, self.lines)
        else:
            has = f"this machine has {here.version}" if here else "it is not installed here"
            raise ConfigError(
                f"{where}: {text} leaves the version open and {has}; write {name}==VERSION"
            )

    def needed(self, into: list[str]) -> None:
        """Add missing distributions of `NEEDED`."""
        for name in NEEDED:
            if name in self.names:
                continue
            if name not in self.driver.distributions:
                raise PreparationError(
                    f"{name} is not installed here, so no node can have the same version of it"
                )
            self.as_here(name, into)

    def _take(self, wanted: Requirement, here: Distribution, into: list[str]) -> None:
        name = str(canonicalize_name(here.name))
        self.names.add(name)
        source = _source(here)
        if source is None:
            if Version(here.version).local:
                self.foreign.append(here)
            into.append(requirements.pinned(wanted, here.version))
        elif "://" in source and not source.startswith("git+file:"):
            into.append(f"{name} @ {source}")
        else:
            self.local.append(
                LocalDistribution(name=here.name, version=here.version, source=source)
            )


# ---- "auto" --------------------------------------------------------------------------------------


def _choose_imported(chosen: _Selection, imported: Collection[str]) -> None:
    names = set()
    for module in sorted(imported):
        if module in sys.stdlib_module_names or module in ("skygrid", "__main__", "__mp_main__"):
            continue
        names |= _providers(chosen.driver, module)
    chosen.needed(chosen.lines)
    loaded = {name for module in chosen.driver.files for name in _known(chosen.driver, module)}
    for name in sorted(_with_dependencies(chosen.driver, names, loaded) - chosen.names):
        chosen.as_here(name, chosen.lines)


def _providers(driver: Installed, module: str) -> set[str]:
    """Return the distributions of a module: several for a namespace package, possibly none."""
    found = _known(driver, module)
    file = driver.files.get(module)
    if found or file is None or {"site-packages", "dist-packages"} & set(file.parts):
        # Submodules of an installed library may register under any name.
        return found - {"skygrid"}
    raise PreparationError(
        f"the search file imports {module} ({file}), which belongs to no installed distribution, "
        "so a node cannot have it: put it beside the search file, or install it here as a package"
    )


def _known(driver: Installed, module: str) -> set[str]:
    return {name for name in driver.providers.get(module, ()) if name in driver.distributions}


def _with_dependencies(driver: Installed, names: set[str], loaded: set[str]) -> set[str]:
    """Add dependencies that this process has loaded, optional ones included.

    The node's resolver adds the others, because they may differ between platforms.
    """
    found, ahead = set[str](), [*names, *NEEDED]
    while ahead:
        name = ahead.pop()
        if name in found or name not in driver.distributions:
            continue
        found.add(name)
        for text in driver.distributions[name].requires:
            try:
                dependency = str(canonicalize_name(Requirement(text).name))
            except InvalidRequirement:  # old metadata; the node's resolver handles it
                continue
            if dependency in loaded:
                ahead.append(dependency)
    return found - {"skygrid"}


# ---- a file --------------------------------------------------------------------------------------


def _choose_from_file(chosen: _Selection, path: Path) -> str | None:
    """Return the text of a pylock.toml; for a requirements file add its lines and return None."""
    if path.name == "uv.lock":
        raise ConfigError(
            f"{path} is uv's own format; write it out with: "
            "uv export --format requirements.txt --no-emit-project --output-file requirements.txt"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"packages under [environment] names {path}, which cannot be read: {error}"
        ) from error
    if path.suffix == ".toml":
        _read_lock(chosen, text, path)
        chosen.needed(chosen.additions)
        return text
    for line in requirements.read_lines(text, str(path)):
        if line.requirement is None:
            chosen.lines.append(line.text)
        else:
            chosen.wanted(line.requirement, line.text, line.where)
    chosen.needed(chosen.additions)
    return None


def _read_lock(chosen: _Selection, text: str, path: Path) -> None:
    """Check a pylock.toml and record its distributions.

    Source: the packaging specification of pylock.toml (PEP 751).
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    packages = content.get("packages")
    if "lock-version" not in content or not isinstance(packages, list):
        raise ConfigError(f"{path} is no pylock.toml; uv export --format pylock.toml writes one")
    for one in packages:
        name = str(canonicalize_name(one["name"]))
        if "directory" in one or "path" in one.get("archive", {}):
            raise ConfigError(
                f"{path}: {name} is a path of this machine, which a node does not have; leave it "
                "out of the lock (uv export --no-emit-project)"
            )
        chosen.names.add(name)
        if "version" in one:
            text = f"{name}=={one['version']}"
            marker = f" ; {one['marker']}" if "marker" in one else ""
            wanted = requirements.parse(text + marker, str(path))
            if _marker_is_known(wanted):
                _check_agreement(wanted, chosen.driver.distributions.get(name), str(path))


def _marker_is_known(requirement: Requirement) -> bool:
    """Return True if the marker holds here; markers on a lock's groups and extras are unknown."""
    marker = str(requirement.marker or "")
    if "dependency_groups" in marker or "extras" in marker:
        return False
    return requirements.applies_here(requirement)


# ---- judgements ----------------------------------------------------------------------------------


def _check_agreement(requirement: Requirement, here: Distribution | None, where: str) -> None:
    """Raise ConfigError, before any installation, for versions that the handshake would refuse."""
    name = canonicalize_name(requirement.name)
    if name not in COMPARED_PACKAGES or here is None or requirement.url is not None:
        return
    if not requirement.specifier.contains(here.version, prereleases=True):
        raise ConfigError(
            f"{where} asks for {name}{requirement.specifier} and this machine runs {here.version}; "
            "scores are comparable only when they are the same"
        )


def _python(settings: EnvironmentConfig, driver: Installed) -> str:
    python = settings.python
    if python is None:
        return driver.python
    if python.startswith("/"):
        return python
    if not _PYTHON.fullmatch(python):
        raise ConfigError(
            f"python under [environment] is {python!r}; "
            f'it must be a version such as "{driver.python}" or an absolute path'
        )
    if python.split(".")[:2] != driver.python.split("."):
        raise ConfigError(
            f"python under [environment] is {python} and this machine runs {driver.python}; "
            "functions of the search file cannot travel from one to the other"
        )
    return python


def _source(here: Distribution) -> str | None:
    """Return the source of a distribution; None if an index has its version."""
    url = here.direct_url
    if url is None:
        return None
    inner = f"#subdirectory={url['subdirectory']}" if "subdirectory" in url else ""
    if "vcs_info" in url:
        info = url["vcs_info"]
        return f"{info['vcs']}+{url['url']}@{info['commit_id']}{inner}"
    path = local_path(url)
    if path is None:
        return f"{url['url']}{inner}"
    path /= url.get("subdirectory", "")
    if path.exists():
        return str(path)
    if here.installer == "conda":  # conda records the source path of its build machine
        return None
    raise PreparationError(
        f"{here.name} {here.version} was installed from {path}, which is not there any more, so no "
        "wheel can be built for the nodes: install it again"
    )


def _notes(settings: EnvironmentConfig, chosen: _Selection) -> Iterator[str]:
    if settings.index_url or settings.extra_index_url:
        return
    for one in _unique(chosen.foreign):
        yield (
            f"{one.name} {one.version} is a build that PyPI does not have; if a node does not find "
            "it, name its index as index_url or extra_index_url under [environment]"
        )


def _unique(distributions: Iterable[Distribution]) -> list[Distribution]:
    return list({one.name: one for one in distributions}.values())
