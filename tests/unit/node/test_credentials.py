"""The gateway's token and certificate: from the secret store into files."""

import json
import os
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.node.vace_node import credentials
from infra.node.vace_node.cloud import Metadata, ParameterStore
from infra.node.vace_node.errors import SettingsError
from infra.node.vace_node.settings import NodeFile, parse_node_file
from tests.unit.node import cloud_double
from tests.unit.node.cloud_double import Cloud

TOKEN = "kZ4v1mX8Qw2bL6nR0tY5uP7sD3fG9hJ-_aScVeBxNqM"


@cache
def identity(name: str, end: datetime | None = None) -> tuple[str, str]:
    """A certificate and its key as PEM; valid for an hour, or until `end`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(end or now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.fixture
def node(node_document: dict[str, Any]) -> NodeFile:
    """Names of the secrets."""
    return parse_node_file(json.dumps(node_document))


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A cloud that holds both secrets."""
    certificate, key = identity("one")
    with cloud_double.serving() as cloud:
        cloud.values = {
            "vace-dev-token": TOKEN,
            "vace-dev-tls": json.dumps({"certificate": certificate, "private_key": key}),
        }
        yield cloud


def fetch(cloud: Cloud, node: NodeFile) -> credentials.Credentials:
    """Fetch from the double."""
    metadata = Metadata(cloud.url)

    def keys() -> Any:
        return metadata.role_credentials()

    return credentials.fetch(ParameterStore("cn-hangzhou", keys, endpoint=cloud.url), node)


def test_secrets_become_files_for_the_gateway_only(
    cloud: Cloud, node: NodeFile, tmp_path: Path
) -> None:
    """Other users of the machine, ComfyUI among them, must not read the token."""
    folder = tmp_path / "vace"
    found = fetch(cloud, node)
    assert credentials.install(found, folder, uid=os.getuid())
    assert credentials.installed(folder) == found
    for name in (credentials.TOKEN, credentials.CERTIFICATE, credentials.KEY):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o400
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert sorted(path.name for path in folder.iterdir()) == ["tls.crt", "tls.key", "token"]


def test_only_a_change_is_reported_as_one(cloud: Cloud, node: NodeFile, tmp_path: Path) -> None:
    """The gateway is told to reload for a change, not every five minutes."""
    folder = tmp_path / "vace"
    first = fetch(cloud, node)
    credentials.install(first, folder, uid=os.getuid())
    assert not credentials.install(fetch(cloud, node), folder, uid=os.getuid())
    cloud.values["vace-dev-token"] = TOKEN[::-1]
    second = fetch(cloud, node)
    assert second.fingerprint != first.fingerprint
    assert credentials.install(second, folder, uid=os.getuid())


def test_certificate_of_another_key_changes_nothing(
    cloud: Cloud, node: NodeFile, tmp_path: Path
) -> None:
    """The gateway would not start with such a pair; the old one keeps working."""
    folder = tmp_path / "vace"
    good = fetch(cloud, node)
    credentials.install(good, folder, uid=os.getuid())
    mixed = credentials.Credentials(TOKEN, identity("two")[0], good.private_key)
    with pytest.raises(SettingsError, match="do not belong together"):
        credentials.install(mixed, folder, uid=os.getuid())
    assert credentials.installed(folder) == good


@pytest.mark.parametrize(
    ("secret", "value", "named"),
    [
        ("vace-dev-token", "short", "the token must be"),
        ("vace-dev-tls", "not json but s3cr3t", "it is not JSON"),
        ("vace-dev-tls", '{"certificate": "s3cr3t"}', "certificate is missing"),
    ],
)
def test_malformed_secret_is_described_without_its_value(
    cloud: Cloud, node: NodeFile, secret: str, value: str, named: str
) -> None:
    """The message goes to the journal and to the operator's terminal."""
    cloud.values[secret] = value
    with pytest.raises(SettingsError, match=named) as caught:
        fetch(cloud, node)
    assert secret in str(caught.value)
    assert value not in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_values_do_not_show_in_a_repr(cloud: Cloud, node: NodeFile) -> None:
    """Nor in a traceback."""
    found = fetch(cloud, node)
    assert TOKEN not in repr(found)
    assert "BEGIN" not in repr(found)


@pytest.mark.parametrize(
    "end", ["2031-05-06T07:08:09", "2049-12-31T23:59:59", "2061-02-03T04:05:06"]
)
def test_the_certificates_end_is_read(end: str) -> None:
    """From 2050 on, certificates write their times in another form."""
    wanted = datetime.fromisoformat(end).replace(tzinfo=UTC)
    assert credentials.expiry(identity("gateway", wanted)[0] + identity("ca")[0]) == wanted


def test_a_certificate_that_is_cut_off_has_no_end() -> None:
    """`status` must work on the node where everything else does not."""
    pem = identity("gateway")[0]
    short = ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(pem)[:60])
    for text in ("", pem[:200], short):
        with pytest.raises(ValueError, match=r"cut off|no certificate"):
            credentials.expiry(text)
