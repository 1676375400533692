"""The search file that `skygrid init` writes."""

from __future__ import annotations

from enum import StrEnum
from importlib.resources import files
from pathlib import Path

from skygrid.errors import UsageError


class Template(StrEnum):
    """A kind of search."""

    commented = "commented"
    tabular = "tabular"
    text = "text"
    halving = "halving"
    custom = "custom"


def template_text(template: Template) -> str:
    """Return the text of a template, in which THIS_FILE stands for its name."""
    if template is Template.commented:
        file = files("skygrid.cli").joinpath("search_template.py")
    else:
        file = files("skygrid.cli.templates").joinpath(f"{template.value}.py")
    return file.read_text(encoding="utf-8")


def write_template(path: Path, template: Template = Template.commented) -> None:
    """Write a search file that runs as it is.

    The template is a file of this package; it is read as text and never imported here.

    Parameters
    ----------
    path : Path
        New file in an existing folder.
    template : Template, optional

    Raises
    ------
    UsageError
        If `path` exists, does not end in ``.py`` or cannot be written.
    """
    text = template_text(template)
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
