"""Which lines of known_hosts are about a host, as sshd(8) says."""

from __future__ import annotations

import pytest

from skygrid.nodes.ssh.host_keys import is_named

HASHED = "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg="
"""``192.168.1.61``, as the manual of ssh-keygen's makers has it."""


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
def test_a_line_is_about_a_host(host: str, names: str) -> None:
    """Names, patterns and hashed names are the host's."""
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
def test_a_line_is_not_about_a_host(host: str, names: str) -> None:
    """What names another host, or excludes this one, accepts no key for it."""
    assert not is_named(host, names.split(","))
