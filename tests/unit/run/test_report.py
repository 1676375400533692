"""The report at the end of a run."""

from __future__ import annotations

import pickle

import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from skygrid.errors import FolderError
from skygrid.listener import SilentListener
from skygrid.reports.run_record import RunRecord
from skygrid.run.report import FILE_NAME, diagram_of, reported, without_scripts, write_report
from skygrid.run.trust import mark_own
from skygrid.util.process import Interruption
from tests.recorded_runs import outcome, recorded_run


class Lines(SilentListener):
    def __init__(self):
        self.lines = []

    def message(self, text, *, always):
        self.lines.append(text)


@pytest.fixture
def run(tmp_path):
    return recorded_run(tmp_path / "run", [{"C": 1}, {"C": 2}], [outcome(0, 0), outcome(1, 0)])


def test_a_report_that_cannot_be_written_loses_nothing(run):
    """The block's error passes through, and the report's is one line."""
    (run / FILE_NAME).mkdir()  # nothing can replace a folder
    listener = Lines()

    with pytest.raises(KeyError, match="the run's own"), reported(run, listener):
        raise KeyError("the run's own")

    (line,) = listener.lines
    assert line.startswith("no report.html: cannot write ")
    assert "\n" not in line


def test_a_report_that_fails_within_is_one_line(run, monkeypatch):
    """Any exception while the report is made ends as one line, and the run goes on."""

    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("skygrid.run.report.write_report", broken)
    listener = Lines()

    with reported(run, listener):
        pass

    assert listener.lines == ["no report.html: RuntimeError: a bug"]


def test_ctrl_c_during_the_report_skips_it(run, monkeypatch):
    """A signal while the report is made ends the report, and leaves the run's own end alone."""

    def interrupted(*_, **__):
        raise Interruption

    monkeypatch.setattr("skygrid.run.report.write_report", interrupted)
    listener = Lines()

    with pytest.raises(KeyError, match="the run's own"), reported(run, listener):
        raise KeyError("the run's own")

    assert listener.lines == ["no report.html: interrupted"]


def test_the_report_can_be_written_elsewhere(run, tmp_path):
    """`output` chooses the file; a folder that is missing is one clear error."""
    assert write_report(run, tmp_path / "r.html").read_text().startswith("<!doctype html>")
    with pytest.raises(FolderError, match=r"cannot write .*no/r.html: .*--output"):
        write_report(run, tmp_path / "no" / "r.html")


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the file of a stranger was loaded",)


def test_the_model_of_a_stranger_is_not_loaded(run):
    """search.pkl of a folder without this user's mark is not unpickled for its diagram."""
    (run / "search.pkl").write_bytes(pickle.dumps(Bomb()))

    write_report(run)


def test_a_model_of_this_user_gives_the_diagram(run):
    """The page has the estimator's own HTML if this user made the run."""
    run.chmod(0o700)
    mark_own(run, RunRecord.read(run))
    (run / "search.pkl").write_bytes(pickle.dumps(SVC()))

    assert "<iframe" not in write_report(run).read_text()  # an estimator is no search

    (run / "search.pkl").write_bytes(pickle.dumps(GridSearchCV(SVC(), {"C": [1]})))
    assert '<iframe class="diagram"' in write_report(run).read_text()


def test_a_diagram_has_no_scripts():
    """Scripts and event handlers of the diagram are left out, which the sandbox would refuse."""
    html = '<p onclick="a()">x</p><script type="m">b()</script><SCRIPT>c()</SCRIPT >'

    assert without_scripts(html) == "<p>x</p>"
    assert diagram_of(None) is None
