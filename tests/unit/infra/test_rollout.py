"""Verdicts on a rollout: each cause that a pod shows ends the wait at once, with its remedy."""

import urllib.error
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any

import pytest

from infra.dynamic import rollout as waiting
from infra.rollout import REVISION, Snapshot, judge

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
POD = "vace-comfyui-6d5f-x7k2p"


def deployment(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "vace-comfyui", "generation": 2, "annotations": {REVISION: "2"}},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, **status},
    }


def replica_set(name: str, revision: str) -> dict[str, Any]:
    owner = {"kind": "Deployment", "name": "vace-comfyui"}
    return {
        "metadata": {
            "name": name,
            "annotations": {REVISION: revision},
            "ownerReferences": [owner],
        }
    }


def pod(
    *, owner: str = "vace-comfyui-6d5f", age: int = 10, status: dict[str, Any], **metadata: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": POD,
            "creationTimestamp": (NOW - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "labels": {"alibabacloud.com/gpu-model-series": "L20"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": owner}],
            **metadata,
        },
        "status": {"phase": "Pending", **status},
    }


def container(**state: Any) -> dict[str, Any]:
    base = {
        "name": "comfyui",
        "ready": False,
        "restartCount": 0,
        "image": "registry.example.com/vace/comfyui@sha256:ab",
    }
    return {"containerStatuses": [{**base, **state}]}


def event(reason: str, message: str, kind: str = "Warning") -> dict[str, Any]:
    return {
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": "2026-11-24T11:59:58Z",
        "metadata": {},
        "involvedObject": {"kind": "Pod", "name": POD},
    }


def snapshot(*pods: Any, events: Any = (), **status: Any) -> Snapshot:
    sets = [replica_set("vace-comfyui-5b4c", "1"), replica_set("vace-comfyui-6d5f", "2")]
    return Snapshot([deployment(**status)], sets, pods, list(events))


def condition(kind: str, reason: str, message: str = "") -> dict[str, Any]:
    item = {"type": kind, "status": "False", "reason": reason, "message": message}
    return {"conditions": [item]}


def terminated(code: int, reason: str = "Error") -> dict[str, Any]:
    return {
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
        "lastState": {"terminated": {"exitCode": code, "reason": reason}},
    }


FAILURES = {
    "out of stock": (
        pod(status=condition("ContainerInstanceCreated", "NoStock", "no stock for L20")),
        (),
        "has the GPU card L20 not in stock",
    ),
    "out of stock, in the scheduler's words": (
        pod(status=condition("PodScheduled", "Unschedulable", "NoStock: cn-hangzhou-b")),
        (),
        "not in stock",
    ),
    "not on the card's whitelist": (
        pod(status=condition("ContainerInstanceCreated", "FeatureGetNoPermission")),
        (),
        "not on the list of those that may use the GPU card L20",
    ),
    "quota of disks": (
        pod(status=condition("ContainerInstanceCreated", "DiskCapacityQuotaFull")),
        (),
        "lower storageGiB",
    ),
    "no node": (
        pod(
            age=61, status=condition("PodScheduled", "Unschedulable", "Insufficient nvidia.com/gpu")
        ),
        (),
        "no node takes it",
    ),
    "wrong digest": (
        pod(
            status=container(
                state={"waiting": {"reason": "ErrImagePull", "message": "manifest unknown: x"}}
            )
        ),
        (),
        "no image with this digest",
    ),
    "pull refused, told by the event": (
        pod(
            status=container(
                state={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}}
            )
        ),
        (event("Failed", 'Failed to pull image "x": 401 Unauthorized'),),
        "registry refused it; set registryHost",
    ),
    "no way to the registry": (
        pod(
            status=container(
                state={
                    "waiting": {"reason": "ImagePullBackOff", "message": "dial tcp: i/o timeout"}
                }
            )
        ),
        (),
        "set natGateway to true",
    ),
    "token Secret missing, as a volume": (
        pod(status=container(state={"waiting": {"reason": "ContainerCreating"}})),
        (
            event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "token" : secret "vace-token" not found',
            ),
        ),
        "the Secret vace-token that it needs does not exist",
    ),
    "Secret missing, as a variable": (
        pod(
            status=container(
                state={
                    "waiting": {
                        "reason": "CreateContainerConfigError",
                        "message": 'secret "vace-token" not found',
                    }
                }
            )
        ),
        (),
        "the Secret vace-token",
    ),
    "weights differ": (
        pod(status=container(restartCount=1, **terminated(65))),
        (),
        "the weights differ from what the image's manifest says",
    ),
    "no GPU": (
        pod(status=container(restartCount=1, **terminated(66))),
        (),
        "set gpuCard and gpuDriverVersion",
    ),
    "out of memory": (
        pod(status=container(restartCount=1, **terminated(137, "OOMKilled"))),
        (),
        "raise podMemoryGiB",
    ),
    "crashes again and again": (
        pod(status=container(restartCount=2, **terminated(1))),
        (),
        "ends again and again with status 1",
    ),
    "evicted": (
        pod(status={"phase": "Failed", "reason": "Evicted", "message": "ephemeral-storage"}),
        (),
        "raise podEphemeralGiB",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_cause_that_can_be_known_ends_the_wait_at_once(name: str) -> None:
    """Prevents a ten-minute timeout for something that the first second showed."""
    item, events, words = FAILURES[name]
    verdict = judge(snapshot(item, events=events), NOW)
    assert verdict.state == "failed"
    assert words in verdict.text


PASSING = {
    "being made": condition("ContainerInstanceCreated", "Creating"),
    "throttled": condition("ContainerInstanceCreated", "Throttling"),
    "claim not bound yet": condition("PodScheduled", "Unschedulable", "unbound claims"),
    "scheduling fails for a moment": condition("ContainerInstanceCreated", "FailedScheduling"),
    "first failure to connect": container(
        state={"waiting": {"reason": "ErrImagePull", "message": "connection reset"}}
    ),
    "one crash": container(restartCount=1, **terminated(1)),
    "runs, not ready": container(state={"running": {}}),
    "runs again after a refused start": container(
        state={"running": {}}, lastState={"terminated": {"exitCode": 66}}, restartCount=1
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_waited_for(name: str) -> None:
    assert judge(snapshot(pod(status=PASSING[name])), NOW).state == "waiting"


def test_a_pod_that_the_clusters_rules_refuse_is_told_with_the_rule() -> None:
    """No pod exists then: only the Deployment's condition says why."""
    refused = {
        "type": "ReplicaFailure",
        "status": "True",
        "message": 'ValidatingAdmissionPolicy "acs-gpu-count" denied request: GPUs must be 1, 2…',
    }
    verdict = judge(snapshot(conditions=[refused]), NOW)
    assert verdict.state == "failed"
    assert "acs-gpu-count" in verdict.text


def test_failures_of_the_old_template_and_of_pods_that_go_do_not_count() -> None:
    """Prevents a repaired release from failing for the pods that it replaces."""
    crash = container(restartCount=5, **terminated(65))
    old = pod(owner="vace-comfyui-5b4c", status=crash)
    going = pod(status=crash, deletionTimestamp="2026-11-24T11:59:00Z")
    assert judge(snapshot(old, going), NOW).state == "waiting"


def test_done_means_updated_available_and_no_old_pod_left() -> None:
    assert judge(snapshot(availableReplicas=1), NOW).state == "done"
    assert judge(snapshot(availableReplicas=1, replicas=2), NOW).state == "waiting"
    assert judge(snapshot(availableReplicas=1, observedGeneration=1), NOW).state == "waiting"
    assert judge(Snapshot([], [], [], []), NOW).state == "waiting"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


class Api:
    """Answers with snapshots in turn, the last for ever; what is an error is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.logs: list[dict[str, str]] = []

    def get(self, path: str, **_query: str) -> dict[str, Any]:
        seen = self.answers[0]
        if isinstance(seen, Exception):
            self.answers.pop(0)
            raise seen
        if path.endswith("/events"):
            if len(self.answers) > 1:
                self.answers.pop(0)
            return {"items": list(seen.events)}
        items = {
            "deployments": seen.deployments,
            "replicasets": seen.replica_sets,
            "pods": seen.pods,
        }
        return {"items": list(items[path.rsplit("/", 1)[1]])}

    def text(self, path: str, **query: str) -> str:
        self.logs.append(query)
        return f"last words of {path.split('/')[-2]}"


def run(api: Api, seconds: int = 60) -> Clock:
    clock = Clock()
    waiting.wait(api, "ns", "vace", seconds, clock=clock, pause=clock.pause, now=lambda: NOW)
    return clock


def test_an_api_server_that_is_away_for_a_moment_is_waited_for() -> None:
    waits = snapshot(pod(status=PASSING["being made"]))
    clock = run(Api(waits, ConnectionResetError("cut"), snapshot(availableReplicas=1)))
    assert clock.now == 2 * waiting.POLL_SECONDS


def test_a_failure_shows_the_last_lines_of_the_run_that_failed() -> None:
    api = Api(snapshot(FAILURES["weights differ"][0]))
    with pytest.raises(waiting.RolloutError, match="last words of vace-comfyui") as caught:
        run(api)
    assert "`pulumi destroy`" in str(caught.value)
    assert api.logs[0]["previous"] == "true"


def test_a_pod_that_never_gets_ready_shows_its_probe_and_its_log() -> None:
    probe = event("Unhealthy", "Readiness probe failed: the nodes WanVaceToVideo are missing")
    seen = snapshot(pod(status=PASSING["runs, not ready"]), events=[probe])
    with pytest.raises(waiting.RolloutError, match="not ready within 60 s") as caught:
        run(Api(seen))
    assert "WanVaceToVideo" in str(caught.value)
    assert "last words" in str(caught.value)


def test_missing_rights_in_the_cluster_are_told_at_once() -> None:
    denied = urllib.error.HTTPError("https://x", 403, "Forbidden", Message(), None)
    with pytest.raises(waiting.RolloutError, match="RBAC role"):
        run(Api(denied))
