"""A folder, a server and a file for each test."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from vace_weights.fetch import Fetched, Target, fetch
from vace_weights.manifest import SourceFile
from vace_weights.sources import Place
from vace_weights.transfer import TransferOptions

from tests.images.fetch.server import Site, serving

NAME = "model.safetensors"
DATA = random.Random(4).randbytes(3 * 1024 * 1024 + 17)
SHA256 = hashlib.sha256(DATA).hexdigest()
FILE = SourceFile(NAME, len(DATA), SHA256, ())
QUICK = TransferOptions(
    chunk_bytes=256 * 1024,
    buffer_bytes=64 * 1024,
    stall_s=5,
    attempts=3,
    backoff_s=0.01,
    backoff_limit_s=0.5,
)


@dataclass
class Heard:
    """A Progress that remembers."""

    messages: list[str] = field(default_factory=list)
    total: int = 0
    done: int = 0

    def begin(self, total: int, present: int) -> None:
        self.total, self.done = total, present

    def file(self, name: str, size: int) -> None:
        self.messages.append(name)

    def advance(self, count: int) -> None:
        self.done += count

    def message(self, text: str) -> None:
        self.messages.append(text)

    @property
    def text(self) -> str:
        return "\n".join(self.messages)


@dataclass
class Bench:
    """Fetches the file into a folder; looks at what stands there."""

    folder: Path
    heard: Heard = field(default_factory=Heard)

    @property
    def path(self) -> Path:
        return self.folder / "vae" / NAME

    def fetch(self, *places: Place, options: TransferOptions = QUICK) -> Fetched:
        target = Target(FILE, self.path, places)
        return fetch([target], self.folder, options=options, progress=self.heard)[0]

    def require_whole(self) -> None:
        assert self.path.read_bytes() == DATA
        assert sorted(p.name for p in self.path.parent.iterdir()) == [NAME]

    def require_nothing_final(self) -> None:
        assert not self.path.exists()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HF_TOKEN",
        "HF_ENDPOINT",
        "VACE_WEIGHT_SOURCES",
        "VACE_WEIGHT_MANIFEST",
        "SSL_CERT_FILE",
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "models")


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({f"/{NAME}": DATA})) as running:
        yield running


@pytest.fixture
def good() -> Iterator[Site]:
    """A second server, without faults."""
    with serving(Site({f"/{NAME}": DATA})) as running:
        yield running


def at(site: Site, label: str = "first", path: str = f"/{NAME}", token: str = "") -> Place:
    """The file on a server, as a place."""
    return Place(label, url=site.url + path, token=token)
