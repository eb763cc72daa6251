"""The rehearsal's cluster refuses what ACS refuses, with a sentence that says what to do.

Runs a real kube-apiserver and etcd on free loopback ports: CEL is only understood by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubernetes.apiserver import Apiserver, running

ACS = "alibabacloud.com/"


@pytest.fixture(scope="module")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apiserver]:
    def enforced(server: Apiserver) -> bool:
        return all(server.create(thing)[0] == 422 for _, thing, _ in PROBES)

    with running(tmp_path_factory.mktemp("apiserver"), enforced) as server:
        yield server


def pod(labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "registry.vace.internal/x", **spec.pop("container", {})}
    annotations = spec.pop("annotations", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "labels": {ACS + key: value for key, value in (labels or {}).items()},
            "annotations": annotations,
        },
        "spec": {"containers": [container], **spec},
    }


def card(
    series: str = "L20",
    count: str = "1",
    *,
    resource: str = "nvidia.com/gpu",
    compute_class: str = "gpu",
    requests: dict[str, str] | None = None,
    qos: str = "default",
    **more: Any,
) -> dict[str, Any]:
    limits = {"cpu": "8", "memory": "64Gi", "ephemeral-storage": "60Gi", resource: count}
    limits.update(more.pop("limits", {}))
    resources = {"limits": limits, "requests": {**limits, **(requests or {})}}
    return pod(
        {"compute-class": compute_class, "compute-qos": qos, "gpu-model-series": series},
        container={"resources": resources, **more.pop("container", {})},
        **more,
    )


def service(kind: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"type": kind, "ports": [{"port": 80}], "selector": {"app": "a"}},
    }


def workload(kind: str, extra: dict[str, str], image: str = "x") -> dict[str, Any]:
    labels = {"app": "a", **extra}
    thing: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "w"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    }
    if kind == "StatefulSet":
        thing["spec"]["serviceName"] = "s"
    return thing


def ports(number: int) -> dict[str, Any]:
    return pod(container={"ports": [{"containerPort": number}]})


def env(name: str) -> dict[str, Any]:
    return card(container={"env": [{"name": name, "value": "1"}]})


HOST_PATH = {"name": "etc", "hostPath": {"path": "/etc"}}
VENDORS = {ACS + "cpu-vendors": "intel"}
ACS_LABELS = ("compute-class", "compute-qos", "gpu-model-series", "gpu-driver-version")

PROBES = [
    ("NodePort", service("NodePort"), "use type LoadBalancer"),
    ("DaemonSet", workload("DaemonSet", {}), "use a sidecar container"),
    ("selector", workload("Deployment", {ACS + "compute-qos": "default"}), "template.metadata"),
    ("hostPath", pod(volumes=[HOST_PATH]), "volumes etc; ACS allows emptyDir"),
    ("three cards", card(count="3"), "asks for 3 cards of L20; allowed are 1, 2, 4, 8"),
]
REFUSED = [
    *PROBES,
    ("hostNetwork", pod(hostNetwork=True), "sets hostNetwork to true; only false is allowed"),
    ("hostPID", pod(hostPID=True), "sets hostPID to true; only false is allowed"),
    ("hostIPC", pod(hostIPC=True), "sets hostIPC to true; only false is allowed"),
    (
        "privileged",
        pod(container={"securityContext": {"privileged": True}}),
        "privileged containers main; ACS allows unprivileged ones",
    ),
    (
        "privileged init container",
        pod(
            initContainers=[
                {"name": "first", "image": "x", "securityContext": {"privileged": True}}
            ]
        ),
        "privileged containers first; ACS allows unprivileged ones",
    ),
    (
        "dnsPolicy",
        pod(dnsPolicy="ClusterFirstWithHostNet"),
        "dnsPolicy ClusterFirstWithHostNet; ACS allows None, Default and ClusterFirst",
    ),
    *(
        (f"port {number}", ports(number), "every containerPort but 111, 10250 and 10255")
        for number in (111, 10250, 10255)
    ),
    ("class", pod({"compute-class": "fast"}), "compute-class fast; allowed are general-purpose"),
    ("qos", pod({"compute-qos": "spot"}), "compute-qos spot with class general-purpose"),
    (
        "best-effort gpu-hpn",
        card(compute_class="gpu-hpn", qos="best-effort"),
        "compute-qos best-effort with class gpu-hpn",
    ),
    ("cpu-vendors", card(annotations=VENDORS), "cpu-vendors with compute-class gpu"),
    ("card without class", card(compute_class="performance"), "set the pod label"),
    ("half an L20X", card("L20X", "4"), "asks for 4 cards of L20X; allowed are 8"),
    ("no card in a card pod", card(count="0"), "asks for 0 cards of L20; allowed are 1, 2, 4, 8"),
    ("less requested", card(requests={"cpu": "4"}), "differ from limits in containers main"),
    ("env with a space", env("A B"), "environment variables A B; with a card names may hold"),
    ("env with a digit first", env("1A"), "environment variables 1A; with a card names may hold"),
    ("too many vCPU", card("A10", limits={"cpu": "24"}), "with one A10; allowed are up to 16 vCPU"),
    ("too much memory", card("T4", limits={"memory": "91Gi"}), "up to 24 vCPU and 90 GiB"),
    ("too much disk", card(limits={"ephemeral-storage": "257Gi"}), "256 GiB, because the card"),
    ("PPU by NVIDIA's name", card("PPU810E"), "allowed is alibabacloud.com/ppu"),
    (
        "NVIDIA by the PPU's name",
        card("H20", resource=ACS + "ppu"),
        "wrong resource for card H20; allowed is nvidia.com/gpu",
    ),
    (
        "device plugin",
        workload("DaemonSet", {}, "nvcr.io/nvidia/k8s-device-plugin:v0.17"),
        "installs an NVIDIA device plugin or driver",
    ),
    *(
        (f"{kind} {label}", workload(kind, {ACS + label: "x"}), f"selects its pods by {ACS}{label}")
        for kind in ("Deployment", "StatefulSet", "ReplicaSet")
        for label in ACS_LABELS
    ),
]
ACCEPTED = [
    ("ClusterIP", service("ClusterIP")),
    ("LoadBalancer", service("LoadBalancer")),
    ("Deployment", workload("Deployment", {})),
    ("StatefulSet", workload("StatefulSet", {})),
    ("ReplicaSet", workload("ReplicaSet", {})),
    ("emptyDir", pod(volumes=[{"name": "shm", "emptyDir": {"medium": "Memory"}}])),
    ("claim", pod(volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}])),
    ("hostNetwork false", pod(hostNetwork=False, hostPID=False, hostIPC=False)),
    ("unprivileged", pod(container={"securityContext": {"privileged": False}})),
    ("dnsPolicy Default", pod(dnsPolicy="Default")),
    ("dnsPolicy None", pod(dnsPolicy="None", dnsConfig={"nameservers": ["10.0.0.2"]})),
    ("port 8188", ports(8188)),
    ("class performance", pod({"compute-class": "performance", "compute-qos": "best-effort"})),
    ("cpu-vendors without a card", pod(annotations=VENDORS)),
    ("one L20", card()),
    ("eight L20X", card("L20X", "8", limits={"cpu": "184", "memory": "1800Gi"})),
    ("largest T4", card("T4", limits={"cpu": "24", "memory": "90Gi"})),
    ("unlisted card", card("G28Ti", limits={"cpu": "64", "memory": "500Gi"})),
    ("PPU", card("PPU810E", resource=ACS + "ppu")),
    ("gpu-hpn", card("H20", compute_class="gpu-hpn")),
    ("equal in other units", card(requests={"cpu": "8000m", "memory": "65536Mi"})),
    ("smallest size", pod({"compute-class": "gpu", "gpu-model-series": "L20"})),
    ("env with dots", env("_a.b-C9")),
    ("env with a space, no card", pod(container={"env": [{"name": "A B", "value": "1"}]})),
]


@pytest.mark.machine
@pytest.mark.parametrize(
    ("thing", "sentence"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_what_acs_refuses_is_refused_with_a_sentence(
    apiserver: Apiserver, thing: dict[str, Any], sentence: str
) -> None:
    """Prevents a chart that works in the rehearsal and is refused by the real service."""
    status, message = apiserver.create(thing)
    assert (status, sentence in message) == (422, True), message


@pytest.mark.machine
@pytest.mark.parametrize("thing", [a[1] for a in ACCEPTED], ids=[a[0] for a in ACCEPTED])
def test_what_acs_runs_is_accepted(apiserver: Apiserver, thing: dict[str, Any]) -> None:
    """Prevents rules so wide that a chart which works on ACS fails in the rehearsal."""
    assert apiserver.create(thing) == (201, "")


@pytest.mark.machine
def test_kube_system_is_excepted(apiserver: Apiserver) -> None:
    """Prevents the cluster's own pods from being refused by the rules for its users."""
    assert apiserver.create(pod(volumes=[HOST_PATH], hostNetwork=True), "kube-system")[0] == 201
