"""The handshake refuses a node whose scores could differ, and names every difference."""

from __future__ import annotations

import pytest

from skygrid.errors import HandshakeError
from skygrid.nodes.handshake import check_greeting
from skygrid.worker.wire.messages.from_agent import Greeting
from skygrid.worker.wire.protocol import PROTOCOL

HERE = {
    "python": "3.11.7",
    "scikit-learn": "1.9.1",
    "numpy": "2.4.6",
    "scipy": "1.17.1",
    "cloudpickle": "3.1.2",
    "msgspec": "0.22.0",
    "joblib": "1.6.0",
}


def greeting(*, protocol: int = PROTOCOL, **changes: str | None) -> Greeting:
    versions = HERE | {name.replace("_", "-"): value for name, value in changes.items()}
    return Greeting(
        protocol=protocol,
        versions={name: value for name, value in versions.items() if value is not None},
        host="h",
        cpu="c",
        machine="x86_64",
        vcpus=2,
        memory_bytes=2**30,
        slots=2,
        threads_per_slot=1,
        pid=1,
    )


def refusal(node: Greeting) -> str:
    with pytest.raises(HandshakeError) as caught:
        check_greeting("node-7", node, HERE)
    return str(caught.value)


def test_equal_versions_pass() -> None:
    check_greeting("node-7", greeting(), HERE)


@pytest.mark.parametrize("name", ["scikit-learn", "numpy", "scipy", "cloudpickle"])
def test_a_version_that_differs_is_named_with_both_values(name: str) -> None:
    text = refusal(greeting(**{name: "0.1"}))
    assert f"{name} 0.1 there, {HERE[name]} here" in text
    assert "node-7" in text
    assert "Install the same versions" in text
    others = set(HERE) - {name}
    assert not any(f"{other} " in text for other in others)


def test_everything_that_differs_is_named_at_once() -> None:
    text = refusal(greeting(numpy="1.0", scipy="1.0", python="3.12.0"))
    assert all(name in text for name in ("numpy 1.0", "scipy 1.0", "python 3.12.0"))


def test_a_package_that_is_missing_is_named() -> None:
    assert "scipy missing there" in refusal(greeting(scipy=None))


def test_patch_releases_of_python_may_differ_and_minor_ones_may_not() -> None:
    check_greeting("node-7", greeting(python="3.11.12"), HERE)
    assert "python 3.1.7 there" in refusal(greeting(python="3.1.7"))


@pytest.mark.parametrize("name", ["msgspec", "joblib"])
def test_packages_that_decide_no_score_may_differ(name: str) -> None:
    check_greeting("node-7", greeting(**{name: "0.1"}), HERE)


def test_another_protocol_is_refused_before_versions_are_compared() -> None:
    text = refusal(greeting(protocol=PROTOCOL + 1, numpy="1.0"))
    assert f"speaks protocol {PROTOCOL + 1}" in text
    assert "numpy" not in text
