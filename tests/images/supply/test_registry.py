"""The registry client against a real registry: content, digests, authentication, TLS."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from images.builder.errors import InputError
from images.builder.oci import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Descriptor, load_image
from images.builder.references import parse_reference
from images.builder.referrers import attach, referrers
from images.builder.registry import Registry
from images.builder.registry_auth import Credentials, find_credentials, parse_challenge
from images.builder.registry_errors import (
    RegistryAccessError,
    RegistryAnswerError,
    RegistryDigestError,
    RegistryMissingError,
    RegistryUnreachableError,
)
from images.builder.registry_source import RegistrySource
from tests.images.supply.registries import (
    HTPASSWD,
    ISSUER,
    PASSWORD,
    SERVICE,
    USERNAME,
    Identity,
    run_registry,
    run_token_server,
)

REPOSITORY = "vace/test"
SBOM_TYPE = "application/vnd.cyclonedx+json"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An open registry."""
    with run_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def push_image(registry: Registry, tag: str = "one", layer: bytes = b"layer") -> Descriptor:
    """An image with one layer; the layer is no archive, which a registry does not mind."""
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [sha256(layer)]}}).encode()
    rows = [
        {"mediaType": kind, "digest": registry.push_blob(REPOSITORY, content).digest,
         "size": len(content)}
        for kind, content in ((CONFIG_TYPE, config), (LAYER_TYPE, layer))
    ]  # fmt: skip
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": rows[0], "layers": rows[1:],
    }  # fmt: skip
    return registry.push_manifest(REPOSITORY, tag, json.dumps(manifest).encode(), MANIFEST_TYPE)[0]


def test_what_was_pushed_is_read_back_as_an_image(host: str, tmp_path: Path) -> None:
    """Prevents: a verify that reads something else than the registry serves."""
    blob = tmp_path / "layer"
    blob.write_bytes(b"from a file" * 1000)
    with Registry(host) as registry:
        pushed = push_image(registry, layer=blob.read_bytes())
        assert registry.push_blob(REPOSITORY, blob).digest == sha256(blob.read_bytes())
        assert registry.head_manifest(REPOSITORY, "one") == pushed
        reference = parse_reference(f"{host}/{REPOSITORY}@{pushed.digest}")
        image = load_image(RegistrySource(registry, reference))
        with image.source.open(image.layers[0]) as stream:
            assert stream.read() == blob.read_bytes()
    assert image.digest == pushed.digest


def test_a_missing_manifest_is_named_with_its_repository(host: str) -> None:
    """Prevents: "404" without saying what was asked for."""
    with Registry(host) as registry, pytest.raises(RegistryMissingError, match="vace/nothing"):
        registry.get_manifest("vace/nothing", "none")


def test_a_blob_with_another_size_than_its_descriptor_is_refused(host: str) -> None:
    """Prevents: a manifest that lies about its blobs."""
    with Registry(host) as registry:
        found = registry.push_blob(REPOSITORY, b"blob")
        wrong = Descriptor("", found.digest, found.size + 1)
        with registry.open_blob(REPOSITORY, wrong) as stream, pytest.raises(RegistryDigestError):
            stream.read()


def test_an_attached_artifact_is_found_by_its_image_and_attached_once(host: str) -> None:
    """Prevents: an SBOM that nobody finds, or a list that grows with every run."""
    with Registry(host) as registry:
        subject = push_image(registry, "with-sbom", b"other layer")
        first = attach(registry, REPOSITORY, subject, b"{}", artifact_type=SBOM_TYPE)
        again = attach(registry, REPOSITORY, subject, b"{}", artifact_type=SBOM_TYPE)
        other = attach(registry, REPOSITORY, subject, b"text", artifact_type="text/plain")
        assert first == again
        found = referrers(registry, REPOSITORY, subject.digest, SBOM_TYPE)
        assert [(row.descriptor.digest, row.artifact_type) for row in found] == [
            (first.digest, SBOM_TYPE)
        ]
        everything = referrers(registry, REPOSITORY, subject.digest)
        assert {row.descriptor.digest for row in everything} == {first.digest, other.digest}
        assert referrers(registry, REPOSITORY, sha256(b"nobody")) == []


def test_basic_authentication_is_used_when_the_registry_asks(tmp_path: Path) -> None:
    """Prevents: pushes that only work in open registries."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    with run_registry(tmp_path / "registry", auth=auth) as host:
        with Registry(host, credentials=Credentials(USERNAME, PASSWORD)) as registry:
            push_image(registry)
        stranger = Registry(host, credentials=Credentials(USERNAME, "wrong"))
        refusal = pytest.raises(RegistryAccessError, match="podman login")
        with stranger as registry, refusal as refused:
            registry.get_manifest(REPOSITORY, "one")
        assert "wrong" not in str(refused.value)
        with Registry(host) as registry, pytest.raises(RegistryAccessError, match="no credentials"):
            registry.get_manifest(REPOSITORY, "one")


def test_tokens_are_fetched_where_the_registry_says(tmp_path: Path) -> None:
    """Prevents: a client that fails with every public cloud's registry."""
    identity = Identity(tmp_path, "issuer")
    with run_token_server(identity) as realm:
        token = {
            "realm": realm, "service": SERVICE, "issuer": ISSUER,
            "rootcertbundle": str(identity.certificate_file),
        }  # fmt: skip
        with run_registry(tmp_path / "registry", auth={"token": token}) as host:
            with Registry(host, credentials=Credentials(USERNAME, PASSWORD)) as registry:
                pushed = push_image(registry)
                assert registry.head_manifest(REPOSITORY, "one") == pushed
            with Registry(host) as registry, pytest.raises(RegistryAccessError):
                registry.get_manifest(REPOSITORY, "one")


def test_certificates_are_verified(tmp_path: Path) -> None:
    """Prevents: content from whoever sits between here and the registry."""
    identity = Identity(tmp_path, "server")
    tls = {
        "certificate": str(identity.certificate_file), "key": str(identity.key_file),
    }  # fmt: skip
    stranger = Identity(tmp_path, "stranger").certificate_file
    with run_registry(tmp_path / "registry", http={"tls": tls}) as host:
        with Registry(host, authority=identity.certificate_file) as registry:
            push_image(registry)
        refusal = pytest.raises(RegistryUnreachableError, match="SSL_CERT_FILE")
        with Registry(host, authority=stranger) as registry, refusal:
            registry.get_manifest(REPOSITORY, "one")


def test_a_registry_that_is_not_there_is_an_error_with_advice() -> None:
    """Prevents: a stack trace for a wrong port."""
    with Registry("127.0.0.1:1") as registry, pytest.raises(RegistryUnreachableError, match="port"):
        registry.get_manifest(REPOSITORY, "one")


class Scripted(BaseHTTPRequestHandler):
    """Answers from a list; used for what a sound registry never does."""

    answers: list[tuple[int, dict[str, str], bytes]]

    def do_GET(self) -> None:
        status, headers, body = self.answers.pop(0)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[tuple[str, type[Scripted]]]:
    handler = type("Handler", (Scripted,), {"answers": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}", handler
        server.shutdown()
        thread.join()


def test_a_manifest_with_another_digest_is_refused(scripted: tuple[str, type[Scripted]]) -> None:
    """Prevents: an image that was exchanged under its digest."""
    host, handler = scripted
    handler.answers = [(200, {"Content-Type": MANIFEST_TYPE}, b"{}")]
    with Registry(host) as registry, pytest.raises(RegistryDigestError, match="was expected"):
        registry.get_manifest(REPOSITORY, sha256(b"something else"))


def test_passing_failures_are_tried_again_and_others_are_not(
    scripted: tuple[str, type[Scripted]],
) -> None:
    """Prevents: a build that fails because a registry was busy for a second."""
    host, handler = scripted
    handler.answers = [(503, {}, b""), (429, {}, b""), (200, {}, b"{}"), (500, {}, b"broken")]
    waits: list[float] = []
    with Registry(host, wait=waits.append) as registry:
        assert registry.get_manifest(REPOSITORY, "one")[1] == b"{}"
        with pytest.raises(RegistryAnswerError, match="500 broken"):
            registry.get_manifest(REPOSITORY, "one")
    assert len(waits) == 2


def test_a_redirect_to_plain_http_elsewhere_is_not_followed(
    scripted: tuple[str, type[Scripted]],
) -> None:
    """Prevents: layers that come over a line that anybody can change."""
    host, handler = scripted
    handler.answers = [(307, {"Location": "http://192.0.2.1/blob"}, b"")]
    blob = Descriptor("", sha256(b""), 0)
    with Registry(host) as registry, pytest.raises(RegistryUnreachableError, match="plain HTTP"):
        registry.open_blob(REPOSITORY, blob)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("vace/comfyui:1", "names no registry"),
        ("registry.example.com/vace/comfyui", "no tag or digest"),
        ("registry.example.com/Vace/comfyui:1", "has the repository"),
        ("registry.example.com/vace/comfyui@sha256:12", "damaged tag or digest"),
        ("registry.example.com/vace/comfyui:", "damaged tag or digest"),
    ],
)
def test_an_incomplete_reference_says_what_is_missing(text: str, part: str) -> None:
    """Prevents: a default registry that nobody meant."""
    with pytest.raises(InputError, match=part):
        parse_reference(text)


def test_references_are_taken_apart() -> None:
    """Prevents: a port that is taken for a tag."""
    digest = sha256(b"")
    found = parse_reference(f"localhost:5000/a/b:t@{digest}")
    assert (found.host, found.repository, found.tag) == ("localhost:5000", "a/b", "t")
    assert str(found) == f"localhost:5000/a/b:t@{digest}"


def test_credentials_come_from_the_file_that_was_given(tmp_path: Path) -> None:
    """Prevents: a login that is not found, or a password in a message."""
    pair = base64.b64encode(b"somebody:secret:with colon").decode()
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {"https://registry.example.com": {"auth": pair}}}))
    found = find_credentials("registry.example.com", file, {})
    assert found == Credentials("somebody", "secret:with colon")
    assert "secret" not in repr(found)
    assert find_credentials("other.example.com", file, {}) is None
    with pytest.raises(InputError, match="does not exist"):
        find_credentials("registry.example.com", tmp_path / "none", {})
    file.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        find_credentials("registry.example.com", file, {})


def test_credentials_of_the_environment_go_to_the_registry_that_they_are_for(
    tmp_path: Path,
) -> None:
    """Prevents: a password that any host in a reference receives."""
    pair = {"VACE_REGISTRY_USERNAME": "somebody", "VACE_REGISTRY_PASSWORD": "secret"}
    home = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    named = {**pair, **home, "VACE_REGISTRY_HOST": "registry.example.com"}
    found = find_credentials("registry.example.com", None, named)
    assert found == Credentials("somebody", "secret")
    (tmp_path / "auth.json").write_text("{}")
    for other in (
        "other.example.com",
        "registry.example.com:444",
        "registry.example.com.evil.test",
    ):
        assert find_credentials(other, tmp_path / "auth.json", named) is None
    with pytest.raises(InputError, match="not VACE_REGISTRY_HOST") as refused:
        find_credentials("registry.example.com", None, {**pair, **home})
    assert "secret" not in str(refused.value)


def test_challenges_are_understood_with_commas_in_quotes() -> None:
    """Prevents: a scope that ends at its first comma."""
    header = 'Bearer realm="https://a/token",service="b",scope="repository:x:pull,push"'
    found = parse_challenge(header)
    assert found is not None
    assert found.parameters["scope"] == "repository:x:pull,push"
    assert parse_challenge("Negotiate abc") is None
