"""Settings and fixtures of every test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.warm import FORKED, PARENT, forked_processes

# No deadlines: the time per example depends on the load of the machine. The current profile is the
# base, because hypothesis has one for CI that draws the same examples each time.
settings.register_profile(
    "skygrid",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("skygrid")


# A shell lets the jobs that it starts in the background ignore these signals, and processes that
# tests start would do so too.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        _handler = signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL
        signal.signal(_number, _handler)


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the key that marks run folders out of the home folder."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session", autouse=True)
def _processes_are_forked() -> Iterator[None]:
    """Fork agents and commands, to save the second in which each imports scikit-learn."""
    with forked_processes():
        yield


@pytest.fixture(autouse=True)
def _commands_of_fault_tests_are_started(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start each command as users do where its processes are counted and killed."""
    if any(map(request.node.get_closest_marker, ("faults", "clusters"))):
        PARENT.modules.discard("skygrid")
    yield
    PARENT.modules.update(FORKED)
