"""report.html in a real browser."""

from __future__ import annotations

import ast
import csv
import io
import signal

import pytest

from tests.command import Command, recorded, skygrid, wait_for
from tests.recorded_runs import outcome, recorded_run
from tests.report.conftest import screenshot
from tests.report.searches import HOSTILE, INTERRUPTED, SEARCHES

pytestmark = pytest.mark.report

DRAWN = """figures => figures.filter(one => !one.hidden).map(one => [
    one.dataset.plot,
    one.dataset.drawn === "true" &&
        one.querySelectorAll(".trace, .heatmaplayer image, canvas").length > 0
])"""


def rows_of(page):
    """Return the cells of the table of candidates, row by row."""
    return page.eval_on_selector_all(
        "#candidate-table tbody tr",
        "rows => rows.map(row => [...row.children].map(cell => cell.textContent))",
    )


def status_of(page):
    return page.inner_text("#candidate-table .bar [role=status]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", SEARCHES)
def test_every_plot_is_drawn(reports, open_report, name, scheme):
    """Each kind of search has all its plots in both color schemes, with a readable background."""
    with open_report(reports[name], scheme=scheme) as report:
        drawn = report.page.eval_on_selector_all("figure[data-plot]", DRAWN)
        assert {"effect", "parallel", "splits", "cost", "slots"} <= {plot for plot, _ in drawn}
        assert [plot for plot, there in drawn if not there] == []
        background = report.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(18, 22, 28)")
        report.picture(f"{name}-{scheme}")


@pytest.mark.parametrize("name", SEARCHES)
def test_a_narrow_screen_needs_no_sideways_scrolling(reports, open_report, name):
    """At 400 px nothing is wider than the page."""
    with open_report(reports[name], width=400) as report:
        assert report.page.evaluate("document.documentElement.scrollWidth") == 400
        report.picture(f"{name}-narrow")


def test_the_color_scheme_follows_the_system(reports, open_report):
    """The plots change their colors when the system changes to dark."""
    axis = "document.querySelector('.xtick text').style.fill"
    with open_report(reports["grid"]) as report:
        before = report.page.evaluate(axis)
        report.page.emulate_media(color_scheme="dark")
        # The policy of the page forbids Playwright's own wait, which evaluates text.
        wait_for(lambda: report.page.evaluate(axis) != before, "another color")


def test_hostile_texts_are_texts(reports, open_report):
    """Names, values, warnings and errors that look like markup are shown as they are."""
    with open_report(reports["hostile"]) as report:
        page = report.page
        assert f"ValueError: failed {HOSTILE}" in page.inner_text("#failures")
        assert f"careful {HOSTILE}" in page.inner_text("#failures")
        assert HOSTILE in page.locator("#effect-plots h3").all_inner_texts()
        names = page.eval_on_selector_all(
            "#candidate-table th button", "all => all.map(one => one.textContent)"
        )
        assert HOSTILE in names
        ticks = page.eval_on_selector_all(
            "[data-plot=effect] .xtick text", "all => all.map(one => one.textContent)"
        )
        assert "<b>bold</b>" in ticks
        assert page.locator("main b").count() == 0
        page.click("#candidate-table button:has-text('Details') >> nth=0")
        assert HOSTILE in page.inner_text("dialog")


def test_columns_sort(reports, open_report):
    """A click on a column's head sorts by it, a second click the other way round."""
    with open_report(reports["grid"]) as report:
        page = report.page
        place = 4  # rank, mean, std, fit time, svc__C
        for expected, state in ((False, "ascending"), (True, "descending")):
            page.click("th button:text-is('svc__C')")
            values = [float(row[place]) for row in rows_of(page)]
            assert values == sorted(values, reverse=expected)
            assert page.get_attribute("th:has(button:text-is('svc__C'))", "aria-sort") == state
        assert page.evaluate("document.activeElement.textContent") == "svc__C"


def test_the_filter_understands_values_and_words(reports, open_report):
    """Terms such as C>=10 and words must all hold; the number of candidates is announced."""
    with open_report(reports["grid"]) as report:
        page = report.page
        page.fill("#candidate-table input", "svc__C>=10 gamma=0.01")
        assert status_of(page) == "3 of 30 candidates"
        assert {row[5] for row in rows_of(page)} == {"0.01"}
        page.fill("#candidate-table input", "no such thing")
        assert "No candidate fits the filter." in page.inner_text("#candidate-table tbody")


def test_ranges_on_an_axis_choose_candidates(reports, open_report):
    """Dragging along an axis chooses candidates for the table; the chip shows all again."""
    with open_report(reports["grid"]) as report:
        page = report.page
        axis = page.locator(".axis[data-axis='0']")
        axis.scroll_into_view_if_needed()
        box = axis.bounding_box()
        x = box["x"] + box["width"] / 2
        page.mouse.move(x, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(x, box["y"] + 120, steps=5)
        page.mouse.up()
        assert page.inner_text("#parallel-status") == "10 candidates of 30: svc__C: 100 to 1000"
        assert status_of(page) == "10 of 30 candidates"
        page.locator("figure[data-plot=parallel]").screenshot()
        report.picture("grid-brushed")
        page.click("#candidate-table .chips button")
        assert status_of(page) == "30 of 30 candidates"
        assert page.inner_text("#parallel-status") == ""


def test_ranges_work_with_the_keyboard(reports, open_report):
    """Arrow keys choose, move and resize a range of a focused axis; Escape removes it."""
    with open_report(reports["grid"]) as report:
        page = report.page
        page.focus(".axis[data-axis='2']")
        page.keyboard.press("ArrowUp")
        chosen = page.get_attribute(".axis[data-axis='2']", "aria-valuetext")
        assert " to " in chosen
        for _ in range(15):
            page.keyboard.press("Shift+ArrowDown")
        assert page.get_attribute(".axis[data-axis='2']", "aria-valuetext") != chosen
        page.keyboard.press("Escape")
        assert page.get_attribute(".axis[data-axis='2']", "aria-valuetext") == "no range chosen"
        assert status_of(page) == "30 of 30 candidates"


def test_a_candidate_can_be_copied_and_downloaded(reports, open_report):
    """A candidate is copied as a Python dict; the table is downloaded as CSV."""
    with open_report(reports["families"]) as report:
        page = report.page
        page.fill("#candidate-table input", "n_estimators=6 max_depth=2")
        page.click("#candidate-table button:has-text('Copy dict')")
        page.wait_for_selector("#toast.on")
        copied = page.evaluate("navigator.clipboard.readText()")
        tree = ast.parse(copied, mode="eval")
        assert isinstance(tree.body, ast.Dict)
        assert "'clf__max_depth': 2" in copied
        assert "RandomForestClassifier(random_state=0)" in copied.replace("\n", "")
        with page.expect_download() as download:
            page.click("text=Download CSV")
        assert download.value.suggested_filename == "families-candidates.csv"
        (line,) = csv.DictReader(io.StringIO(download.value.path().read_text()))
        assert line["param_clf__n_estimators"] == "6"
        assert 0 < float(line["split0_test_score"]) <= 1


def test_failed_candidates_can_be_shown(reports, open_report):
    """A group of failures leads to its candidates in the table."""
    with open_report(reports["families"]) as report:
        page = report.page
        assert "clf__C=-1" in page.inner_text("#failures .failure")
        page.click("#failures .failure button.rows")
        assert status_of(page) == "4 of 25 candidates"
        page.click("#failures .failure summary")
        assert "Traceback" in page.inner_text("#failures .traceback")


def test_families_and_metrics_can_be_chosen(reports, open_report):
    """The plots and the table change to another family, and to another metric."""
    with open_report(reports["families"]) as report:
        page = report.page
        page.select_option("#effect-controls select", label="clf=RandomForestClassifier(…)")
        heads = page.locator("#effect-plots h3").all_inner_texts()
        assert sorted(heads) == ["clf__max_depth", "clf__n_estimators"]
    with open_report(reports["metrics"]) as report:
        page = report.page
        page.select_option("#effect-controls select", "neg_mean_absolute_error")
        assert page.is_visible("th button:text-is('mean neg_mean_absolute_error')")
        page.select_option("#heat-controls label:has-text('Across') select", "selection")
        assert "selection" in page.text_content("[data-plot=heat] .xtitle")


def test_iterations_of_a_halving_search_can_be_chosen(reports, open_report):
    """The table has iterations with their n_resources, the last one first."""
    with open_report(reports["halving"]) as report:
        page = report.page
        rounds = [int(row[5]) for row in rows_of(page)]
        assert rounds == sorted(rounds, reverse=True)
        page.select_option("#candidate-table label:has-text('Iteration') select", "0")
        assert status_of(page).startswith("18 of ")
        assert "train" in page.inner_text("#candidate-table thead")


def test_each_plot_has_a_table(reports, open_report):
    """Behind each plot is a table with a caption, for readers who do not see the plot."""
    with open_report(reports["families"]) as report:
        page = report.page
        plots = page.locator("figure[data-plot]:not([data-plot=parallel]):not([hidden])")
        for place in range(plots.count()):
            plot = plots.nth(place)
            plot.locator("summary").click()
            plot.locator("tbody tr").first.wait_for()
            assert plot.locator("caption").inner_text()


def test_the_keyboard_reaches_everything(reports, open_report):
    """The first Tab stop skips to the verdict; details open and close with keys."""
    with open_report(reports["grid"]) as report:
        page = report.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
        page.focus("#candidate-table tbody button >> nth=0")
        page.keyboard.press("Enter")
        assert page.is_visible("dialog")
        page.keyboard.press("Escape")
        assert not page.is_visible("dialog")
        unnamed = page.eval_on_selector_all(
            "button, select, input, iframe, [tabindex='0']",
            "all => all.filter(one => !(one.textContent.trim() || one.ariaLabel || one.title"
            " || one.closest('label'))).length",
        )
        assert unnamed == 0


def test_the_page_prints(reports, open_report):
    """Printed from a dark screen, the page is black on white."""
    with open_report(reports["grid"], scheme="dark") as report:
        page = report.page
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(255, 255, 255)"
        )
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        report.picture("grid-print")


def test_an_interrupted_run_has_a_partial_report(tmp_path, open_report):
    """A run writes its report when it is interrupted; while it runs, `skygrid report` does."""
    (tmp_path / "slow.py").write_text(INTERRUPTED)
    run = Command(tmp_path, "run", "slow.py", "--name", "slow")
    wait_for(lambda: recorded(tmp_path, "slow") >= 5, "five outcomes")
    skygrid(tmp_path, "report", "slow", "--output", "running.html")
    wait_for(lambda: recorded(tmp_path, "slow") >= 20, "twenty outcomes")
    run.signal(signal.SIGINT)
    assert run.end()[0] == 130

    with open_report(tmp_path / "running.html") as report:
        assert report.page.inner_text(".badge") == "running"
        report.picture("running-light")
    with open_report(tmp_path / "skygrid-runs" / "slow" / "report.html") as report:
        assert report.page.inner_text(".badge") == "interrupted"
        assert "skygrid resume slow" in report.page.inner_text(".note")
        drawn = report.page.eval_on_selector_all("figure[data-plot]", DRAWN)
        assert [plot for plot, there in drawn if not there] == []
        report.picture("interrupted-light")


def test_a_watched_run_updates_its_page(tmp_path, browser):
    """`skygrid watch` shows progress, keeps the reader's choices, and ends with the result."""
    (tmp_path / "slow.py").write_text(INTERRUPTED)
    run = Command(tmp_path, "run", "slow.py", "--name", "slow", "--concurrency", "4")
    wait_for(lambda: recorded(tmp_path, "slow") >= 2, "two outcomes")
    watch = Command(tmp_path, "watch", "slow")
    url = watch.process.stdout.readline().strip()
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    try:
        page = context.new_page()
        complaints = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(url)
        page.fill("#candidate-table input", "mode=b")
        page.evaluate("document.activeElement.blur()")
        wait_for(lambda: "fits" in page.inner_text("#live-text"), "the progress")
        page.screenshot(path=screenshot("watch-light"))
        assert run.end()[0] == 0
        wait_for(lambda: page.inner_text(".badge") == "complete", "the end of the run")
        assert status_of(page) == "6 of 18 candidates"
        assert page.inner_text("#live-text").startswith("complete · 72 of 72 fits")
        assert complaints == []
    finally:
        context.close()
        watch.signal(signal.SIGINT)
        assert watch.end()[0] == 0


def test_twenty_thousand_candidates_fit_in_six_megabytes(tmp_path, open_report):
    """A large search has a report below 6 MB that sorts and filters."""
    count, splits = 20_000, 5
    grid = [
        {"alpha": (row * 0.618034) % 1 + 1e-9, "beta": (row * 0.414214) % 1, "kind": "abc"[row % 3]}
        for row in range(count)
    ]
    outcomes = [
        outcome(row, split, (row % 997) / 1000 + split / 100 + row * 1e-7)
        for row in range(count)
        for split in range(splits)
    ]
    folder = recorded_run(tmp_path / "skygrid-runs" / "many", grid, outcomes, splits=splits)
    skygrid(tmp_path, "report", "many")
    path = folder / "report.html"

    assert path.stat().st_size < 6_000_000
    with open_report(path) as report:
        page = report.page
        drawn = page.eval_on_selector_all("figure[data-plot]", DRAWN)
        assert [plot for plot, there in drawn if not there] == []
        page.fill("#candidate-table input", "kind=b alpha<0.5")
        assert int(status_of(page).split(" of ")[0].replace(",", "")) == sum(
            one["kind"] == "b" and one["alpha"] < 0.5 for one in grid
        )
        report.picture("many-light")
