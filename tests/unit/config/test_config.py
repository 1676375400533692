"""Options, environment, file and defaults make one configuration."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest

from skygrid.config import (
    AwsConfig,
    CommandConfig,
    DaskConfig,
    RayConfig,
    RunConfig,
    SlurmConfig,
    SshConfig,
    config_to_json,
    load_config,
    resume_config,
)
from skygrid.config.records import NO_SETTINGS, TABLES
from skygrid.environment.settings import EnvironmentConfig
from skygrid.errors import ConfigError
from skygrid.nodes.registry import PLACES, place_of

ROOT = Path(__file__).parents[3]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults(tmp_path):
    """Without options, environment and file the configuration is `RunConfig()`."""
    assert load_config({"nodes": None}, {}, cwd=tmp_path) == RunConfig()


def test_precedence(tmp_path):
    """Options come before the environment, that before the file, and that before the default."""
    _write(tmp_path / "skygrid.toml", "retries = 3\nmax_hours = 3\nfit_timeout = 3\n")
    environment = {"SKYGRID_RETRIES": "4", "SKYGRID_MAX_HOURS": "4.5"}

    config = load_config({"retries": 5}, environment, cwd=tmp_path)

    assert (config.retries, config.max_hours, config.fit_timeout) == (5, 4.5, 3.0)
    assert config.start_method == "auto"


def test_file_beside_the_search_file_comes_before_the_working_directory(tmp_path):
    """The skygrid.toml beside the search file replaces that of the working directory."""
    _write(tmp_path / "skygrid.toml", "retries = 1\nfit_timeout = 9")
    _write(tmp_path / "deep" / "skygrid.toml", "retries = 7")

    config = load_config({}, {}, search_file=Path("deep/search.py"), cwd=tmp_path)

    assert (config.retries, config.fit_timeout) == (7, None)


def test_file_in_the_working_directory(tmp_path):
    """Without a skygrid.toml beside the search file, that of the working directory is read."""
    _write(tmp_path / "skygrid.toml", "retries = 1")

    assert load_config({}, {}, search_file=Path("deep/search.py"), cwd=tmp_path).retries == 1


@pytest.mark.parametrize("by", ["option", "environment"])
def test_named_file_is_read_instead(tmp_path, by):
    """--config and SKYGRID_CONFIG name the only file that is read."""
    _write(tmp_path / "skygrid.toml", "retries = 1\nfit_timeout = 9")
    _write(tmp_path / "mine.toml", "version = 1\nretries = 8")
    option = Path("mine.toml") if by == "option" else None
    environment = {"SKYGRID_CONFIG": "mine.toml"} if by == "environment" else {}

    config = load_config({}, environment, config_file=option, cwd=tmp_path)

    assert (config.retries, config.fit_timeout) == (8, None)


def test_named_file_must_be_there(tmp_path):
    """A named file that is missing raises an error with its name."""
    with pytest.raises(ConfigError, match=r"cannot read .*gone\.toml"):
        load_config({}, {}, config_file=Path("gone.toml"), cwd=tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node = 3", r"unknown key node in .*skygrid\.toml; did you mean nodes\?"),
        ("max-hours = 3", r"unknown key max-hours in .*; did you mean max_hours\?"),
        ("zebra = 3", r"unknown key zebra in .*; there are: on, nodes, min_nodes, "),
        ("[run]\nnodes = 3", r"unknown key run in .*skygrid\.toml"),
        ("no_sharing = 1", r"no_sharing in .* is 1; it must be true or false"),
        ("max_cost = 0", r"max_cost in .* must be USD, more than 0 and finite"),
        ("[aws]\nregion = 'Frankfurt'", r"region under \[aws\] in .* such as eu-central-1"),
        (
            "[aws]\nmarket = 'cheap'",
            r"market under \[aws\] in .* one of on-demand, spot, spot-then",
        ),
        ("[aws]\ninstance_types = ['big']", r"instance_types under \[aws\] .* such as c7i.xlarge"),
        ("[aws]\nallow_cidr = '1.2.3.4'", r"allow_cidr under \[aws\] .* such as 203.0.113.0/24"),
        ("[aws]\nallow_cidr = '1.2.3.4/8'", r"allow_cidr under \[aws\] .* such as 203.0.113.0/24"),
        ("[aws]\nami = 'ubuntu'", r"ami under \[aws\] in .* the id of an image, ami-"),
        (
            "on = 'aws'\n[aws]\npublic_ip = false",
            r"public_ip = false under \[aws\] needs allow_cidr",
        ),
        ("[aws]\nlease_minutes = 0", r"lease_minutes under \[aws\] in .* minutes, more than 0"),
        ("version = 2", r"version in .*skygrid\.toml is 2; this skygrid reads version 1"),
        ("version = true", r"version in .* is True"),
        ("retries = ", r"skygrid\.toml is not TOML: "),
        ("retries = '3'", r"retries in .*skygrid\.toml is '3'; it must be a whole number"),
        ("retries = true", r"retries in .* is True; it must be a whole number"),
        ("retries = 2.0", r"retries in .* is 2.0; it must be a whole number"),
        ("retries = -1", r"retries in .* is -1; it must be 0 or more"),
        ("on = 'local'\nnodes = 0", r"nodes in .* is 0; it must be at least 1"),
        ("concurrency = 0", r"concurrency in .* is 0; it must be at least 1"),
        ("max_hours = 0", r"max_hours in .* is 0; it must be hours, more than 0"),
        ("max_hours = nan", r"max_hours in .* is nan; it must be hours, more than 0"),
        ("fit_timeout = inf", r"fit_timeout in .* must be seconds, more than 0 and finite"),
        ("fit_timeout = 'inf'", r"fit_timeout in .* must be seconds"),
        ("quiet = 1", r"quiet in .* is 1; it must be true or false"),
        ("name = 'a/b'", r"name in .* is 'a/b'; it must be letters, digits"),
        ("name = 3", r"name in .* is 3; it must be text"),
        ("runs_dir = 3", r"runs_dir in .* is 3; it must be a path"),
        ("runs_dir = '~nobody-7/x'", r"runs_dir in .* but this machine has no user nobody-7: "),
        ("[ssh]\nkey = '~nobody-7/x'", r"key under \[ssh\] in .* has no user nobody-7: "),
        ("[environment]\npackages = '~nobody-7/x'", r"packages under .* has no user nobody-7: "),
        ("start_method = 'forks'", r"start_method in .* must be one of auto, fork, spawn"),
        ("on = 'moon'", rf"on in .* is 'moon'; it must be one of {', '.join(PLACES)}"),
        ("on = 'ssh'", r"on in .* needs hosts: write hosts = \[...\] under \[ssh\]"),
        ("ssh = 3", r"ssh in .*skygrid\.toml must be a table: write \[ssh\] above its keys"),
        ("[ssh]\nhost = ['a']", r"unknown key host in \[ssh\] of .*; did you mean hosts\?"),
        ("[ssh]\nhosts = 'a'", r"hosts under \[ssh\] in .* is 'a'; it must be a list of texts"),
        ("[ssh]\nhosts = ['a', 'a']", r"hosts under \[ssh\] in .* it must be hosts, each once"),
        ("[ssh]\nlost_after = 0", r"lost_after under \[ssh\] in .* must be seconds, more than 0"),
        (
            "[environment]\npackages = 3",
            r"packages under \[environment\] in .* must be text or a list of texts",
        ),
        (
            "[environment]\nindex_url = 'pypi.org/simple'",
            r"index_url under \[environment\] in .* an address with its scheme: https://pypi",
        ),
        (
            "[environment]\nextra_index_url = ['pypi.org/simple']",
            r"extra_index_url under \[environment\] in .* addresses with their schemes",
        ),
        ("[environment]\nsetup = [1]", r"setup under \[environment\] in .* a list of texts"),
        (
            "on = 'ssh'\nnodes = 3\n[ssh]\nhosts = ['a', 'b']",
            r"nodes in .* is 3, and \[ssh\] hosts names 2: add hosts or take fewer",
        ),
        (
            "on = 'ssh'\nmin_nodes = 3\n[ssh]\nhosts = ['a', 'b']",
            r"min_nodes in .* is 3, more than the 2 nodes of the run",
        ),
        ("on = ['local']", r"on in .* it must be text"),
    ],
)
def test_mistakes_in_the_file(tmp_path, text, message):
    """A mistake in a file is one message with the file, the key and the values that are allowed."""
    _write(tmp_path / "skygrid.toml", text)

    with pytest.raises(ConfigError, match=message):
        place_of(load_config({}, {}, cwd=tmp_path))


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("SKYGRID_RUNS_DIR", "~nobody-7/x", "SKYGRID_RUNS_DIR is .* has no user nobody-7: "),
        ("SKYGRID_RETRIES", "many", "SKYGRID_RETRIES is 'many'; it must be a whole number"),
        ("SKYGRID_MAX_HOURS", "x", "SKYGRID_MAX_HOURS is 'x'; it must be a number"),
        ("SKYGRID_QUIET", "maybe", "SKYGRID_QUIET is 'maybe'; it must be true or false"),
        ("SKYGRID_NODE", "3", r"SKYGRID_NODE in the environment .* SKYGRID_NODES\?"),
        ("SKYGRID_NO_SHARING", "maybe", "SKYGRID_NO_SHARING is 'maybe'; it must be true or false"),
    ],
)
def test_mistakes_in_the_environment(tmp_path, variable, text, message):
    """A mistake in the environment is an error that names the variable."""
    with pytest.raises(ConfigError, match=message):
        load_config({}, {variable: text}, cwd=tmp_path)


def test_environment_reads_text(tmp_path):
    """Text in the environment is converted to the type of the setting."""
    config = load_config(
        {},
        {
            "SKYGRID_ON": "local",
            "SKYGRID_NODES": "3",
            "SKYGRID_JSON": "1",
            "SKYGRID_QUIET": "No",
            "SKYGRID_MAX_HOURS": "inf",
            "SKYGRID_FIT_TIMEOUT": "none",
            "SKYGRID_RUNS_DIR": "elsewhere",
            "SKYGRID_RETRIES": "",
            "SKYGRID_THING_OF_ANOTHER_PROGRAM": "x",
        },
        cwd=tmp_path,
    )

    assert (config.nodes, config.json, config.quiet) == (3, True, False)
    assert (config.max_hours, config.fit_timeout, config.retries) == (math.inf, None, 2)
    assert config.runs_dir == Path("elsewhere")


@pytest.mark.parametrize("place", ["spark", "k8s"])
def test_other_places_are_refused(tmp_path, place):
    """An unknown place is refused by name and never replaced by this machine."""
    with pytest.raises(
        ConfigError, match=f"--on is '{place}'; it must be one of {', '.join(PLACES)}"
    ) as caught:
        place_of(load_config({"on": place}, {}, cwd=tmp_path))
    assert caught.value.exit_code == 2


def test_nodes_without_a_place_are_on_aws(tmp_path):
    """nodes alone means AWS; an option or a variable for the place takes precedence."""
    assert load_config({"nodes": 3}, {}, cwd=tmp_path).on == "aws"
    assert load_config({}, {"SKYGRID_NODES": "3"}, cwd=tmp_path).on == "aws"
    assert load_config({"nodes": 3, "on": "local"}, {}, cwd=tmp_path).on == "local"
    assert load_config({"nodes": 3}, {"SKYGRID_ON": "local"}, cwd=tmp_path).on == "local"


def test_a_resumed_run_keeps_its_place():
    """New nodes of a run that was started locally are local."""
    recorded = config_to_json(RunConfig(nodes=2))

    assert resume_config(recorded, {"nodes": 3}).on == "local"
    assert resume_config(recorded, {"nodes": 3, "on": "aws"}).on == "aws"


def test_a_yes_is_for_one_session():
    """A resumed run asks again before it spends money."""
    assert not resume_config(config_to_json(RunConfig(on="aws", yes=True)), {}).yes


def test_paths_in_a_file_are_relative_to_it(tmp_path):
    """A path in a file is relative to the folder of the file."""
    _write(tmp_path / "deep" / "skygrid.toml", "runs_dir = 'mine'")

    config = load_config({}, {}, search_file=Path("deep/search.py"), cwd=tmp_path)

    assert config.runs_dir == tmp_path / "deep" / "mine"


def test_recorded_configuration_comes_back():
    """The recorded configuration is read back unchanged, with infinity and paths."""
    config = RunConfig(nodes=3, max_hours=math.inf, runs_dir=Path("x"), fit_timeout=1.5)

    assert resume_config(config_to_json(config), {}) == config


def test_options_change_a_resumed_run():
    """An option of `resume` takes precedence over the recorded value."""
    recorded = config_to_json(RunConfig(nodes=3, retries=1))

    config = resume_config(recorded, {"nodes": 2, "retries": None})

    assert (config.nodes, config.retries) == (2, 1)


def test_record_of_another_version_is_refused():
    """A recorded setting that this version does not know is refused."""
    with pytest.raises(ConfigError, match="unknown key colour in the run's own record"):
        resume_config({"colour": "red"}, {})


def test_local_toml_is_a_valid_config():
    """The example file loads; each key that it sets has its default value."""
    path = ROOT / "configs" / "local.toml"

    assert load_config({}, {}, config_file=path, cwd=ROOT) == RunConfig()


def test_ssh_toml_is_a_valid_config():
    """The example file loads; each key that it sets, except hosts, has its default value."""
    path = ROOT / "configs" / "ssh.toml"

    config = load_config({}, {}, config_file=path, cwd=ROOT)

    assert config == RunConfig(on="ssh", ssh=SshConfig(hosts=config.ssh.hosts))
    assert len(config.ssh.hosts) == 2


def _uncommented(tmp_path: Path, name: str) -> Path:
    text = (ROOT / "configs" / name).read_text()
    text = re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE)
    return _write(tmp_path / "all.toml", text)


def _names(record: type, *but: str) -> set[str]:
    return {one.name for one in fields(record)} - {*but, *NO_SETTINGS}


def test_local_toml_shows_every_key(tmp_path):
    """Every setting of a local run except its name is in the example, which loads uncommented."""
    path = _uncommented(tmp_path, "local.toml")

    shown = set(tomllib.loads(path.read_text())) - {"version"}
    assert shown == _names(RunConfig, "name", "min_nodes", "max_cost", "yes", *TABLES)
    assert load_config({}, {}, config_file=path, cwd=tmp_path).nodes == 3


def test_ssh_toml_shows_every_key(tmp_path):
    """Every key of [ssh] and [environment] is in the example, which loads uncommented."""
    path = _uncommented(tmp_path, "ssh.toml")

    shown = tomllib.loads(path.read_text())
    assert set(shown["ssh"]) == _names(SshConfig)
    assert set(shown["environment"]) == _names(EnvironmentConfig)
    config = load_config({}, {}, config_file=path, cwd=tmp_path)
    assert (config.nodes, config.min_nodes, config.environment.python) == (2, 1, "3.12")


def test_aws_toml_is_a_valid_config():
    """The example file loads; each key that it sets, except the nodes, has its default value."""
    path = ROOT / "configs" / "aws.toml"

    config = load_config({}, {}, config_file=path, cwd=ROOT)

    assert config == RunConfig(on="aws", nodes=3, concurrency=4)


def test_aws_toml_shows_every_key(tmp_path):
    """Every key of [aws] and [environment] is in the example, which loads uncommented."""
    path = _uncommented(tmp_path, "aws.toml")

    shown = tomllib.loads(path.read_text())
    assert set(shown["aws"]) == _names(AwsConfig)
    assert set(shown["environment"]) == _names(EnvironmentConfig)
    assert {"nodes", "min_nodes", "concurrency", "max_cost", "yes"} <= set(shown)
    config = load_config({}, {}, config_file=path, cwd=tmp_path)
    assert (config.max_cost, config.yes, config.aws.bucket) == (5.0, False, "my-skygrid-data")


def test_aws_spot_toml_is_a_valid_config():
    """The example file loads; it asks for spot nodes and sets max_cost and min_nodes."""
    path = ROOT / "configs" / "aws-spot.toml"

    config = load_config({}, {}, config_file=path, cwd=ROOT)

    assert (config.on, config.aws.market) == ("aws", "spot")
    assert config.max_cost is not None
    assert config.min_nodes is not None
    assert config.min_nodes < config.nodes
    assert config.aws == AwsConfig(market="spot", instance_types=config.aws.instance_types)


def test_command_toml_is_a_valid_config():
    """The example file loads; each key that it sets, except the command, has its default value."""
    path = ROOT / "configs" / "command.toml"

    config = load_config({}, {}, config_file=path, cwd=ROOT)

    start = config.command.start
    assert config == RunConfig(on="command", command=CommandConfig(start=start))
    assert "{agent}" in start


def test_command_toml_shows_every_key(tmp_path):
    """Every key of [command] is in the example, which loads uncommented."""
    path = _uncommented(tmp_path, "command.toml")

    shown = tomllib.loads(path.read_text())
    assert set(shown["command"]) == _names(CommandConfig)
    config = load_config({}, {}, config_file=path, cwd=tmp_path)
    assert (config.nodes, config.concurrency, config.min_nodes) == (3, 4, 3)


def test_slurm_toml_is_a_valid_config():
    """The example file loads; each key that it sets has its default value."""
    path = ROOT / "configs" / "slurm.toml"

    config = load_config({}, {}, config_file=path, cwd=ROOT)

    assert config == RunConfig(on="slurm", concurrency=4)


def test_slurm_toml_shows_every_key(tmp_path):
    """Every key of [slurm] is in the example, which loads uncommented."""
    path = _uncommented(tmp_path, "slurm.toml")

    shown = tomllib.loads(path.read_text())
    assert set(shown["slurm"]) == _names(SlurmConfig)
    config = load_config({}, {}, config_file=path, cwd=tmp_path)
    assert (config.nodes, config.slurm.time, config.slurm.extra) == (3, "2:00:00", ("--qos=night",))


def test_ray_toml_is_a_valid_config():
    """The example file loads; each key that it sets has its default value."""
    path = ROOT / "configs" / "ray.toml"

    assert load_config({}, {}, config_file=path, cwd=ROOT) == RunConfig(on="ray")


def test_ray_toml_shows_every_key(tmp_path):
    """Every key of [ray] is in the example, which loads uncommented."""
    path = _uncommented(tmp_path, "ray.toml")

    shown = tomllib.loads(path.read_text())
    assert set(shown["ray"]) == _names(RayConfig)
    config = load_config({}, {}, config_file=path, cwd=tmp_path)
    assert (config.nodes, config.concurrency, config.ray.resources) == (3, 4, {"GPU": 1.0})


def test_dask_toml_is_a_valid_config():
    """The example file loads; each key that it sets has its default value."""
    path = ROOT / "configs" / "dask.toml"

    assert load_config({}, {}, config_file=path, cwd=ROOT) == RunConfig(on="dask")


def test_dask_toml_shows_every_key(tmp_path):
    """Every key of [dask] is in the example, which loads uncommented."""
    path = _uncommented(tmp_path, "dask.toml")

    shown = tomllib.loads(path.read_text())
    assert set(shown["dask"]) == _names(DaskConfig)
    config = load_config({}, {}, config_file=path, cwd=tmp_path)
    assert (config.nodes, config.concurrency, config.min_nodes) == (3, 4, 3)


def test_paths_in_tables_are_relative_to_the_file(tmp_path):
    """Paths in [ssh] and [environment] are relative to the folder of the file."""
    tables = "[ssh]\nkey = 'id'\nfolder = 'there'\n[environment]\npackages = 'needs.txt'\n"
    _write(tmp_path / "deep" / "skygrid.toml", tables)

    config = load_config({}, {}, search_file=Path("deep/search.py"), cwd=tmp_path)

    assert config.ssh.key == tmp_path / "deep" / "id"
    assert config.environment.packages == str(tmp_path / "deep" / "needs.txt")
    assert config.ssh.folder == "there"


def test_recorded_tables_are_read_back():
    """A resumed run has the recorded tables [aws], [ssh] and [environment]."""
    config = RunConfig(
        on="ssh",
        min_nodes=1,
        aws=AwsConfig(zones=("eu-central-1a",), market="spot", price_per_hour=0.0),
        ssh=SshConfig(hosts=("a", "b"), key=Path("k"), lost_after=5.0),
        environment=EnvironmentConfig(packages=("numpy",), setup=("true",)),
    )

    assert resume_config(config_to_json(config), {"nodes": 2}) == replace(config, nodes=2)
