"""Every preset, rendered by the real helm and read object by object."""

from typing import Any

import pytest

from tests.chart.helm import DIGEST, render

pytestmark = pytest.mark.engine

SERIES = "alibabacloud.com/gpu-model-series"
OWN_LABELS = {
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
}
PRESETS: dict[str, dict[str, Any]] = {
    "acs-l20": {
        "card": "L20",
        "gpus": "1",
        "cpu": "8",
        "memory": "64Gi",
        "service": "LoadBalancer",
    },
    "acs-a10": {
        "card": "A10",
        "gpus": "1",
        "cpu": "16",
        "memory": "60Gi",
        "service": "LoadBalancer",
    },
    "acs-h20": {
        "card": "GU8TF",
        "gpus": "1",
        "cpu": "10",
        "memory": "80Gi",
        "service": "LoadBalancer",
    },
    "generic": {"card": None, "gpus": "1", "cpu": "8", "memory": "32Gi", "service": "ClusterIP"},
    "rehearsal": {
        "card": None,
        "gpus": None,
        "cpu": "500m",
        "memory": "1Gi",
        "service": "ClusterIP",
    },
}
EVERYTHING: dict[str, Any] = {
    "images": {"smoke": {"repository": "registry.example.com/vace/smoke", "digest": DIGEST}},
    "weights": {"source": "claim"},
    "persistence": {"models": {"size": "30Gi"}},
    "metrics": {"enabled": True, "serviceMonitor": {"enabled": True}},
    "serviceAccount": {"create": True},
}


def pods(objects: list[dict[str, Any]]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Metadata and spec of every pod that the objects make, by the object's name."""
    found = {}
    for each in objects:
        if each["kind"] == "Pod":
            found[each["metadata"]["name"]] = (each["metadata"], each["spec"])
        elif "template" in each.get("spec", {}):
            template = each["spec"]["template"]
            found[each["metadata"]["name"]] = (template["metadata"], template["spec"])
    return found


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The object of that kind and name."""
    (found,) = (o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)
    return found


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_asks_for_its_card_and_size(preset: str) -> None:
    """Prevents a pod that asks for another card than the file's name says."""
    expected = PRESETS[preset]
    objects = render({}, preset)
    metadata, spec = pods(objects)["demo-comfyui-vace-comfyui"]
    (container,) = spec["containers"]
    limits = container["resources"]["limits"]
    assert metadata["labels"].get(SERIES) == expected["card"]
    assert limits.get("nvidia.com/gpu") == expected["gpus"]
    assert (limits["cpu"], limits["memory"]) == (expected["cpu"], expected["memory"])
    service = one(objects, "Service", "demo-comfyui-vace")["spec"]
    assert service["type"] == expected["service"]
    assert service["ports"] == [
        {"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP"}
    ]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_pod_of_a_preset_is_locked_down(preset: str) -> None:
    """Prevents one forgotten pod with root, a token, or more than it asked for."""
    objects = render(EVERYTHING, preset)
    for name, (metadata, spec) in pods(objects).items():
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "nodeName"} & set(spec), name
        assert all("hostPath" not in volume for volume in spec.get("volumes", [])), name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            resources = container["resources"]
            assert resources["requests"] == resources["limits"], f"{name} is not Guaranteed"
            assert {"cpu", "memory", "ephemeral-storage"} <= set(resources["limits"]), name
            assert container["image"].endswith(f"@{DIGEST}"), name
        if preset.startswith("acs-"):
            agent = "alibabacloud.com/enable-network-policy-agent"
            assert metadata["annotations"][agent] == "true", name
            assert "alibabacloud.com/compute-class" in metadata["labels"], name


@pytest.mark.parametrize("preset", PRESETS)
def test_selectors_hold_nothing_that_acs_rewrites(preset: str) -> None:
    """Prevents pods that are made again and again because their labels were changed."""
    for each in render(EVERYTHING, preset):
        if each["kind"] in ("Deployment", "PodDisruptionBudget"):
            assert set(each["spec"]["selector"]["matchLabels"]) == OWN_LABELS
        assert each["kind"] not in ("DaemonSet", "StatefulSet", "ClusterRole", "Role")


def test_only_the_gateway_gets_to_comfyui() -> None:
    """Prevents a second way to a program that asks nobody for a token."""
    objects = render({})
    policy = one(objects, "NetworkPolicy", "demo-comfyui-vace-comfyui")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []
    (rule,) = policy["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    gateway, _ = pods(objects)["demo-comfyui-vace-gateway"]
    assert peer["podSelector"]["matchLabels"].items() <= gateway["labels"].items()
    way_out = one(objects, "NetworkPolicy", "demo-comfyui-vace-gateway")["spec"]["egress"]
    comfyui, _ = pods(objects)["demo-comfyui-vace-comfyui"]
    assert way_out[0]["to"][0]["podSelector"]["matchLabels"].items() <= comfyui["labels"].items()


def test_a_pod_is_given_more_time_than_its_longest_video() -> None:
    """Prevents a drain that Kubernetes cuts off."""
    objects = render({"drain": {"seconds": 7200}})
    deployment = one(objects, "Deployment", "demo-comfyui-vace-comfyui")["spec"]
    assert deployment["strategy"] == {"type": "Recreate"}
    spec = deployment["template"]["spec"]
    (container,) = spec["containers"]
    drain = {each["name"]: each["value"] for each in container["env"]}["VACE_DRAIN_SECONDS"]
    assert drain == "7200"
    assert spec["terminationGracePeriodSeconds"] == 7260
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["vace-comfyui", "drain"]
    service = one(objects, "Service", "demo-comfyui-vace-comfyui")["spec"]
    assert service["publishNotReadyAddresses"] is True, "a draining pod could not be asked"


def test_probes_ask_comfyui_for_a_video_and_the_gateway_for_itself() -> None:
    """Prevents a gateway that disappears exactly when clients need its sentence."""
    found = pods(render({"startup": {"timeoutSeconds": 600}}))
    comfyui = found["demo-comfyui-vace-comfyui"][1]["containers"][0]
    assert comfyui["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "status"}
    assert comfyui["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "status"}
    startup = comfyui["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] >= 600
    gateway = found["demo-comfyui-vace-gateway"][1]["containers"][0]
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/healthz"


def test_named_secrets_are_used_and_none_is_made() -> None:
    """Prevents a second token beside the one that somebody manages."""
    objects = render({"auth": {"existingSecret": "mine"}, "tls": {"existingSecret": "cert"}})
    assert not [each for each in objects if each["kind"] == "Secret"]
    gateway = pods(objects)["demo-comfyui-vace-gateway"][1]
    sources = next(v for v in gateway["volumes"] if v["name"] == "credentials")["projected"]
    assert [each["secret"]["name"] for each in sources["sources"]] == ["mine", "cert"]


def test_a_made_token_is_long_and_new_each_time() -> None:
    """Prevents a token that is the same for everybody."""
    tokens = {
        one(render({}), "Secret", "demo-comfyui-vace-token")["data"]["token"] for _ in range(2)
    }
    assert len(tokens) == 2
    assert all(len(token) >= 56 for token in tokens)


def test_the_weights_job_and_the_claim_belong_together() -> None:
    """Prevents a ComfyUI that looks for its models where nobody puts them."""
    objects = render({"weights": {"source": "claim"}, "persistence": {"models": {"size": "30Gi"}}})
    (job,) = (each for each in objects if each["kind"] == "Job")
    spec = job["spec"]["template"]["spec"]
    claim = {"persistentVolumeClaim": {"claimName": "demo-comfyui-vace-models"}}
    assert {"name": "models", **claim} in spec["volumes"]
    comfyui = pods(objects)["demo-comfyui-vace-comfyui"][1]
    assert {"name": "models", **claim} in comfyui["volumes"]
    mounts = {each["name"]: each for each in comfyui["containers"][0]["volumeMounts"]}
    assert mounts["models"] == {"name": "models", "mountPath": "/opt/models", "readOnly": True}
    other = render(
        {
            "weights": {"source": "claim", "sources": ["modelscope"]},
            "persistence": {"models": {"size": "30Gi"}},
        }
    )
    names = {each["metadata"]["name"] for each in (*objects, *other) if each["kind"] == "Job"}
    assert len(names) == 2, "a Job cannot be changed, so another one needs another name"


def test_a_pod_of_comfyui_is_not_replaced_by_a_new_chart_version_alone() -> None:
    """Prevents an upgrade that interrupts videos for a changed comment."""
    metadata, _ = pods(render({}))["demo-comfyui-vace-comfyui"]
    assert "helm.sh/chart" not in metadata["labels"]
