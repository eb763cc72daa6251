"""How answers of indexes, apt and git are read; the asking itself needs a network."""

import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from images.errors import ResolveError, UnreachableError
from images.lock import GATEWAY_REQUIREMENTS
from images.pins import BasePin, DebianPin, GitPin, load
from images.resolution import base, debian, git, wheels
from images.resolution.metadata import licence_of
from images.stale import NEWER, NOT_ASKED, Report, compare, look

PINS = load()


def _wheel(filename: str, size: int | None = 5, sha256: str | None = "a" * 64) -> dict[str, Any]:
    hashes = {"sha256": sha256} if sha256 else {}
    return {"url": f"https://example.org/{filename}", "size": size, "hashes": hashes}


def _choose(*rows: dict[str, Any]) -> str:
    tags = wheels.supported_tags(PINS.python)
    row = {"name": "demo", "version": "1.0", "wheels": rows}
    return wheels.choose_wheel(row, tags).filename


def test_the_wheel_is_the_one_that_pip_would_take() -> None:
    """Native before pure, and a rebuilt wheel before the one it repairs (torch has both)."""
    native = "demo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    rebuilt = "demo-1.0-3-cp311-cp311-manylinux_2_28_x86_64.whl"
    pure = "demo-1.0-py3-none-any.whl"
    stable = "demo-1.0-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    foreign = "demo-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    assert _choose(_wheel(pure), _wheel(native), _wheel(rebuilt), _wheel(foreign)) == rebuilt
    assert _choose(_wheel(pure), _wheel(stable)) == stable


def test_a_package_without_a_fitting_wheel_is_an_error() -> None:
    """There are no compilers in the image; a source package would fail there."""
    with pytest.raises(ResolveError, match="no wheel for the image"):
        _choose(_wheel("demo-1.0-cp311-cp311-macosx_11_0_arm64.whl"))


@pytest.mark.parametrize("missing", ["size", "sha256"])
def test_an_index_without_sizes_or_hashes_is_an_error(missing: str) -> None:
    """The lock would hold a wheel that cannot be checked."""
    name = "demo-1.0-py3-none-any.whl"
    row = _wheel(name, size=None) if missing == "size" else _wheel(name, sha256=None)
    with pytest.raises(ResolveError, match="PEP 691"):
        _choose(row)


def _found(name: str) -> wheels.FoundWheel:
    return wheels.FoundWheel(name, "1", f"{name}-1-py3-none-any.whl", name * 8, 1, "")


def test_what_only_one_variant_needs_goes_with_its_torch() -> None:
    """In the shared layer it would make that layer differ between variants."""
    common = {name: _found(name) for name in ("numpy", "comfy-kitchen")}
    own = {name: _found(name) for name in ("torch", "setuptools", "nvidia-cublas")}
    groups = wheels.split(PINS, {"a": {**common, "torch": _found("torch")}, "b": {**common, **own}})
    assert {key: sorted(each.name for each in row) for key, row in groups.items()} == {
        "python": ["numpy"],
        "comfy": ["comfy-kitchen"],
        "torch-a": ["torch"],
        "torch-b": ["setuptools", "torch"],
        "cuda-b": ["nvidia-cublas"],
    }


def test_the_gateways_lock_is_read_with_all_its_hashes() -> None:
    """A hash that is not read would refuse the right wheel."""
    text = GATEWAY_REQUIREMENTS.read_text()
    found = wheels.gateway_hashes(text)
    assert sum(len(hashes) for hashes in found.values()) == text.count("--hash=sha256:")
    assert any(pin.startswith("aiohttp==") for pin in found)


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("Name: x\nLicense-Expression: MIT\nLicense: other\n", "MIT"),
        ("Classifier: License :: OSI Approved :: BSD License\n", "BSD License"),
        ("License: Apache 2.0\n", "Apache 2.0"),
        ("License: " + "a long text " * 20 + "\n", None),
        ("Name: x\n", None),
    ],
)
def test_a_licence_is_told_or_left_open(metadata: str, licence: str | None) -> None:
    """A whole licence text in place of its name would fill the SBOM."""
    assert licence_of(metadata) == licence


ANSWER = """@image comfyui
Package: python3
Version: 3.11.2-1
Size: 26300
SHA256: {a}

Package: libexpat1
Version: 2.5.0-1
Size: 107940
SHA256: {b}

@image gateway
Package: python3
Version: 3.11.2-1
Size: 26300
SHA256: {a}
""".format(a="a" * 64, b="b" * 64)


def _debian_pin(*names: str) -> DebianPin:
    packages = [
        {"name": name, "images": ["comfyui", "gateway"], "reason": "needed by a test"}
        for name in names
    ]
    return DebianPin.model_validate(
        {"suite": "bookworm", "architecture": "amd64", "packages": packages}
    )


def test_apts_answer_gives_each_package_with_its_images() -> None:
    """The gateway must not get what only ComfyUI needs."""
    found = debian.parse(_debian_pin("python3"), ANSWER)
    rows = {row["name"]: row for row in found["packages"]}
    assert rows["python3"]["images"] == ["comfyui", "gateway"]
    assert rows["libexpat1"]["images"] == ["comfyui"]
    assert (rows["python3"]["requested"], rows["libexpat1"]["requested"]) == (True, False)
    assert (rows["libexpat1"]["size"], rows["libexpat1"]["sha256"]) == (107940, "b" * 64)


def test_a_requested_package_that_apt_does_not_add_is_an_error() -> None:
    """It would be pinned nowhere, and nobody would notice."""
    with pytest.raises(ResolveError, match="tzdata"):
        debian.parse(_debian_pin("python3", "tzdata"), ANSWER)


def test_a_mirror_that_changes_between_two_images_is_an_error() -> None:
    """Two versions of one package cannot both be locked."""
    head, _, tail = ANSWER.rpartition("Version: 3.11.2-1")
    with pytest.raises(ResolveError, match="resolve again"):
        debian.parse(_debian_pin("python3"), f"{head}Version: 3.11.2-2{tail}")


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str, str]:
    """A repository with a tagged commit: its folder, the commit and the commit's tree."""
    folder = tmp_path / "source"

    def run(*arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return found.stdout.strip()

    folder.mkdir()
    run("init", "--quiet")
    (folder / "main.py").write_text("print(1)\n")
    run("add", ".")
    run("commit", "--quiet", "--message=first")
    for tag in ("v0.9.1", "v0.10.0", "nightly"):
        run("tag", tag)
    # Servers such as GitHub let a commit be asked for by its id.
    run("config", "uploadpack.allowAnySHA1InWant", "true")
    run("config", "uploadpack.allowFilter", "true")
    return folder, run("rev-parse", "HEAD"), run("rev-parse", "HEAD^{tree}")


def _git_pin(url: str, commit: str) -> GitPin:
    return GitPin.model_construct(
        url=url, mirrors=(), version="1", commit=commit, licence="MIT", path=""
    )


def test_a_commits_tree_is_read_from_a_repository(repository: tuple[Path, str, str]) -> None:
    """The tree lets a source be checked that came without its history."""
    folder, commit, tree = repository
    pin = _git_pin("https://unreachable.invalid/x", commit)
    assert git.resolve("x", pin, {"x": str(folder)})["tree"] == tree
    assert git.newest_tag(str(folder)) == ("v0.10.0", commit)


def test_a_commit_that_the_repository_lacks_is_an_error(
    repository: tuple[Path, str, str],
) -> None:
    """A wrong pin must not be taken for a missing network, and kept."""
    folder, _, _ = repository
    with pytest.raises(ResolveError, match="has no commit") as caught:
        git.tree_of(str(folder), "0" * 39 + "1")
    assert not isinstance(caught.value, UnreachableError)


def test_a_repository_that_is_not_there_counts_as_unreachable(tmp_path: Path) -> None:
    """Then the old lock's tree is kept, loudly."""
    with pytest.raises(UnreachableError):
        git.tree_of(str(tmp_path / "nothing"), "0" * 40)


def test_stale_tells_newer_from_not_asked() -> None:
    """A scheduled job acts on the exit code alone."""

    def unreachable() -> list[str]:
        raise UnreachableError("no network")

    assert look([("a", list)]).exit_code == 0
    assert look([("a", list), ("b", unreachable)]).exit_code == NOT_ASKED
    report = look([("b", unreachable), ("a", lambda: ["wheel x: 1 -> 2"])])
    assert report == Report(["wheel x: 1 -> 2"], ["b: no network"])
    assert report.exit_code == NEWER
    assert compare("wheel", {"a": "1", "b": "1"}, {"a": "2", "c": "1"}) == [
        "wheel a: 1 -> 2",
        "wheel b: 1 -> no longer needed",
        "wheel c: absent -> 1",
    ]


class _Registry(BaseHTTPRequestHandler):
    """A registry that wants a token, as public ones do."""

    digest = "sha256:" + "c" * 64

    def do_GET(self) -> None:
        """The token service."""
        self._answer(200, b'{"token": "t"}')

    def do_HEAD(self) -> None:
        """The manifest."""
        if self.headers.get("Authorization") != "Bearer t":
            challenge = f'Bearer realm="http://{self.headers["Host"]}/token",service="r",scope="s"'
            self._answer(401, headers={"WWW-Authenticate": challenge})
        elif self.path == "/v2/library/debian/manifests/bookworm-20260101-slim":
            self._answer(200, headers={"Docker-Content-Digest": self.digest})
        else:
            self._answer(404)

    def _answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep test output quiet."""


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _base_pin(tag: str, digest: str) -> BasePin:
    return BasePin(image=f"debian:{tag}", digest=digest, seen="known from a test")


def test_the_bases_digest_is_asked_of_the_registry(registry: str) -> None:
    """With the token that public registries want even for public images."""
    found = base.resolve(_base_pin("bookworm-20260101-slim", _Registry.digest), registry)
    assert found["digest"] == _Registry.digest
    assert "registry" in found["source"]


def test_a_base_that_is_not_what_the_pin_says_is_an_error(registry: str) -> None:
    """A tag that moved, or a wrong pin: neither may be taken silently."""
    with pytest.raises(ResolveError, match="does not move"):
        base.resolve(_base_pin("bookworm-20260101-slim", "sha256:" + "d" * 64), registry)
    with pytest.raises(ResolveError, match="Correct the tag"):
        base.resolve(_base_pin("bookworm-20260202-slim", _Registry.digest), registry)


def test_a_registry_that_does_not_answer_counts_as_unreachable() -> None:
    """Then the pin stands in, and the lock says that nobody was asked."""
    with pytest.raises(UnreachableError):
        base.tag_digest("debian:bookworm-20260101-slim", "http://127.0.0.1:9")
