"""Lines of known_hosts that apply to a host, by sshd(8)."""

from __future__ import annotations

import pytest

from skygrid.nodes.ssh.host_keys import is_named

HASHED = "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg="
"""``192.168.1.61``, hashed, from the manual of ssh-keygen."""


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("gpu1", "gpu1"),
        ("GPU1", "gpu1"),
        ("gpu1", "10.0.0.7,gpu1"),
        ("gpu1.example.org", "*.example.org"),
        ("gpu1", "gpu?"),
        ("[gpu1]:2222", "[gpu1]:2222"),
        ("[gpu1]:2222", "[gpu*]:2222"),
        ("192.168.1.61", HASHED),
    ],
)
def test_a_line_applies_to_a_host(host: str, names: str) -> None:
    """Names, patterns and hashed names apply to the host."""
    assert is_named(host, names.split(","))


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("gpu1", "gpu11"),
        ("gpu11", "gpu1"),
        ("gpu1", "gpu1.example.org"),
        ("gpu1.example.org", "!gpu1.example.org,*.example.org"),
        ("gpu1.example.org", "*.example.org,!gpu1.*"),
        ("[gpu1]:2222", "gpu1"),
        ("gpu1", "[gpu1]:2222"),
        ("g", "[gpu1]"),
        ("gpuX", "gpu."),
        ("192.168.1.62", HASHED),
        ("gpu1", "|1|no|hash"),
        ("gpu1", "|1|"),
        ("gpu1", ""),
    ],
)
def test_a_line_does_not_apply_to_a_host(host: str, names: str) -> None:
    """Lines of other hosts, and those that exclude the host, do not apply."""
    assert not is_named(host, names.split(","))
