"""The command line: names of runs, options, errors, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import skygrid
from skygrid import errors
from skygrid.cli.log_lines import LogReader
from skygrid.cli.main import exit_code
from skygrid.config import RunConfig, config_to_json
from skygrid.errors import UsageError
from skygrid.nodes.registry import PLACES
from skygrid.plan.records import Outcome
from skygrid.reports.result_json import result_json, write_result
from skygrid.reports.run_record import DriverMark, RunRecord, driver_mark
from skygrid.reports.summary import CandidateRow, Summary
from skygrid.reports.views import CheckResult, RoundSize
from skygrid.run.names import find_run, run_folders
from skygrid.run.trust import mark_own

HEAVY = (
    "sklearn",
    "numpy",
    "scipy",
    "pandas",
    "boto3",
    "botocore",
    "ray",
    "distributed",
    "jinja2",
    "paramiko",
    "plotly",
    "sqlite3",
    "rich",
)


@dataclass
class Answer:
    code: int
    out: str
    err: str


@dataclass
class Result:
    folder: Path
    summary: Summary
    trouble: errors.SkygridError | None = None


class FakeRuns:
    """Stand-in for `skygrid.run.commands` that answers at once and records its calls."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Path, RunConfig]] = []
        self.error: BaseException | None = None
        self.folder = Path()

    def run_search(self, path: Path, config: RunConfig, listener: Any) -> Result:
        return self._answer("run", path, config, listener)

    def resume_run(self, folder: Path, config: RunConfig, listener: Any) -> Result:
        return self._answer("resume", folder, config, listener)

    def check_search(self, path: Path, config: RunConfig, listener: Any) -> CheckResult:
        self._answer("check", path, config, listener)
        rounds = (RoundSize(candidates=21, splits=5),)
        return CheckResult(search="GridSearchCV", rounds=rounds, nodes=1, slots=2)

    def _answer(self, what: str, path: Path, config: RunConfig, listener: Any) -> Result:
        self.asked.append((what, path, config))
        listener.phase("searching")
        if self.error is not None:
            raise self.error
        write_result(self.folder, result_json(summary(), {"mean_test_score": [0.5]}))
        return Result(folder=self.folder, summary=summary())


def summary() -> Summary:
    row = CandidateRow(index=0, rank=1, mean=0.5, std=0.1, mean_fit_seconds=0.1, params={"C": 1})
    return Summary(
        name="a-run",
        folder="runs/a-run",
        search="GridSearchCV",
        metric="score",
        metrics=("score",),
        candidates=1,
        splits=5,
        best_index=0,
        best_params={"C": 1},
        best_score=0.5,
        best_std=0.1,
        refitted=True,
        refit_seconds=0.1,
        holdout_score=None,
        top=(row,),
        fits=5,
        failed=0,
        killed=0,
        retries=0,
        reused=0,
        wall_seconds=1.0,
        fit_seconds=1.0,
        nodes=(),
        warnings=(),
    )


def make_run(runs_dir: Path, name: str, **more: Any) -> Path:
    folder = runs_dir / name
    folder.mkdir(parents=True)
    settings: dict[str, Any] = {
        "id": "0123456789abcdef",
        "name": name,
        "state": "interrupted",
        "search_file": "/x/search.py",
        "argv": (),
        "config": config_to_json(RunConfig(retries=7)),
        "started_at": 1000.0,
        "driver": driver_mark(),
    }
    record = RunRecord(**(settings | more))
    record.write(folder)
    mark_own(folder, record)
    return folder


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder and return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for variable in [name for name in os.environ if name.startswith("SKYGRID_")]:
        monkeypatch.delenv(variable)

    def call(*arguments: str) -> Answer:
        code = exit_code(arguments)
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture
def fake_runs(tmp_path, monkeypatch):
    """Put a `FakeRuns` in the place of `skygrid.run.commands`."""
    runs = FakeRuns()
    runs.folder = tmp_path / "folder"
    runs.folder.mkdir()
    module = types.ModuleType("skygrid.run.commands")
    for name in ("run_search", "resume_run", "check_search"):
        setattr(module, name, getattr(runs, name))
    monkeypatch.setitem(sys.modules, "skygrid.run.commands", module)
    return runs


def process(*arguments: str, cwd: Path, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "skygrid", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


# ---- start-up ----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    """Help answers without importing scikit-learn, NumPy, or any other large library."""
    script = (
        "import sys; from skygrid.cli.main import exit_code;"
        f"code = exit_code({arguments!r});"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code, file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )

    assert done.stderr.strip() == "[] 0"


def test_commands_load_without_scikit_learn():
    """The modules of the commands load without scikit-learn, so nodes start before its import."""
    modules = "skygrid.cli.search_commands, skygrid.run.commands"
    script = f"import sys, {modules}; print('sklearn' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )

    assert done.stdout.strip() == "False"


def test_help_lists_the_commands(cli):
    """Every command of the contract that exists is listed in the help."""
    answer = cli("--help")

    assert answer.code == 0
    for command in ("init", "check", "run", "resume", "runs", "show", "logs"):
        assert f"\n  {command} " in answer.out


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("sys.argv = ['skygrid', 'run']; runpy.run_module('skygrid', run_name='__main__')", 2),
        ("import skygrid; skygrid.fit", 1),
    ],
    ids=["command", "python"],
)
def test_windows_is_sent_to_wsl(statement: str, code: int) -> None:
    """On native Windows the only message names WSL, and comes before any import fails."""
    done = subprocess.run(
        [sys.executable, "-c", f"import runpy, sys; sys.platform = 'win32'; {statement}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    last = done.stderr.splitlines()[-1]
    assert "inside WSL" in last
    assert code == 1 or done.stderr.count("\n") == 1


def test_version(cli):
    """--version prints the package's version to stdout."""
    assert cli("--version").out == f"skygrid {skygrid.__version__}\n"


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SearchFailedError, 1),
        (errors.JournalError, 6),
        (errors.DamagedJournalError, 6),
        (errors.UsageError, 2),
        (errors.SearchFileError, 2),
        (errors.FingerprintError, 2),
        (errors.NodeError, 3),
        (errors.HandshakeError, 3),
        (errors.BudgetReachedError, 4),
        (errors.InterruptedRunError, 130),
    ],
)
def test_errors_have_the_exit_codes_of_the_contract(cli, fake_runs, error, code):
    """An error of skygrid is one message on stderr, without a traceback, and has its exit code."""
    fake_runs.error = error("this is wrong; do that")

    answer = cli("run", "search.py", "--quiet")

    assert answer == Answer(code, "", "error: this is wrong; do that\n")


def test_a_bug_is_reported_in_short(cli, fake_runs, tmp_path, monkeypatch):
    """Any other exception ends with code 1 and a message that names the file of its traceback."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fake_runs.error = ZeroDivisionError("by zero")

    answer = cli("run", "search.py", "--quiet")

    (kept,) = tmp_path.glob("skygrid-*.traceback")
    assert answer.code == 1
    assert answer.err.startswith("error: a bug in skygrid: ZeroDivisionError: by zero\n")
    assert str(kept) in answer.err
    assert "Traceback" not in answer.err
    assert "in _answer" in kept.read_text()


def test_a_bug_is_reported_in_full_under_verbose(cli, fake_runs, tmp_path, monkeypatch):
    """Under -v the traceback is also printed on stderr."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fake_runs.error = ZeroDivisionError("by zero")

    assert "in _answer" in cli("run", "search.py", "-v").err


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["run"],
        ["run", "--nodes", "many", "search.py"],
        ["run", "search.py", "--max-cost", "3"],
    ],
)
def test_wrong_usage(cli, arguments):
    """Wrong usage exits with 2 and prints nothing on stdout."""
    answer = cli(*arguments)

    assert (answer.code, answer.out) == (2, "")
    assert answer.err


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("runn search.py", "there is no command runn; did you mean run?"),
        ("ls", "there is no command ls; did you mean runs?"),
        ("search.py --nodes 2", "did you mean: skygrid run search.py --nodes 2"),
        ("zzz", "there is no command zzz; the commands are init, check, run,"),
        ("--verion", "there is no option --verion; did you mean --version?"),
        ("--nodes 2 run s.py", "an option of check, run, resume, exec, doctor: write it after"),
        ("run s.py --node 2", "there is no option --node; did you mean --nodes?"),
        ("run s.py --n-jobs=2", "there is no option --n-jobs; did you mean --concurrency?"),
        ("run s.py -j 2", "there is no option -j; did you mean --concurrency?"),
        ("show x --max-cost 2", "there is no option --max-cost; it is an option of run, resume"),
        ("runs --zzz", "there is no option --zzz; the options are --limit, --runs-dir, --json"),
    ],
)
def test_unknown_commands_and_options_suggest_the_right_one(cli, line, remedy):
    """The message about an unknown command or option names the one that was probably meant."""
    answer = cli(*line.split())

    assert (answer.code, answer.out) == (2, "")
    assert remedy in answer.err


def test_wrong_values_of_options(cli, fake_runs):
    """Values of options are checked before anything starts, and the message names the option."""
    answer = cli("run", "search.py", "--retries", "-1")

    assert (answer.code, answer.err) == (2, "error: --retries is -1; it must be 0 or more\n")
    assert fake_runs.asked == []


def test_an_unknown_place_is_refused(cli, fake_runs):
    """--on with another name is refused; the search does not run on this machine instead."""
    answer = cli("run", "search.py", "--on", "moon")

    assert answer.code == 2
    assert f"must be one of {', '.join(PLACES)}" in answer.err
    assert fake_runs.asked == []


# ---- init, check, run, resume ------------------------------------------------------------------


def test_init_writes_a_search_file(cli, tmp_path):
    """init writes search.py and never overwrites a file."""
    assert cli("init").code == 0
    assert "estimator" in (tmp_path / "search.py").read_text()
    assert cli("init").code == 2


def test_run_passes_its_options_on(cli, fake_runs):
    """The options of run arrive in the configuration."""
    answer = cli(
        *("run", "deep/search.py", "--on", "local", "--nodes", "3", "--concurrency", "4"),
        *("--name", "mine", "--runs-dir", "there", "--max-hours", "2", "--fit-timeout", "1.5"),
        *("--retries", "5", "--quiet"),
    )

    assert answer.code == 0
    expected = RunConfig(
        nodes=3,
        concurrency=4,
        name="mine",
        runs_dir=Path("there"),
        max_hours=2.0,
        fit_timeout=1.5,
        retries=5,
        quiet=True,
    )
    assert fake_runs.asked == [("run", Path("deep/search.py"), expected)]


def test_run_reads_config_and_environment(cli, fake_runs, tmp_path, monkeypatch):
    """--config, skygrid.toml and SKYGRID_ variables reach the run."""
    (tmp_path / "mine.toml").write_text("retries = 9\nquiet = true\n")
    monkeypatch.setenv("SKYGRID_FIT_TIMEOUT", "8")

    answer = cli("run", "search.py", "--config", "mine.toml")

    ((_, _, config),) = fake_runs.asked
    assert (config.retries, config.fit_timeout, config.quiet) == (9, 8.0, True)
    assert answer.err == ""


def test_results_to_stdout_and_progress_to_stderr(cli, fake_runs):
    """stdout holds the table alone; progress goes to stderr."""
    answer = cli("run", "search.py")

    assert answer.out.startswith("GridSearchCV: best of 1 candidate\n")
    assert "\x1b" not in answer.out
    assert answer.err.startswith("searching  0/0 fits")


def test_json_is_one_document(cli, fake_runs):
    """With --json, stdout is exactly the run's result.json."""
    answer = cli("run", "search.py", "--json")

    assert json.loads(answer.out)["best_score"] == 0.5
    assert answer.out == (fake_runs.folder / "result.json").read_text()


def test_dry_run_prints_the_plan(cli, fake_runs):
    """--dry-run shows the plan and starts no search."""
    answer = cli("run", "search.py", "--dry-run", "--quiet")

    assert [what for what, _, _ in fake_runs.asked] == ["check"]
    assert "21 candidates x 5 splits = 105 fits" in answer.out


def test_check(cli, fake_runs):
    """check prints the plan, with --json as a document."""
    assert "105 fits" in cli("check", "search.py").out
    assert json.loads(cli("check", "search.py", "--json").out)["fits"] == 105


def test_a_run_moves_from_a_cluster_that_is_out_of_reach(cli, fake_runs, tmp_path, monkeypatch):
    """resume --on local takes a run of Slurm where there is no Slurm."""
    monkeypatch.setenv("PATH", str(tmp_path))
    config = config_to_json(RunConfig()) | {"on": "slurm"}
    make_run(tmp_path / "skygrid-runs", "a-run", state="interrupted", config=config)

    assert cli("resume", "a-run").code == 2
    assert cli("resume", "a-run", "--on", "local").code == 0
    assert [config.on for _, _, config in fake_runs.asked] == ["local"]


def test_a_run_with_rented_nodes_stays_at_its_place(cli, tmp_path):
    """resume --on local of a run on AWS is refused: its nodes would not be ended."""
    config = config_to_json(RunConfig()) | {"on": "aws"}
    make_run(tmp_path / "skygrid-runs", "a-run", state="interrupted", config=config)

    answer = cli("resume", "a-run", "--on", "local")

    assert answer.code == 2
    assert "has rented nodes on aws, and is resumed there: leave out --on" in answer.err


def test_resume_takes_the_recorded_configuration(cli, fake_runs, tmp_path):
    """resume uses the recorded configuration, except for options that are given now."""
    folder = make_run(tmp_path / "skygrid-runs", "a-run")

    answer = cli("resume", "a-r", "--fit-timeout", "3", "--quiet")

    assert answer.code == 0
    ((what, asked, config),) = fake_runs.asked
    assert (what, asked.resolve(), config.retries, config.fit_timeout) == ("resume", folder, 7, 3.0)


# ---- runs, show, logs --------------------------------------------------------------------------


def test_runs_newest_first(cli, tmp_path):
    """runs lists every run, the newest first, as a table or as JSON."""
    make_run(tmp_path / "skygrid-runs", "old", started_at=1.0, state="complete", ended_at=5.0)
    make_run(tmp_path / "skygrid-runs", "new", started_at=2.0)

    assert [line.split()[0] for line in cli("runs").out.splitlines()[1:3]] == ["new", "old"]
    assert [run["name"] for run in json.loads(cli("runs", "--json").out)["runs"]] == ["new", "old"]


def test_no_runs(cli):
    """Without runs, stderr says so and the JSON has an empty list."""
    answer = cli("runs")

    assert (answer.code, answer.out, answer.err) == (0, "", "no runs in skygrid-runs\n")
    assert json.loads(cli("runs", "--json").out)["runs"] == []


def test_one_damaged_run_does_not_hide_the_others(cli, tmp_path):
    """A run that cannot be read becomes a warning; the other runs are listed."""
    make_run(tmp_path / "skygrid-runs", "good")
    bad = make_run(tmp_path / "skygrid-runs", "bad")
    (bad / "run.json").write_text("{")

    answer = cli("runs")

    assert "good" in answer.out
    assert answer.err.startswith("warning: cannot read skygrid-runs/bad/run.json")


NOBODY = 65534
"""Id of a user without rights."""

BAD_VALUES = (
    None, True, -1, 0, 2**31, 2**40, 2**63, 10**400, 1e300, -1e300, "", "\x1b[2J", "x" * 5000, [],
)  # fmt: skip


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("value", BAD_VALUES, ids=lambda value: repr(value)[:20])
def test_no_value_in_a_record_breaks_the_list(cli, tmp_path, value):
    """Whatever stands under a key of one run's record, the other runs are listed."""
    runs_dir = tmp_path / "skygrid-runs"
    document = json.loads((make_run(runs_dir, "good", state="running") / "run.json").read_text())
    for key in document:
        bad = make_run(runs_dir, f"bad-{key}", state="running")
        changed = document | {key: value}
        (bad / "run.json").write_text(json.dumps(changed))
    for key in document["driver"]:
        bad = make_run(runs_dir, f"bad-driver-{key}", state="running")
        changed = document | {"driver": document["driver"] | {key: value}}
        (bad / "run.json").write_text(json.dumps(changed))

    answer = cli("runs")

    assert answer.code == 0, answer.err
    assert "good  " in answer.out
    assert answer.out.replace("\n", "").isprintable()
    assert answer.err.replace("\n", "").isprintable()


@pytest.mark.parametrize("text", [nested(100_000), f'{{"format": 1, "config": {nested(9999)}}}'])
def test_a_deeply_nested_record_does_not_hide_the_others(cli, tmp_path, text):
    """A record that nests too deeply is a warning like any other damaged one."""
    make_run(tmp_path / "skygrid-runs", "good")
    (make_run(tmp_path / "skygrid-runs", "bad") / "run.json").write_text(text)

    answer = cli("runs")

    assert (answer.code, "good" in answer.out) == (0, True)
    assert answer.err.startswith("warning: cannot read skygrid-runs/bad/run.json")


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may become another user")
def test_folders_that_this_user_may_not_enter_are_passed_over():
    """In a folder shared by several users each sees the runs that the user may read."""
    with tempfile.TemporaryDirectory() as folder:
        runs_dir = Path(folder)
        runs_dir.chmod(0o755)
        make_run(runs_dir, "mine").chmod(0o755)
        make_run(runs_dir, "theirs").chmod(0o700)
        os.seteuid(NOBODY)
        try:
            found = run_folders(runs_dir)
        finally:
            os.seteuid(0)

    assert [one.name for one in found] == ["mine"]


def test_two_thousand_runs_are_listed_with_one_look_at_each_journal(cli, tmp_path, monkeypatch):
    """The list of 2,000 runs opens the journal of a run without an end once, and no other."""
    from skygrid.journal.sqlite import SqliteJournal

    runs_dir = tmp_path / "skygrid-runs"
    gone = DriverMark(pid=1, host=driver_mark().host, started="never")
    folder = make_run(runs_dir, "run", state="running", driver=gone)
    journal = SqliteJournal(folder / "journal.sqlite")
    journal.append([Outcome(round=0, candidate=0, split=0, status="scored", node="one", slot=0)])
    journal.close()
    text = (folder / "run.json").read_text()
    for number in range(2000):
        copy = runs_dir / f"run-{number}"
        copy.mkdir()
        if number % 2:
            shutil.copy(folder / "journal.sqlite", copy)
            (copy / "run.json").write_text(text)
        else:
            (copy / "run.json").write_text(text.replace('"running"', '"complete"'))
    opened: list[str] = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *of, **how: opened.append(str(of[0])) or connect(*of, **how)
    )

    answer = cli("runs", "--limit", "3000")

    assert len(opened) == len(set(opened)) == 1001
    assert len(answer.out.splitlines()) > 2000
    assert "1/?" in answer.out


def test_show_reads_the_result_alone(cli, tmp_path):
    """show reads result.json only and never opens search.pkl."""
    folder = make_run(tmp_path / "skygrid-runs", "a-run", state="complete")
    write_result(folder, result_json(summary(), {}))
    (folder / "search.pkl").write_bytes(b"no pickle")

    assert "GridSearchCV: best of 1 candidate" in cli("show", "a-run").out
    assert json.loads(cli("show", "a-run", "--json").out)["best_params"] == {"C": 1}


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
@pytest.mark.parametrize(
    "name",
    ["result.json", "run.json", "journal.sqlite", "cloud.json", "logs/driver.log", "logs/one.log"],
)
def test_views_are_safe_on_every_folder(cli, tmp_path, name, kind):
    """runs, show, logs and down end at once if a pipe or device has the place of a file."""
    folder = make_run(tmp_path / "skygrid-runs", "a-run", state="complete")
    write_result(folder, result_json(summary(), {}))
    (folder / "logs").mkdir()
    (folder / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "device":
        (folder / name).symlink_to("/dev/zero")
    else:
        with (folder / name).open("wb") as file:
            file.truncate(2**40 if name.endswith(".json") else 2**20)

    for command in ("runs", "show a-run", "show a-run --json", "logs a-run", "down a-run"):
        answer = cli(*command.split())
        assert "a bug in skygrid" not in answer.err, command
    if name == "result.json":
        why = {"sparse": "it has more than"}.get(kind, "it is not a regular file")
        assert f"cannot read skygrid-runs/a-run/result.json: {why}" in cli("show", "a-run").err


def test_show_of_a_run_without_its_driver(cli, tmp_path):
    """A run without its driver is shown as interrupted, with its number of recorded fits."""
    from skygrid.journal.sqlite import SqliteJournal

    gone = DriverMark(pid=driver_mark().pid, host=driver_mark().host, started="never")
    folder = make_run(
        tmp_path / "skygrid-runs", "a-run", state="running", driver=gone, fits_total=9
    )
    journal = SqliteJournal(folder / "journal.sqlite")
    journal.claim({"X": "ab"})
    journal.append([Outcome(round=0, candidate=0, split=0, status="scored", node="one", slot=0)])
    journal.close()

    answer = cli("show", "a-run")

    assert "interrupted" in answer.out
    assert "1/9" in answer.out
    assert "resume with: skygrid resume a-run" in answer.out


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("digits-tow", "there is no run digits-tow in .*; did you mean digits-two?"),
        ("digits-", "digits- may be any of digits-one, digits-two; write more of the name"),
        ("zzz", "there is no run zzz in .*; `skygrid runs` lists them"),
        ("", "there is no run  in "),
    ],
)
def test_unknown_runs(tmp_path, asked, message):
    """A name that fits no run or several runs raises an error with advice."""
    make_run(tmp_path, "digits-one")
    make_run(tmp_path, "digits-two")

    with pytest.raises(UsageError, match=message):
        find_run(asked, tmp_path)


def test_a_run_that_lost_its_record_is_named(tmp_path):
    """A folder with recorded fits but without run.json is no unknown run."""
    folder = make_run(tmp_path, "digits")
    (folder / "run.json").unlink()
    (folder / "journal.sqlite").touch()

    with pytest.raises(UsageError, match=r"digits has lost its run.json: restore the file"):
        find_run("digits", tmp_path)


def test_runs_are_found(tmp_path):
    """A run is found by its name, by a unique beginning of its name, or by its folder."""
    one, two = make_run(tmp_path, "digits"), make_run(tmp_path, "digits-two")

    assert find_run("digits", tmp_path) == one
    assert find_run("digits-t", tmp_path) == two
    assert find_run(str(two), tmp_path / "elsewhere") == two


def test_log_lines_name_their_node(cli, tmp_path):
    """logs prints each line with the name of its node, and with --node the lines of one node."""
    logs = make_run(tmp_path / "skygrid-runs", "a-run") / "logs"
    logs.mkdir()
    (logs / "one.log").write_text("a\nb")
    (logs / "three.log").write_text("c\n")

    assert cli("logs", "a-run").out == "one   | a\none   | b\nthree | c\n"
    assert cli("logs", "a-run", "--node", "three").out == "three | c\n"
    answer = cli("logs", "a-run", "--node", "two")
    assert (answer.code, answer.err) == (
        2,
        "error: there is no log of a node two; there are: one, three\n",
    )


def test_followed_logs_are_read_once_and_in_whole_lines(tmp_path):
    """Followed logs show each line once, and an incomplete one only at the end of the run."""
    reader = LogReader(tmp_path)
    assert list(reader.new_lines(to_the_end=False)) == []
    log = tmp_path / "one.log"
    log.write_bytes(b"a\nhalf")
    assert list(reader.new_lines(to_the_end=False)) == ["one | a\n"]
    with log.open("ab") as file:
        file.write(b" and half\nrest \xff")
    assert list(reader.new_lines(to_the_end=False)) == ["one | half and half\n"]
    assert list(reader.new_lines(to_the_end=True)) == ["one | rest \ufffd\n"]


def test_following_ends_with_the_run(cli, tmp_path):
    """logs --follow of a finished run prints its lines and ends."""
    logs = make_run(tmp_path / "skygrid-runs", "a-run") / "logs"
    logs.mkdir()
    (logs / "one.log").write_text("a\n")

    assert cli("logs", "a-run", "--follow").out == "one | a\n"


# ---- down ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "text"),
    [
        ("local", "digits ran on this machine; nothing to end"),
        ("ssh", "digits ran on hosts that you have; nothing to end"),
        ("aws", "digits started no nodes that cost money; nothing to end"),
        ("mars", "digits started no nodes that cost money; nothing to end"),
    ],
)
def test_down_of_a_run_without_rented_nodes_needs_no_account(cli, tmp_path, monkeypatch, on, text):
    """`skygrid down` of a run that rented nothing says so, without a region or credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    config = config_to_json(RunConfig()) | {"on": on}
    make_run(tmp_path / "skygrid-runs", "digits", state="complete", config=config)

    answer = cli("down", "digits")

    assert (answer.code, answer.out, answer.err.strip()) == (0, "", text)


def test_down_of_a_local_run_in_progress_names_its_driver(cli, tmp_path):
    """`skygrid down` of a local run that is still driven says how to end it."""
    make_run(tmp_path / "skygrid-runs", "digits", state="running")

    said = " ".join(cli("down", "digits").err.split())

    assert f"Its driver, process {os.getpid()}, still runs: end it with Ctrl-C" in said


# ---- pipes and signals, in a process of its own --------------------------------------------------


def test_a_closed_pipe_is_no_error(tmp_path):
    """`skygrid logs RUN | head -1` ends quietly."""
    logs = make_run(tmp_path / "skygrid-runs", "a-run") / "logs"
    logs.mkdir()
    (logs / "one.log").write_text("x" * 79 + "\n" * 100_000)

    with process("logs", "a-run", cwd=tmp_path) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(10)
        running.stdout.close()
        assert running.stderr.read() == ""
        assert running.wait(120) == 0


def test_ctrl_c_while_following(tmp_path):
    """Ctrl-C ends `logs --follow` with 130 and without a traceback."""
    logs = make_run(tmp_path / "skygrid-runs", "a-run", state="running") / "logs"
    logs.mkdir()
    (logs / "one.log").write_text("a\n")

    with process("logs", "a-run", "--follow", cwd=tmp_path) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == "one | a\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(120) == 130
        assert "Traceback" not in running.stderr.read()


def test_help_has_sections_variables_and_examples(cli):
    """The help of a command names each option's variable, and ends with examples."""
    out = cli("run", "--help").out

    for heading in ("Arguments:", "Nodes:", "Limits:", "Run:", "Output:", "Examples:"):
        assert f"\n{heading}\n" in out
    assert "[SKYGRID_MAX_HOURS]" in out
    assert "Default: 24" in out
    assert "  skygrid run search.py\n" in out
    assert "Usage: skygrid down [OPTIONS] [RUN]\n" in cli("down", "--help").out
    assert "Usage: skygrid run [OPTIONS] FILE\n" in out


def test_a_search_file_is_found_without_its_ending(cli, fake_runs, tmp_path):
    """`run search` runs search.py, unless there is something that is called search."""
    (tmp_path / "mine.py").touch()

    cli("run", "mine", "--quiet")
    cli("run", "yours", "--quiet")

    assert [path.name for _, path, _ in fake_runs.asked] == ["mine.py", "yours"]
