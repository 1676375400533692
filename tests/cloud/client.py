"""Client of the test cloud, which runs in a separate process and is controlled over HTTP."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.faults import Failure, Pool
from tests.cloud.install import install_all
from tests.cloud.server import shared_environments

ROOT = Path(__file__).parents[2]

SHARED = ROOT / ".pytest_cache" / "cloud-nodes"
"""Environments of nodes: they are large, so the first run makes them and later runs reuse them."""

PATIENCE_SECONDS = 120.0

REGION = "us-east-1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """The cloud's record of one instance."""

    id: str
    state: str
    region: str
    zone: str
    instance_type: str
    market: str
    public: str | None
    private: str
    hidden: str
    launched_at: float
    """Seconds since the epoch, as all times here."""

    boot_seconds: float
    """Boot time that was set for the instance, in seconds."""

    listens_at: float | None
    """Time when its sshd started to listen; None if it never did."""

    metadata: str | None
    tags: dict[str, str]


class Faults:
    """Switches for the faults of `tests.cloud.faults`; each takes effect when it is called."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def set(self, **settings: Any) -> None:
        """Set fields of `tests.cloud.faults.Settings`."""
        if "lacking" in settings:
            pools = settings["lacking"]
            settings["lacking"] = [dataclasses.asdict(pool) for pool in pools]
        self._ask("set", **settings)

    def add(self, failure: Failure) -> None:
        """Make calls go wrong as described."""
        self._ask("fail", **dataclasses.asdict(failure))

    def fail(self, action: str, code: str, *, times: int | None = 1, **more: Any) -> None:
        """Answer calls of an action with an error of this code, without executing them."""
        self.add(Failure(action=action, code=code, times=times, **more))

    def throttle(self, action: str, times: int | None = 1) -> None:
        """Answer calls with the error that AWS sends above its request limit."""
        if action.startswith("ec2:"):
            self.fail(
                action,
                "RequestLimitExceeded",
                times=times,
                message="Request limit exceeded.",
                status=503,
            )
        else:
            self.fail(
                action, "ThrottlingException", times=times, message="Rate exceeded", status=400
            )

    def lose_answer(self, action: str, times: int | None = 1) -> None:
        """Execute calls and close the connection before the answer."""
        self.add(Failure(action=action, what="cut", times=times))

    def delay_answer(self, action: str, seconds: float, times: int | None = 1) -> None:
        """Execute calls and send the answer late."""
        self.add(Failure(action=action, what="late", seconds=seconds, times=times))

    def deny(self, *actions: str) -> None:
        """Allow the caller everything except these action patterns, e.g. ``ec2:RunInstances``."""
        self.set(denied=list(actions))

    def expire_credentials(self, expired: bool = True) -> None:
        """Treat the caller's credentials as expired."""
        self.set(expired=expired)

    def no_capacity(self, *pools: Pool) -> None:
        """Remove the capacity of these pools; without arguments, of all pools."""
        self.set(lacking=list(pools or (Pool(),)))

    def move_caller(self, address: str) -> None:
        """Change the caller's address; open connections go silent."""
        self.set(caller=address)

    def remove_default_vpc(self, region: str = REGION) -> None:
        """Remove the account's default VPC."""
        self._ask("remove-default-vpc", region=region)

    def clear(self) -> None:
        """Remove all failures of calls; settings stay."""
        self._ask("clear-faults")


class Cloud:
    """A running cloud.

    Parameters
    ----------
    share_environments : bool
        True if instances share the contents of ``~/.cache/skygrid`` between tests.

    Attributes
    ----------
    url : str
        The endpoint of every API.
    checkip : str
        URL that answers with the caller's address.
    faults : Faults
    allowed_left : set of str
        Kinds of `left` that the test leaves on purpose, e.g. ``{"instances"}``.
    allow_problems : bool
        True if boots may fail.
    """

    def __init__(self, *, share_environments: bool = True) -> None:
        install_all()
        self._shared = shared_environments(SHARED) if share_environments else None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - until close
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cloud", "--serve"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise AssertionError(f"the cloud did not start:\n{self._log.read().decode()[-3000:]}")
        self.url: str = json.loads(line)["url"]
        self.checkip = f"{self.url}/checkip"
        self.faults = Faults(self._ask)
        self.allowed_left: set[str] = set()
        self.allow_problems = False
        self.reset()

    def __enter__(self) -> Cloud:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- for processes that use the cloud --------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Return this process's environment with this cloud in place of AWS."""
        found = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
        return {**found, **self.variables()}

    def variables(self) -> dict[str, str]:
        """Return the variables that point a process to this cloud."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent/config",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
        }

    def client(self, service: str, region: str = REGION, **config: Any) -> Any:
        """Return a boto3 client of this cloud that tries each call once."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id="AKIATEST",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    # ---- records ---------------------------------------------------------------------------------

    @property
    def calls(self) -> Counter[str]:
        """Number of calls by action, failed ones included, e.g. ``{"ec2:RunInstances": 3}``."""
        return Counter(call["action"] for call in self.call_log())

    def call_log(self) -> list[dict[str, Any]]:
        """Return every call in order: ``action``, ``seconds``, ``code``, ``dry_run``."""
        return list(self._ask("calls"))

    def nodes(self, *states: str) -> list[Node]:
        """Return every instance since the start, or those in these states."""
        found = [Node(**one) for one in self._ask("instances")]
        return [one for one in found if not states or one.state in states]

    def left(self) -> dict[str, list[str]]:
        """Return the names of everything that is not terminated or deleted, by kind.

        Kinds: ``instances``, ``groups`` (without the default ones), ``volumes``, ``keys``,
        ``objects`` (of S3, unfinished uploads included).
        """
        return dict(self._ask("left"))

    def processes(self) -> list[str]:
        """Return the command lines of all processes that really run on instances."""
        return list(self._ask("processes"))

    def problems(self) -> list[str]:
        """Return errors of boots: user-data that is not understood, steps that failed."""
        return list(self._ask("problems"))

    def console(self, instance_id: str) -> str:
        """Return the output of an instance's boot."""
        return str(self._ask("console", instance_id=instance_id))

    # ---- events ----------------------------------------------------------------------------------

    def interrupt(self, instance_id: str, seconds: float = 120.0) -> None:
        """Announce a spot instance's interruption, and end it after `seconds`."""
        self._ask("interrupt", instance_id=instance_id, seconds=seconds)

    def kill(self, instance_id: str) -> None:
        """Kill a machine while the API still reports it as running."""
        self._ask("kill", instance_id=instance_id)

    def cut(self, instance_id: str | None = None) -> None:
        """Close the connections to one instance, or to all; new ones are accepted."""
        self._ask("cut", instance_id=instance_id)

    def mount(self, folder: Path) -> None:
        """Mount a folder of this machine on new instances, at the same path and writable.

        A search file can then record each fit in a file beside it.
        """
        folder.chmod(0o777)
        self.faults.set(mounts=[str(folder)])

    def reset(self) -> None:
        """End everything and remove all faults."""
        self._ask("reset", shared=self._shared)
        self.allowed_left = set()
        self.allow_problems = False

    def check_nothing_left(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Fail if anything is left that the test does not allow, or if a boot failed.

        Instances that are still shutting down are waited for.
        """
        wait(
            lambda: (
                not self._unexpected()
                and not ("instances" not in self.allowed_left and self.processes())
            ),
            lambda: f"nothing to be left, but: {self._unexpected()} {self._running_on()}",
            seconds=seconds,
        )
        problems = self.problems()
        assert self.allow_problems or not problems, "\n".join(problems)

    def _unexpected(self) -> dict[str, list[str]]:
        return {kind: names for kind, names in self.left().items() if kind not in self.allowed_left}

    def _running_on(self) -> list[str]:
        return [] if "instances" in self.allowed_left else self.processes()

    def close(self) -> None:
        """End every instance, process and mount."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def _ask(self, verb: str, **document: Any) -> Any:
        request = urllib.request.Request(
            f"{self.url}/_control/{verb}", data=json.dumps(document).encode(), method="POST"
        )
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return json.load(answer)["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{verb}: {error.read().decode()}") from error


def wait(
    fact: Callable[[], object], what: Callable[[], str], *, seconds: float = PATIENCE_SECONDS
) -> None:
    """Return when `fact` is true; fail after `seconds` with the text of `what`."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what()}")
        pause.wait(0.03)


@contextmanager
def used_cloud(cloud: Cloud) -> Iterator[Cloud]:
    """Yield the reset cloud; fail the test if it leaves anything."""
    cloud.reset()
    try:
        yield cloud
        cloud.check_nothing_left()
    finally:
        cloud.reset()


@pytest.fixture(scope="session")
def cloud_server() -> Iterator[Cloud]:
    """Yield one cloud for all tests of this process."""
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def cloud(cloud_server: Cloud) -> Iterator[Cloud]:
    """Yield a reset cloud in which nothing may be left and no boot may fail."""
    with used_cloud(cloud_server) as used:
        yield used
