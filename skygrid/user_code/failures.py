"""Messages for exceptions that user code raised while it was loaded."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import TracebackType

from skygrid.errors import SearchFileError
from skygrid.user_code.modules import in_user_tree
from skygrid.user_code.source import SearchFile, did_you_mean, shorten, syntax_message
from skygrid.worker.evaluation.exception_records import text_or_none

# Names of distributions that differ from the module's name.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "imblearn": "imbalanced-learn",
    "skimage": "scikit-image",
    "skopt": "scikit-optimize",
    "yaml": "pyyaml",
}


def failure(file: SearchFile, error: BaseException, action: str = "") -> SearchFileError:
    """Return the error that reports an exception of user code.

    Parameters
    ----------
    file : SearchFile
        The search file.
    error : BaseException
        The exception.
    action : str
        The call that raised, as ``dataset()``; empty while the file itself runs.
    """
    where = _where(file, error)
    if isinstance(error, SyntaxError) and error.filename:
        neighbour = Path(error.filename)
        if in_user_tree(neighbour, file.folder):
            return SearchFileError(syntax_message(_shown(file, neighbour), error))
    if isinstance(error, ImportError):
        return SearchFileError(f"{where}: {_import_problem(file, error)}")
    subject = f"{action} raised" if action else "raised"
    remedy = ""
    if isinstance(error, SystemExit):
        remedy = "; a search file must run to its end, so delete the exit"
    return SearchFileError(f"{where}: {subject} {error_text(error)}{remedy}")


def error_text(error: BaseException) -> str:
    """Return an exception's type and its text on one line."""
    text = shorten(text_or_none(str, error) or "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _where(file: SearchFile, error: BaseException) -> str:
    """Return the innermost line of user code, and the search file's line if it differs."""
    frames = [
        (path, line)
        for path, line in _frames(error.__traceback__)
        if in_user_tree(path, file.folder)
    ]
    if not frames:
        return file.shown
    path, line = frames[-1]
    if path == file.path:
        return file.at(line)
    through = [line for other, line in frames if other == file.path]
    by = f" (from {file.at(through[-1])})" if through else ""
    return f"{_shown(file, path)}, line {line}{by}"


def _frames(traceback: TracebackType | None) -> list[tuple[Path, int]]:
    frames = []
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        if not name.startswith("<"):
            frames.append((Path(name), traceback.tb_lineno))
        traceback = traceback.tb_next
    return frames


def _shown(file: SearchFile, path: Path) -> str:
    """Return a neighbour's path, relative or absolute as the search file's was given."""
    if not path.is_relative_to(file.folder):
        path = path.resolve()
    if path == file.path:
        return file.shown
    return str(Path(file.shown).parent / path.relative_to(file.folder))


def _import_problem(file: SearchFile, error: ImportError) -> str:
    name = error.name or ""
    top = name.partition(".")[0]
    if "relative import" in str(error):
        remedy = "a search file is no package, so write `import` without the dot"
        return f"raised {error_text(error)}; {remedy}"
    if not isinstance(error, ModuleNotFoundError) or not top:
        return f"raised {error_text(error)}" + _shadowed(file, top)
    if top in sys.modules or _exists(top):
        return f"there is no module {name!r} in {top!r}; look at its name and at {top}'s version"
    close = did_you_mean(top, _neighbours(file), cutoff=0.75)
    if close is not None:
        return f"there is no module {name!r}; did you mean {close!r}, which lies beside the file?"
    package = _DISTRIBUTIONS.get(top, top)
    return (
        f"the module {name!r} is not installed; run `uv pip install {package}` "
        f"(or `pip install {package}`) in the environment of skygrid"
    )


def _exists(top: str) -> bool:
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):  # a module without a spec, or in a broken package
        return False


def _shadowed(file: SearchFile, top: str) -> str:
    """Return a remark if a library was imported instead of a neighbour of the same name."""
    module = sys.modules.get(top)
    found = getattr(module, "__file__", None)
    if top in _neighbours(file) and found and not in_user_tree(Path(found), file.folder):
        return f"; {top!r} is also the name of a library, so rename the one beside the file"
    return ""


def _neighbours(file: SearchFile) -> list[str]:
    """Return the names of modules and packages beside the file."""
    modules = [path.stem for path in file.folder.glob("*.py") if path != file.path]
    return modules + [path.parent.name for path in file.folder.glob("*/__init__.py")]
