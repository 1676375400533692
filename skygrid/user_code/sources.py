"""The files of the user's modules: those that nodes import by name, and those that are sent."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import re
import sys
import tokenize
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from packaging.utils import canonicalize_name

from skygrid.environment.installed import local_path
from skygrid.errors import SearchFileError
from skygrid.plan.spec import UserCode
from skygrid.user_code.modules import in_user_tree
from skygrid.worker.user_code.user_modules import UserFiles

MOST_BYTES = 16 * 1024 * 1024
"""Limit of a program's Python files together, in bytes; more is data, not code."""

MOST_DATA_BYTES = 32 * 1024 * 1024
"""Limit of the other files of its packages together, in bytes; the smallest are sent first."""

MOST_FILE_BYTES = 4 * 1024 * 1024
"""Limit of one of these files, in bytes. Larger ones are data of the search, sent separately."""

_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "skygrid-runs"})


def files_in_place(code: UserCode) -> UserFiles:
    """Return the import folders and file states that nodes on this machine need."""
    folders = tuple(str(Path(entry).absolute()) for entry in sys.path)
    states = {name: _state(path) for name, path in {**code.unloaded, **code.by_name}.items()}
    return UserFiles(folders=folders, states=states)


def files_to_send(code: UserCode) -> UserFiles:
    """Return the files of the user's modules, for nodes that do not have them.

    Raises
    ------
    SearchFileError
        If the Python files exceed `MOST_BYTES`.
    """
    found = _collected(code)
    contents = {name: path.read_bytes() for name, path in found.items()}
    return UserFiles(
        files=contents | _metadata(found),
        origins={name: str(path) for name, path in found.items()},
        states={_module_at(name): _state(path) for name, path in found.items() if _is_code(path)},
    )


def importable_by_name(modules: Mapping[str, ModuleType]) -> dict[str, Path]:
    """Return the files of those modules that another process finds under the same names."""

    @functools.cache
    def place(name: str) -> tuple[str | None, list[str] | None]:
        parent = name.rpartition(".")[0]
        inner = place(parent)[1] if parent else sys.path
        spec = None if inner is None else PathFinder.find_spec(name, inner)
        if spec is None:
            return None, None
        folders = spec.submodule_search_locations
        return spec.origin, None if folders is None else list(folders)

    files = {name: module_file(module) for name, module in modules.items()}
    return {
        name: path
        for name, path in files.items()
        if path is not None and _is_same(place(name)[0], path)
    }


def _is_same(origin: str | None, path: Path) -> bool:
    return origin is not None and (origin == str(path) or Path(origin).resolve() == path.resolve())


def module_file(module: ModuleType | None) -> Path | None:
    """Return the file of a module; None if it has none."""
    path = getattr(module, "__dict__", {}).get("__file__")
    return Path(path) if isinstance(path, str) else None


def parsed(text: str) -> ast.Module:
    """Return the syntax tree of a text; an empty one if it cannot be parsed."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])


def read_text(path: Path) -> str:
    """Return the text of a Python file; empty if it cannot be read."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ""  # a module that cannot be read cannot be imported here either


def import_statements(text: str) -> tuple[str, ...]:
    """Return the import statements at the top level of a program, except those of skygrid.

    A node has only skygrid's worker.
    """
    return tuple(
        ast.unparse(node)
        for node in parsed(text).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and not any(name.partition(".")[0] == "skygrid" for name in _imported(node, package=""))
        and getattr(node, "module", None) != "__future__"
    )


# ---- files for nodes elsewhere -------------------------------------------------------------------


def _collected(code: UserCode) -> dict[str, Path]:
    """Return the files to send, by their paths below one import folder."""
    found: dict[str, Path] = {}
    if code.program is not None and code.folder is not None:
        found |= dict(_followed(code.program, code.folder))
        found[code.program.name] = code.program
    found |= {_place_of(name, path): path for name, path in code.by_name.items()}
    for name, path in list(found.items()):
        top = name.partition("/")[0]
        if "/" in name:
            found |= _package_files(path.parents[name.count("/") - 1], top, _is_code)
    if sum(path.stat().st_size for path in found.values()) > MOST_BYTES:
        raise SearchFileError(
            f"the modules beside the search file that it imports have more than "
            f"{MOST_BYTES >> 20} MiB: put data that they hold into files of another kind"
        )
    return found | dict(_bounded(_data_files(found)))


def _followed(program: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the modules that a program imports from its folder, directly or not, anywhere."""
    known: set[str] = set()
    waiting = list(_imported(parsed(read_text(program)), package=""))
    while waiting:
        name = waiting.pop()
        # Python imports a before a.b.
        for whole in _with_parents(name):
            if whole in known:
                continue
            path, is_package = _file_of(whole, folder)
            if path is None:
                break
            known.add(whole)
            yield _place_of(whole, path), path
            package = whole if is_package else whole.rpartition(".")[0]
            waiting += _imported(parsed(read_text(path)), package)


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            try:
                whole = importlib.util.resolve_name(base, package or None)
            except ImportError:
                continue  # it fails wherever it runs
            yield whole
            # A name imported from a package may be one of its modules.
            yield from (f"{whole}.{alias.name}" for alias in node.names)


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _file_of(name: str, folder: Path) -> tuple[Path | None, bool]:
    place = folder.joinpath(*name.split("."))
    for path, is_package in ((place / "__init__.py", True), (place.with_suffix(".py"), False)):
        if path.is_file() and in_user_tree(path, folder):
            return path, is_package
    return None, False


def _place_of(name: str, path: Path) -> str:
    """Return the path of a module's file below its import folder."""
    stem = name.replace(".", "/")
    return f"{stem}/{path.name}" if path.stem == "__init__" else f"{stem}{path.suffix}"


def _module_at(place: str) -> str:
    """Return the name of the module at a path below an import folder."""
    stem = place.rpartition("/")[0] + "/" + place.rpartition("/")[2].partition(".")[0]
    return stem.removesuffix("/__init__").strip("/").replace("/", ".")


def _package_files(package: Path, top: str, wanted: Callable[[Path], bool]) -> dict[str, Path]:
    """Return the `wanted` files of a whole package."""
    return {
        f"{top}/{path.relative_to(package).as_posix()}": path
        for path in sorted(package.rglob("*"))
        if path.is_file() and wanted(path) and not _is_skipped(path.relative_to(package))
    }


def _is_code(path: Path) -> bool:
    return path.suffix in {".py", ".so", ".pyd"}


def _is_data(path: Path) -> bool:
    return not _is_code(path) and path.suffix != ".pyc"


def _is_skipped(inner: Path) -> bool:
    return any(part in _SKIPPED_FOLDERS or part.startswith(".") for part in inner.parts)


def _data_files(found: Mapping[str, Path]) -> dict[str, Path]:
    """Return data files: all in packages, and those beside a module that its text names."""
    data: dict[str, Path] = {}
    for name, path in found.items():
        if "/" in name:
            package = path.parents[name.count("/") - 1]
            data |= _package_files(package, name.partition("/")[0], _is_data)
        else:
            data |= {
                text: path.parent / text
                for text in _texts(parsed(read_text(path)))
                if (path.parent / text).is_file()
            }
    return {name: path for name, path in data.items() if name not in found}


def _texts(tree: ast.AST) -> Iterator[str]:
    """Yield the strings in a module that may be the path of a file beside it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if re.fullmatch(r"[\w-][\w./ -]{0,200}", text) and ".." not in text:
                yield text


def _bounded(data: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    room = MOST_DATA_BYTES
    sizes = {name: path.stat().st_size for name, path in data.items()}
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        room -= sizes[name]
        if sizes[name] > MOST_FILE_BYTES or room < 0:
            return
        yield name, data[name]


def _metadata(found: Mapping[str, Path]) -> dict[str, bytes]:
    """Return the installed metadata of packages that are sent: versions and entry points."""
    packages = [path for name, path in found.items() if "/" in name]
    files: dict[str, bytes] = {}
    for one in metadata.distributions() if packages else ():
        origin = one.read_text("direct_url.json")
        project = local_path(json.loads(origin)) if origin else None
        if project is None or not any(path.is_relative_to(project) for path in packages):
            continue
        folder = _metadata_folder(one.metadata["Name"], one.version)
        for name in ("METADATA", "entry_points.txt"):
            text = one.read_text(name)
            if text is not None:
                files[f"{folder}/{name}"] = text.encode()
    return files


def _metadata_folder(name: str, version: str) -> str:
    """Return the name of the ``.dist-info`` folder: its first hyphen ends the project's name.

    Source: the packaging specification "Recording installed projects".
    """
    return f"{canonicalize_name(name).replace('-', '_')}-{version.replace('-', '_')}.dist-info"


def _state(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:
        return str(path)
    return f"{path} {state.st_mtime_ns} {state.st_size}"
