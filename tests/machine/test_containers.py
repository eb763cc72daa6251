"""Containers inside a machine: pulled by digest over TLS, with the node's restrictions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rehearsal.artifacts import REGISTRY_HOST, Artifacts
from rehearsal.artifacts.images import ImageSource
from tests.machine.conftest import Cloud, fetch, wait_until

pytestmark = [pytest.mark.machine, pytest.mark.timeout(400)]

CONTAINERFILE = """\
ARG BASE
FROM ${BASE}
COPY page/ /srv/
USER 10002:10002
WORKDIR /srv
ENTRYPOINT ["/usr/bin/python3", "-m", "http.server", "443"]
"""
QUADLET = """\
[Unit]
Description=page
[Container]
Image={reference}
ContainerName=page
Network=host
ReadOnly=true
DropCapability=all
AddCapability=NET_BIND_SERVICE
NoNewPrivileges=true
PidsLimit=64
Ulimit=nofile=1048576:1048576
Tmpfs=/tmp
PodmanArgs=--memory=512m --cpus=1
[Service]
Restart=always
OOMScoreAdjust=-500
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small image that was built, and published in the registry's storage."""
    repository = tmp_path_factory.mktemp("repository")
    (repository / "page").mkdir()
    (repository / "page" / "index.html").write_text("from a container")
    (repository / "Containerfile").write_text(CONTAINERFILE)
    source = ImageSource(containerfile="Containerfile", lock=None, sources={"page": "page"})
    artifacts = Artifacts(repository=repository, images={"test-page": source})
    image = artifacts.image("test-page")
    assert image.reference.startswith(f"{REGISTRY_HOST}/vace/test-page@sha256:")
    for entry in artifacts.cache.entries():
        if entry.name == "image-test-page":
            # Published blobs stay; a test leaves no artifact of its own in the user's cache.
            artifacts.cache.remove(entry)
    return image.reference


def test_quadlet_pulls_by_digest_and_serves_on_443_without_root(
    cloud: Cloud, reference: str
) -> None:
    """The whole chain that the node depends on: registry, trust, runc, capabilities, cgroups."""
    hypervisor: Any = cloud.hypervisor
    spec = cloud.boot(20)
    address = hypervisor.public_addresses[1]
    hypervisor.associate_address(spec.instance_id, address)
    hypervisor.apply_rules(spec.instance_id, [_https()])
    unit = QUADLET.format(reference=reference)
    path = "/etc/containers/systemd/page.container"
    cloud.output(
        spec,
        f"mkdir -p /etc/containers/systemd && cat > {path} <<'END'\n{unit}END\n"
        "systemctl daemon-reload && systemctl start page.service",
    )
    wait_until(
        "the container answers",
        lambda: fetch(f"http://{address}:443/index.html") == "from a container",
        60,
    )
    shown = json.loads(cloud.output(spec, "podman inspect page"))[0]
    assert shown["ImageDigest"] == reference.partition("@")[2]
    script = "podman exec page id -u; podman exec page touch /srv/x 2>&1 || true"
    uid, refusal = cloud.output(spec, script).splitlines()[:2]
    assert uid == "10002"
    assert "Read-only file system" in refusal
    hypervisor.reboot(spec.instance_id, force=True)
    wait_until("the container starts with the machine", lambda: fetch(f"http://{address}:443/"), 60)
    hypervisor.destroy(spec.instance_id)


def _https() -> Any:
    from rehearsal.cloud.hypervisor import FirewallRule  # noqa: PLC0415

    return FirewallRule("ingress", "tcp", 443, 443, "0.0.0.0/0", "accept", 1)
