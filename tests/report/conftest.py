"""Reports of real runs, opened in a real Chromium.

Screenshots are kept in ``screenshots/`` beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.command import skygrid
from tests.programs import program
from tests.report.searches import SEARCHES

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
)  # fmt: skip
SCREENSHOTS = Path(__file__).parent / "screenshots"
PATIENCE_MILLISECONDS = 120_000


class Opened:
    """A report in the browser, with everything that it did besides."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page = page
        self.path = path
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page."""
        self.page.screenshot(path=screenshot(name), full_page=True)


def screenshot(name: str) -> Path:
    """Return the file of a picture."""
    SCREENSHOTS.mkdir(exist_ok=True)
    return SCREENSHOTS / f"{name}.png"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    # Only the environment of `make test-report` has it.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program("chromium"), args=list(ARGUMENTS)
        )
        yield chromium
        chromium.close()


@pytest.fixture
def open_report(browser):
    """Open a report; at the end nothing may have left the page or gone wrong in it."""

    @contextmanager
    def opened(path: Path, *, scheme: str = "light", width: int = 1200) -> Iterator[Opened]:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            accept_downloads=True,
            permissions=["clipboard-read", "clipboard-write"],
        )
        try:
            report = Opened(context.new_page(), path)
            yield report
            assert report.complaints == []
            local = ("file:", "data:", "blob:", "about:")
            assert [url for url in report.requests if not url.startswith(local)] == []
            assert [url for url in report.requests if url.startswith("file:")] == [path.as_uri()]
        finally:
            context.close()

    return opened


@pytest.fixture(scope="session")
def reports(tmp_path_factory) -> dict[str, Path]:
    """The report of each search in `SEARCHES`, by its name."""
    folder = tmp_path_factory.mktemp("reports")
    made = {}
    for name, (text, options) in SEARCHES.items():
        (folder / f"{name}.py").write_text(text)
        done = skygrid(folder, "run", f"{name}.py", "--name", name, *options, "--quiet")
        made[name] = folder / "skygrid-runs" / name / "report.html"
        assert made[name].is_file(), done
    return made
