"""The search file that `skygrid init` writes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from skygrid.errors import UsageError


def write_template(path: Path) -> None:
    """Write a commented search file that runs as it is.

    The template is a file of this package; it is read as text and never imported here.

    Parameters
    ----------
    path : Path
        New file in an existing folder.

    Raises
    ------
    UsageError
        If `path` exists, does not end in ``.py`` or cannot be written.
    """
    text = files("skygrid.cli").joinpath("search_template.py").read_text(encoding="utf-8")
    if path.suffix != ".py":
        raise UsageError(f"{path} would be no Python file; give a name that ends in .py")
    try:
        # Mode "x" fails on an existing file, also if two commands run at the same time.
        with path.open("x", encoding="utf-8") as file:
            file.write(text.replace("THIS_FILE", path.name))
    except FileExistsError:
        raise UsageError(f"{path} exists already; give another name or move it away") from None
    except FileNotFoundError:
        raise UsageError(f"there is no folder {path.parent}; make it first") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
