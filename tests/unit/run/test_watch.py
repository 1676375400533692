"""The server of `skygrid watch`."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import contextmanager

import pytest

from skygrid.errors import UsageError
from skygrid.run.watch import Pages, Rate, WatchServer, progress_of
from tests.clocks import ManualClock
from tests.recorded_runs import outcome, recorded_run


@contextmanager
def served(folder):
    with WatchServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    try:
        connection.request(method, path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture
def run(tmp_path):
    return recorded_run(
        tmp_path / "run", [{"C": 1}, {"C": 2}], [outcome(0, 0), outcome(1, 0)], state="running"
    )


def test_only_who_has_the_token_can_read(run):
    """Without the token, and under the name of another site, nothing is answered."""
    with served(run) as server:
        assert ask(server, f"/{server.token}/")[0] == 200
        for path in ("/", "/x/", f"/{server.token}", f"/{server.token}/run.json", "/x/events"):
            assert ask(server, path)[0] == 404
        assert ask(server, f"/{server.token}/", host="evil.example")[0] == 404


def test_nothing_can_be_written(run):
    """The server answers requests to read alone."""
    with served(run) as server:
        for method in ("POST", "PUT", "DELETE"):
            assert ask(server, f"/{server.token}/", method)[0] == 501


def test_the_page_may_connect_to_its_server_only(run):
    """The served page has the policy of a report, and asks its own server for news."""
    with served(run) as server:
        _, page = ask(server, f"/{server.token}/")

    assert "connect-src &#39;self&#39;" in page
    assert 'data-live="true"' in page


def test_a_page_that_the_browser_has_is_not_sent_again(run):
    """A browser that names the version that it has gets no content."""
    with served(run) as server:
        assert ask(server, f"/{server.token}/?have=2") == (204, "")


def test_the_events_end_with_the_run(tmp_path):
    """A run that has ended sends one last event with its state."""
    folder = recorded_run(tmp_path / "run", [{"C": 1}], [outcome(0, 0)], state="interrupted")
    with served(folder) as server:
        status, text = ask(server, f"/{server.token}/events")

    assert status == 200
    assert json.loads(text.removeprefix("data: "))["state"] == "interrupted"


def test_progress_counts_the_journal(run):
    """The progress of a running search is the count in its journal, with rate and time left."""
    rate = Rate()
    rate.add(0.0, 0)

    progress = progress_of(run, rate, 1.0)

    assert (progress.state, progress.done, progress.total) == ("running", 2, 6)
    assert (progress.rate, progress.left) == (2.0, 2.0)


def test_slow_pages_are_made_less_often():
    """A page is made again when it is old enough that pages take a tenth of the time."""
    clock = ManualClock()
    made = []

    def make():
        clock.advance(2.0)
        made.append(clock.now)
        return f"page {len(made)}"

    pages = Pages(make, clock)
    assert pages.page(1) == (1, "page 1")
    clock.advance(17.0)
    assert pages.page(2) == (1, "page 1")
    clock.advance(1.0)
    assert pages.page(2) == (2, "page 2")
    assert pages.page(2) == (2, "page 2")
    assert pages.page(3, now=True) == (3, "page 3")


def test_a_port_that_is_taken_is_one_clear_error(run):
    """A port in use is named in the error, with what to do."""
    with WatchServer(run) as server, pytest.raises(UsageError, match="Choose another --port"):
        WatchServer(run, server.server_port)
