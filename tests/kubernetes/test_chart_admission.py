"""A real API server, with ACS's rules, takes every object of every preset of the chart."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart.helm import DIGEST, render
from tests.kubernetes.apiserver import Apiserver, running

pytestmark = pytest.mark.engine

PRESETS = ("acs-l20", "acs-a10", "acs-h20", "generic", "rehearsal")
OWN_KINDS = {"ServiceMonitor", "Certificate"}
"""Kinds of other projects, whose definitions are not in a bare cluster."""
EVERYTHING: dict[str, Any] = {
    "images": {"smoke": {"repository": "registry.example.com/vace/smoke", "digest": DIGEST}},
    "weights": {"source": "claim", "sources": ["modelscope"]},
    "persistence": {"models": {"size": "30Gi"}, "output": {"size": "20Gi"}},
    "metrics": {"enabled": True},
    "serviceAccount": {"create": True},
    "networkPolicy": {"allowedCidrs": ["192.0.2.0/24"], "healthCheckCidrs": ["100.64.0.0/10"]},
}


@pytest.fixture(scope="module")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apiserver]:
    forbidden = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "probe"},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    }
    folder = tmp_path_factory.mktemp("apiserver")
    with running(folder, lambda server: server.create(forbidden)[0] == 422) as server:
        yield server


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_api_server_takes_every_object(
    apiserver: Apiserver, preset: str, values: dict[str, Any]
) -> None:
    """Prevents objects that look right in a file and that Kubernetes or ACS refuses."""
    objects = render(values, preset)
    # A pod that a Deployment makes is looked at when it is made, so it is shown here by itself.
    for each in list(objects):
        template = each.get("spec", {}).get("template")
        if template:
            metadata = {**template["metadata"], "name": each["metadata"]["name"]}
            spec = {**template["spec"]}
            objects.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    for each in objects:
        if each["kind"] in OWN_KINDS:
            continue
        each["metadata"].pop("namespace", None)
        status, message = apiserver.create(each)
        if preset == "generic" and each["kind"] == "Pod" and "nvidia.com/gpu" in str(each["spec"]):
            # Made for other clusters: ACS gives no card to a pod that does not name one.
            assert status == 422
            assert "compute-class" in message
            continue
        assert status == 201, f"{each['kind']} {each['metadata']['name']}: {message}"


def test_an_ingress_is_taken(apiserver: Apiserver) -> None:
    """Prevents an Ingress that only a template engine likes."""
    for each in render({"ingress": {"enabled": True, "host": "video.example.com"}}):
        if each["kind"] == "Ingress":
            status, message = apiserver.create(each)
            assert status == 201, message
