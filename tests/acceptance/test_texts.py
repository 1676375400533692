"""README and guides are true: code runs, commands parse, tables are complete."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sklearn.model_selection import _validation
from typer.main import get_command

import skygrid as package
from skygrid import errors
from skygrid.cli.main import app
from skygrid.config import load_config
from skygrid.search_file import load_search
from tests.command import result, skygrid

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("guides/*.md"))]
PACKAGE = Path(package.__file__).parent

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def _is_search_file(block: str) -> bool:
    return re.search(r"^(dataset =|def dataset)", block, flags=re.MULTILINE) is not None


def _first_column(page: str, heading: str) -> list[str]:
    """Return the code in the first column of the table below a heading."""
    _, _, rest = page.partition(f"## {heading}\n")
    section, _, _ = rest.partition("\n## ")
    return re.findall(r"^\| `([^`]+)`", section, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Yield the folder and the output of a run of the README's search file."""
    folder = tmp_path_factory.mktemp("readme")
    (search_file,) = filter(_is_search_file, _blocks(_text("README.md"), "python"))
    (folder / "search.py").write_text(search_file)
    (command,) = re.findall(r"^    skygrid (run .*)$", _text("README.md"), flags=re.MULTILINE)
    out, _ = skygrid(folder, *shlex.split(command))
    with contextlib.chdir(folder):
        yield folder, out


def test_the_readme_shows_what_the_terminal_shows(run: tuple[Path, str]) -> None:
    """The README's table is the one that its search prints, except for times."""
    (shown,) = [text for text in _blocks(_text("README.md"), "text") if "best of" in text]
    times = re.compile(r" *[\d.]+ (ms|s|min)\b| \d+ %")
    assert times.sub("", shown) == times.sub("", run[1])


@pytest.mark.parametrize("page", ["README.md", "guides/results.md", "guides/ci.md"])
def test_python_that_reads_a_result_runs(run: tuple[Path, str], page: str) -> None:
    """Code in a page that reads a run's folder runs beside the README's run."""
    blocks = [block for block in _blocks(_text(page), "python") if not _is_search_file(block)]
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {"__name__": "page"})


@pytest.mark.parametrize(
    ("page", "printed"), [("guides/python.md", "{'C': "), ("guides/joblib.md", "[1, 2, 3, 4]")]
)
def test_python_of_a_guide_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    page: str,
    printed: str,
) -> None:
    """The blocks of a guide to the Python interface run one after another as one program."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for block in _blocks(_text(page), "python"):
        exec(compile(block, page, "exec"), names)
    assert printed in capfd.readouterr().out


@each_page
def test_search_files_of_a_page_load(page: Path, tmp_path: Path) -> None:
    """Every search file in a page can be loaded."""
    for number, block in enumerate(_blocks(page.read_text(encoding="utf-8"), "python")):
        if _is_search_file(block):
            path = tmp_path / f"search_{number}.py"
            path.write_text(block)
            assert load_search(path).search is not None


@each_page
def test_commands_of_a_page_parse(page: Path) -> None:
    """Every `skygrid` command in a page has a name and options that exist."""
    group: Any = get_command(app)
    line = re.compile(r"^ *(?:    |- run: |\$ )skygrid ([^#|>\n]+)", re.MULTILINE)
    for words in line.findall(page.read_text(encoding="utf-8")):
        name, *arguments = shlex.split(words)
        group.commands[name].make_context(name, arguments).close()


@each_page
def test_configs_of_a_page_load(page: Path, tmp_path: Path) -> None:
    """Every config in a page can be loaded."""
    for block in _blocks(page.read_text(encoding="utf-8"), "toml"):
        path = tmp_path / "skygrid.toml"
        path.write_text(block)
        load_config({}, {}, config_file=path, cwd=tmp_path)


@each_page
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link names an existing file."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_reference_names_every_file_of_a_run(run: tuple[Path, str]) -> None:
    """The reference has a row for each file of a run."""
    rows = [
        row.rstrip("/") for row in _first_column(_text("guides/reference.md"), "A run's folder")
    ]
    assert set(os.listdir(run[0] / "skygrid-runs" / "digits")) <= set(rows)


def test_reference_names_every_exit_code() -> None:
    """The reference has a row for each exit code of an error, and for success."""
    codes = {one.exit_code for one in vars(errors).values() if hasattr(one, "exit_code")}
    rows = re.findall(r"^\| (\d+)[^|]* \|", _text("guides/reference.md"), flags=re.MULTILINE)
    assert {int(row) for row in rows} == {0, *codes}


def test_results_guide_names_every_key_of_the_document(run: tuple[Path, str]) -> None:
    """The results guide has exactly one row for each key of ``result.json``."""
    document = result(run[0], "digits")
    assert _first_column(_text("guides/results.md"), "result.json") == list(document)


def test_troubleshooting_quotes_real_messages() -> None:
    """Each message in the troubleshooting guide exists in skygrid or in scikit-learn."""
    sources = [*PACKAGE.rglob("*.py"), Path(_validation.__file__)]
    code = "".join(path.read_text(encoding="utf-8") for path in sources)
    code = re.sub(r'"\s+f?"', "", code)  # join the literals of one message
    code = re.sub(r"\{[^{}]*\}", "...", code)
    cells = re.findall(r"^\| (`.*?) \|", _text("guides/troubleshooting.md"), flags=re.MULTILINE)
    for quoted in re.findall(r"`([^`]+)`", "\n".join(cells)):
        for part in quoted.split("..."):
            assert part.strip(" ,.") in code, quoted


def test_every_module_of_the_package_stands_in_a_room_of_the_guide() -> None:
    """guides/architecture.md names every top-level module and package."""
    guide = _text("guides/architecture.md")
    rooms = {
        path.stem
        for path in PACKAGE.iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or path.is_dir())
    }
    assert not {room for room in rooms if f"`{room}" not in guide}


def test_every_module_of_the_guide_is_one_of_the_package() -> None:
    """Each dotted name in guides/architecture.md that starts with a room is a module."""
    rooms = {path.stem for path in PACKAGE.iterdir()}
    for name in re.findall(r"`([a-z_0-9.]+)`", _text("guides/architecture.md")):
        room, *rest = name.split(".")
        if room in rooms and rest not in ([], ["json"]):
            path = PACKAGE.joinpath(room, *rest)
            assert path.is_dir() or path.with_suffix(".py").is_file(), name


def test_words_of_the_glossary_stand_once_and_in_order() -> None:
    """The glossary has one row for each word, sorted."""
    words = re.findall(r"^\| ([a-z][a-z -]*) \|", _text("guides/glossary.md"), flags=re.MULTILINE)[
        1:
    ]
    assert words == sorted(set(words))
