"""Containers inside a machine: pulled by digest over TLS, with the node's restrictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from images.builder.base import resolve_base
from images.builder.cache import remove_tree
from images.builder.engines import BuildJob, choose_engine
from images.builder.oci import LayoutSource, load_image
from images.builder.progress import ProgressCallback
from images.builder.report import BuiltImage
from images.lock import load
from rehearsal.artifacts import REGISTRY_HOST, Artifacts
from rehearsal.artifacts.cache import Cache
from rehearsal.images.base import make_base
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
    context = tmp_path_factory.mktemp("context")
    (context / "page").mkdir()
    (context / "page" / "index.html").write_text("from a container")
    (context / "Containerfile").write_text(CONTAINERFILE)
    layout = context / "oci"

    def build_page(cache: Path, progress: ProgressCallback) -> BuiltImage:
        store = Cache(cache)
        base = resolve_base(f"rootfs:{make_base(store, (), progress)}", load(), store, progress)
        assert base.layout is not None
        engine = choose_engine("buildah", cache / "images")
        job = BuildJob("building a page", context, layout, layouts={"BASE": base.layout})
        with store.locked("engine-buildah", "building a page", progress):
            engine.build(job, context / "log")
        image = load_image(LayoutSource(layout))
        return BuiltImage("page", "", layout, image.digest, image.size, (), (), False, 0.0)

    artifacts = Artifacts(images={"test-page": build_page})
    image = artifacts.image("test-page")
    assert image.reference.startswith(f"{REGISTRY_HOST}/vace/test-page@sha256:")
    # Published blobs stay; the layout has had its use.
    remove_tree(layout)
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
