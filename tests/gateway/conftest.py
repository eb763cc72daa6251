"""Fixtures: a recorder, a gateway in front of it, clients that trust its certificate."""

from __future__ import annotations

import contextlib
import io
import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from vace_gateway import logs
from vace_gateway.server import GatewayServer
from vace_gateway.settings import PREFIX, Settings

from tests.gateway.pki import Authority
from tests.gateway.recorder import Recorder


@dataclass
class Bench:
    """One running gateway and what a test needs to talk to it."""

    server: GatewayServer
    comfy: Recorder
    environment: dict[str, str]
    folder: Path
    authority: Authority
    token: str
    trust: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port('TLS_LISTEN')}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.server.port('METRICS_LISTEN')}/metrics"

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def client(self, *, authorized: bool = True, url: str | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=url or self.url,
            verify=self.trust,
            headers=self.bearer if authorized else {},
            timeout=10,
            trust_env=False,
        )

    def rotate_token(self) -> str:
        self.token = secrets.token_urlsafe(32)
        Path(self.environment[PREFIX + "TOKEN_FILE"]).write_text(self.token, encoding="ascii")
        return self.token

    def rotate_certificate(self, *, days: int = 1) -> None:
        self.authority.issue(self.folder / "tls.crt", self.folder / "tls.key", days=days)

    async def metric(self, line: str) -> float:
        """Value of the sample whose name and labels are ``line``; 0 when it does not exist."""
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(self.metrics_url)).text
        for sample in text.splitlines():
            name, _, value = sample.rpartition(" ")
            if name == line:
                return float(value)
        return 0.0


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def environment(tmp_path: Path, authority: Authority) -> dict[str, str]:
    """A complete, valid environment; ports are chosen by the system."""
    authority.issue(tmp_path / "tls.crt", tmp_path / "tls.key")
    token_file = tmp_path / "token"
    token_file.write_text(secrets.token_urlsafe(32) + "\n", encoding="ascii")
    values = {
        "TLS_LISTEN": "127.0.0.1:0",
        "TLS_CERT": str(tmp_path / "tls.crt"),
        "TLS_KEY": str(tmp_path / "tls.key"),
        "TOKEN_FILE": str(token_file),
        "UPSTREAM": "http://127.0.0.1:1",
        "METRICS_LISTEN": "127.0.0.1:0",
        "ALLOWED_HOSTS": "127.0.0.1,localhost,video.example",
        "REQUIRED_NODES": "WanVaceToVideo,VHS_VideoCombine",
        "DRAIN_SECONDS": "5",
    }
    return {PREFIX + name: value for name, value in values.items()}


@pytest.fixture
async def comfy() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    await recorder.start()
    yield recorder
    await recorder.stop()


MakeBench = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def make_bench(
    environment: dict[str, str], comfy: Recorder, tmp_path: Path, authority: Authority
) -> MakeBench:
    """Start a gateway with changed settings: ``async with make_bench(MAX_QUEUE="2") as bench``."""

    @contextlib.asynccontextmanager
    async def make(**changes: str) -> AsyncIterator[Bench]:
        values = environment | {PREFIX + "UPSTREAM": comfy.url}
        values |= {PREFIX + name: value for name, value in changes.items()}
        server = GatewayServer(Settings.from_environment(values))
        token = Path(values[PREFIX + "TOKEN_FILE"]).read_text(encoding="ascii").strip()
        trust = ssl.create_default_context(cafile=str(authority.file))
        async with server:
            yield Bench(server, comfy, values, tmp_path, authority, token, trust)

    return make


@pytest.fixture
async def bench(make_bench: MakeBench) -> AsyncIterator[Bench]:
    async with make_bench() as running:
        yield running


@pytest.fixture
def log_lines(environment: dict[str, str]) -> Iterator[io.StringIO]:
    """What the gateway writes to stderr, through its real formatter and filter."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the test's own client
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    token_file = Path(environment[PREFIX + "TOKEN_FILE"])
    logs.configure(logs.Redactor(lambda: [token_file.read_text("ascii").strip()]), stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
