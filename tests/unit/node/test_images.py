"""Registry login, reasons of failed pulls, and which images may go."""

import json
from typing import Any

import pytest

from infra.node.vace_node.errors import NodeError, SettingsError
from infra.node.vace_node.images import auth_document, hint, obsolete
from infra.node.vace_node.packages import check_podman


def test_login_becomes_podmans_auth_file() -> None:
    """The form that `podman login` writes."""
    secret = json.dumps({"r.example.com": {"username": "u", "password": "p:w"}})
    assert json.loads(auth_document(secret, "x")) == {
        "auths": {"r.example.com": {"auth": "dTpwOnc="}}
    }


@pytest.mark.parametrize(
    "secret",
    ["", "[]", "{}", '{"r.example.com": {"username": "u"}}', '{"r.example.com": "s3cr3t"}'],
)
def test_malformed_login_is_described_without_its_value(secret: str) -> None:
    """The message goes to logs."""
    with pytest.raises(SettingsError) as caught:
        auth_document(secret, "the secret parameter vace-dev-registry")
    assert "vace-dev-registry" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("Error: ... 401 Unauthorized: authentication required", "login"),
        ("pinging container registry x: dial tcp: lookup x: no such host", "VPC"),
        ("manifest unknown: manifest unknown", "pushed"),
        ("write /var/tmp/x: no space left on device", "system disk"),
        ("tls: failed to verify certificate: x509: signed by unknown authority", "trusted"),
    ],
)
def test_failed_pull_says_what_to_do(output: str, advice: str) -> None:
    """podman's words name the symptom; the operator needs the cause."""
    assert advice in hint(output)


def test_images_in_use_or_wanted_are_kept() -> None:
    """Removing the image of a container that is being restarted would stop it for good."""
    rows: list[dict[str, Any]] = [
        {"Id": "new", "Containers": 0},
        {"Id": "used", "Containers": 1},
        {"Id": "old"},
        {"Id": "old"},
    ]
    assert obsolete(rows, {"new"}) == ["old"]


@pytest.mark.parametrize("line", ["podman version 4.9.3", "podman version 5.4.2\n"])
def test_recent_podman_will_do(line: str) -> None:
    """Ubuntu 24.04 has 4.9, Debian 13 has 5.4."""
    assert check_podman(line) in line


@pytest.mark.parametrize("line", ["podman version 3.4.4", "podman version 4.4.1", ""])
def test_old_podman_is_refused_with_the_remedy(line: str) -> None:
    """Without quadlet, the units would simply not exist."""
    with pytest.raises(NodeError, match="newer image family"):
        check_podman(line)
