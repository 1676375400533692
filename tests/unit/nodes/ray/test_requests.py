"""Requests to Ray: CPUs of each node, options of actors, impossible requests, environments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skygrid.environment.settings import EnvironmentConfig
from skygrid.nodes.ray.requests import (
    Machine,
    door_of,
    machines_of,
    options_of,
    runtime_env,
    slots_of_nodes,
    variables,
    why_never,
)


def machine(**resources: float) -> Machine:
    return Machine(id="m", resources=resources)


SMALL, LARGE = machine(CPU=4.0), machine(CPU=16.0, GPU=1.0)


def test_machines_that_are_dead_or_have_no_cpus_are_left_out() -> None:
    """Only live nodes of Ray with CPUs can hold a node of a run."""
    answer = [
        {"NodeID": "a", "Alive": True, "Resources": {"CPU": 4.0}},
        {"NodeID": "b", "Alive": False, "Resources": {"CPU": 4.0}},
        {"NodeID": "c", "Alive": True, "Resources": {"memory": 1.0}},
    ]
    assert [one.id for one in machines_of(answer)] == ["a"]


@pytest.mark.parametrize(
    ("nodes", "concurrency", "slots"),
    [
        (None, None, [4, 16]),
        (None, 2, [2, 2]),
        (3, None, [4, 4, 4]),
        (3, 8, [8, 8, 8]),
    ],
)
def test_slots_of_nodes(nodes: int | None, concurrency: int | None, slots: list[int]) -> None:
    """A node has `concurrency` slots, else its machine's CPUs, else those of the smallest one."""
    assert slots_of_nodes([SMALL, LARGE], nodes, concurrency) == slots


def test_options_of_an_actor() -> None:
    """CPUs, GPUs and memory have options of their own; Ray restarts nothing by itself."""
    options = options_of(4, {"GPU": 1.0, "memory": 1e9, "fast": 2.0})
    assert options == {
        "num_cpus": 4,
        "num_gpus": 1.0,
        "memory": 1e9,
        "resources": {"fast": 2.0},
        "max_restarts": 0,
        "max_task_retries": 0,
    }
    assert "resources" not in options_of(4, {})


@pytest.mark.parametrize(
    ("slots", "resources", "reason"),
    [
        (16, {"GPU": 1.0}, None),
        (17, {}, r"asks for 17 CPU and the largest .* has 16: use --concurrency 16, or set auto"),
        (4, {"TPU": 1.0}, r"asks for 1 TPU and the largest machine of the Ray cluster has 0: set"),
        (4, {"GPU": 1.0, "fast": 1.0}, r"has 0: set autoscaling"),
    ],
)
def test_impossible_requests_are_explained(
    slots: int, resources: dict[str, float], reason: str | None
) -> None:
    """A request that no machine can ever hold names the resource, the maximum and a remedy."""
    found = why_never([SMALL, LARGE], slots, resources)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(reason, found), found


def test_resources_that_no_machine_has_together_are_named() -> None:
    """Two resources that exist on different machines only are an error, too."""
    found = why_never([machine(CPU=4.0, fast=1.0), LARGE], 4, {"GPU": 1.0, "fast": 1.0})
    assert found is not None
    assert "4 CPU, 1 GPU, 1 fast together" in found


@pytest.mark.parametrize(
    ("address", "door"),
    [
        ("ray://head:10001", ("head", 10001)),
        ("10.0.0.1:6379", ("10.0.0.1", 6379)),
        ("auto", None),
        ("head", None),
        (None, None),
        ("head:port", None),
    ],
)
def test_the_door_of_an_address(address: str | None, door: tuple[str, int] | None) -> None:
    """An address with host and port can be tried before Ray tries it for minutes."""
    assert door_of(address) == door


def test_runtime_env_follows_the_environment_table() -> None:
    """Ray installs packages only if the config lists them."""
    assert runtime_env(EnvironmentConfig()) == {}
    asked = EnvironmentConfig(packages=("six==1.16",), index_url="https://index/simple")
    assert runtime_env(asked) == {
        "pip": {
            "packages": ["six==1.16"],
            "pip_install_options": ["--index-url", "https://index/simple"],
        }
    }


def test_a_requirements_file_is_read_here() -> None:
    """The lines of a requirements file travel, because the cluster does not have the file."""
    asked = EnvironmentConfig(packages="/here/requirements.txt")
    text = "# ours\nsix==1.16\n\nattrs\n"
    assert runtime_env(asked, lambda path: text) == {"pip": {"packages": ["six==1.16", "attrs"]}}


def test_a_ray_of_this_machine_has_a_token_of_its_own(tmp_path: Path) -> None:
    """A Ray that skygrid starts asks for a new token and leaves none in the home folder."""
    first, second = (variables({}, None, tmp_path) for _ in range(2))
    assert first["RAY_AUTH_MODE"] == "token"
    assert first["RAY_AUTH_TOKEN"] != second["RAY_AUTH_TOKEN"]


def test_a_cluster_gets_the_token_of_the_home_folder(tmp_path: Path) -> None:
    """The token that `ray start` uses is used for its cluster; the user's variables stay."""
    assert "RAY_AUTH_MODE" not in variables({}, "auto", tmp_path)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").touch()
    assert variables({}, "auto", tmp_path)["RAY_AUTH_MODE"] == "token"
    given = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "1"}
    assert set(variables(given, "auto", tmp_path)) == {"RAY_ENABLE_UV_RUN_RUNTIME_ENV"}
