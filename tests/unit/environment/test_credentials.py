"""Credentials in URLs are found and put back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skygrid.config import RunConfig, config_to_json
from skygrid.environment.credentials import MaskedLines, masked, reunite, separate
from skygrid.environment.records import Environment
from skygrid.environment.resolve import resolve
from skygrid.environment.settings import EnvironmentConfig
from skygrid.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:s3cret@x.org/simple", "https://****@x.org/simple"),
        ("https://t0ken@x.org/simple", "https://****@x.org/simple"),
        ("https://me:p@ss@x.org/a", "https://****@x.org/a"),
        ("pip: 'http://a:b@c', \"http://d:e@f\"", "pip: 'http://****@c', \"http://****@f\""),
        ("x @ git+https://t0ken@x.org/r@main", "x @ git+https://****@x.org/r@main"),
        ("x @ git+ssh://git@github.com/a/b@v1", "x @ git+ssh://git@github.com/a/b@v1"),
        ("https://****@x.org", "https://****@x.org"),
        ("https://x.org/@scope?a=b@c#d@e", "https://x.org/@scope?a=b@c#d@e"),
        ("me@gpu1 and a@b", "me@gpu1 and a@b"),
    ],
)
def test_credentials_of_urls_are_masked(text: str, shown: str) -> None:
    """User and password of every URL are replaced; hosts, paths and mail addresses stay."""
    assert masked(text) == shown


def test_settings_are_the_same_when_their_credentials_are_put_back() -> None:
    """The public part has no secret; together with the private part it is the whole."""
    secret = EnvironmentConfig(
        index_url="https://me:s3cret@x.org/simple",
        extra_index_url=("https://y.org", "https://t0ken@z.org"),
        setup=("curl https://me:s3cret@x.org/a | sh",),
    )
    settings = config_to_json(RunConfig(environment=secret))

    public, private = separate(settings)

    assert "s3cret" not in str(public)
    assert "t0ken" not in str(public)
    assert set(private) == {
        "environment.index_url", "environment.extra_index_url", "environment.setup",
    }  # fmt: skip
    assert reunite(public, private) == settings
    assert separate(config_to_json(RunConfig()))[1] == {}


@given(st.lists(st.integers(0, 60)))
def test_a_url_that_is_cut_anywhere_is_masked(cuts: list[int]) -> None:
    """However a stream is divided, its lines have no credentials and nothing else is missing."""
    data = "a\nget https://me:s3crét@x.org/s\nb\nhttps://me:s3crét@x.org".encode()
    filtered, ends = MaskedLines(), sorted({0, len(data), *cuts})
    parts = [data[begin:end] for begin, end in pairwise(ends)]

    said = b"".join([*map(filtered.feed, parts), filtered.end()])

    assert said.decode() == "a\nget https://****@x.org/s\nb\nhttps://****@x.org"


def test_a_line_without_end_does_not_wait_for_ever() -> None:
    """Output without line breaks is passed on before it fills the memory."""
    filtered = MaskedLines()
    assert len(filtered.feed(b"x" * 70_000)) == 70_000


def test_a_new_password_needs_no_new_environment() -> None:
    """The key of an environment does not depend on credentials, but on the index."""
    keys = [
        Environment(python="3.11", minor="3.11", index_url=url).key
        for url in ("https://a:b@x.org", "https://c@x.org", "https://a:b@y.org")
    ]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("name", ["index_url", "extra_index_url"])
def test_lost_credentials_are_named(name: str) -> None:
    """A mask is never sent to an index as if it were a password."""
    url = "https://****@x.org/simple"
    settings = EnvironmentConfig(**{name: url if name == "index_url" else (url,)})
    with pytest.raises(ConfigError, match=rf"{name} under \[environment\] is .* no longer in the"):
        resolve(settings, {"sklearn"})
