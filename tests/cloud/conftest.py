"""A running emulator for each test, and Alibaba's own SDK clients that talk to it over TLS."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_cs20151215.client import Client as CsClient
from alibabacloud_ecs20140526.client import Client as EcsClient
from alibabacloud_kms20160120.client import Client as KmsClient
from alibabacloud_oos20190601.client import Client as OosClient
from alibabacloud_ram20150501.client import Client as RamClient
from alibabacloud_slb20140515.client import Client as SlbClient
from alibabacloud_sts20150401.client import Client as StsClient
from alibabacloud_tea_openapi.models import Config
from alibabacloud_vpc20160428.client import Client as VpcClient

from rehearsal.cloud.clusters import NullClusters
from rehearsal.cloud.credentials import Credential
from rehearsal.cloud.emulator import Emulator, Endpoints
from rehearsal.cloud.hypervisor import NullHypervisor
from rehearsal.cloud.state import Cloud, Settings

CLIENTS: dict[str, Any] = {
    "cs": CsClient,
    "ecs": EcsClient,
    "kms": KmsClient,
    "oos": OosClient,
    "ram": RamClient,
    "slb": SlbClient,
    "sts": StsClient,
    "vpc": VpcClient,
}


class Clock:
    """The emulator's clock: real time plus what a test adds to it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s

    def advance(self, seconds: float) -> None:
        self.ahead_s += seconds


class RunningCloud:
    """A running emulator as a test sees it."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.hypervisor = NullHypervisor()
        self.clusters = NullClusters()
        self.clock = Clock()
        self._emulator: Emulator | None = None
        self._endpoints: Endpoints | None = None

    @property
    def emulator(self) -> Emulator:
        """The emulator, in this process."""
        assert self._emulator is not None, "call begin() first"
        return self._emulator

    @property
    def endpoints(self) -> Endpoints:
        """Where it listens."""
        assert self._endpoints is not None, "call begin() first"
        return self._endpoints

    @property
    def key(self) -> Credential:
        """The account's root key."""
        return self.emulator.root_key

    @property
    def cloud(self) -> Cloud:
        """The state behind the API."""
        return self.emulator.cloud

    @property
    def endpoint(self) -> str:
        """host:port of the API (TLS and plain HTTP)."""
        return self.endpoints.endpoint

    @property
    def ca(self) -> Path:
        """The emulator's CA certificate."""
        return self.endpoints.ca

    def client(self, product: str, *, key: Credential | None = None, **config: Any) -> Any:
        """An official SDK client; signature V3, or V1 with ``signature_algorithm="v2"``.

        ``key`` is the account's root key when left out; ``config`` are further Config fields.
        """
        signer = key or self.key
        settings = {
            "access_key_id": signer.access_key_id,
            "access_key_secret": signer.secret,
            "security_token": signer.security_token,
            "endpoint": self.endpoint,
            "region_id": self.cloud.settings.region,
            "protocol": "https",
            "ca": str(self.ca),
            "connect_timeout": 5000,
            "read_timeout": 10000,
        }
        return CLIENTS[product](Config(**{**settings, **config}))

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control interface; raises ControlError with the status and the answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.endpoints.control + path, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ControlError(error.code, json.load(error)) from error

    def user_key(self, policy: dict[str, Any] | None, name: str = "tester") -> Credential:
        """A RAM user's key limited by a policy document."""
        return self.cloud.credentials.create_key(
            self.cloud.settings.account, kind="user", name=name, policy=policy
        )

    def restart(self) -> None:
        """Stop in good order and start again on the same directory (the ports change)."""
        self.emulator.stop()
        self.begin()

    def begin(self) -> None:
        """Start an emulator on the directory."""
        cloud = Cloud(
            self.state_dir,
            Settings(time_scale=0.01),
            self.hypervisor,
            self.clock,
            clusters=self.clusters,
        )
        self._emulator = Emulator(cloud)
        self._endpoints = self._emulator.start()


class ControlError(AssertionError):
    """The control interface refused."""

    def __init__(self, status: int, answer: Any) -> None:
        super().__init__(f"{status}: {answer}")
        self.status = status
        self.answer = answer


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[RunningCloud]:
    """A fresh emulator without machines, with status changes a hundred times faster."""
    running = RunningCloud(tmp_path / "cloud")
    running.begin()
    yield running
    running.emulator.stop()


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Poll until a function returns something true; fails with its last answer."""

    def poll(probe: Callable[[], Any], *, within_s: float = 10.0, every_s: float = 0.02) -> Any:
        deadline = time.monotonic() + within_s
        while True:
            answer = probe()
            if answer:
                return answer
            if time.monotonic() > deadline:
                pytest.fail(f"not true within {within_s} s; the last answer was {answer!r}")
            time.sleep(every_s)

    return poll
