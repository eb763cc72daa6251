"""What the pods of a rollout say: wait, done, or failed for a reason that can be known now. Pure.

``helm --wait`` only counts ready pods and gives up after its time. Here each cause that shows
itself in a pod's status or events ends the wait at once, with what to do about it. Forms: the
objects of Kubernetes' API as JSON; ACS's condition ``ContainerInstanceCreated`` and its reasons
from "ACS pod conditions" and, for ``FeatureGetNoPermission``, from others' deployments.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from infra import rollout_causes as causes

Object = Mapping[str, Any]

UNSCHEDULABLE_SECONDS = 60
"""A claim that is still being bound, or a node that just came, passes within that."""
CRASHES = 2
"""Restarts after which a container that says nothing special is given up."""
REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True)
class Snapshot:
    """All objects of the release, as the API server lists them."""

    deployments: Sequence[Object]
    replica_sets: Sequence[Object]
    pods: Sequence[Object]
    events: Sequence[Object]


@dataclass(frozen=True)
class LogOf:
    """A log whose last lines explain a verdict; ``previous`` is that of the run before."""

    pod: str
    container: str
    previous: bool = False


@dataclass(frozen=True)
class Verdict:
    """What is to be done, in ``text`` why, and which logs belong to it."""

    state: Literal["waiting", "done", "failed"]
    text: str = ""
    logs: tuple[LogOf, ...] = ()


def judge(seen: Snapshot, now: datetime) -> Verdict:
    """Return the verdict on a rollout: failed goes before done, done before waiting."""
    for deployment in seen.deployments:
        refused = _refused(deployment)
        if refused:
            return Verdict("failed", refused)
    pods = list(_current_pods(seen))
    for pod in pods:
        failed = _pod_failure(pod, _warnings(seen.events, pod), now)
        if failed:
            return failed
    waiting = [_progress(each) for each in seen.deployments if not _complete(each)]
    if seen.deployments and not waiting:
        return Verdict("done", "all pods are ready")
    return Verdict("waiting", "; ".join(waiting) or "the release has no Deployment yet")


def give_up(seen: Snapshot, seconds: int) -> Verdict:
    """Return why the pods were not ready in time: what each unready pod said last."""
    lines, logs = [], []
    for pod in _current_pods(seen):
        name = pod["metadata"]["name"]
        for status in _statuses(pod):
            if status.get("ready") or _succeeded(status):
                continue
            logs.append(LogOf(name, status["name"], bool(status.get("restartCount"))))
            lines.append(f"{name}/{status['name']} {_state(status)}")
        if pod.get("status", {}).get("phase") == "Pending" and not _statuses(pod):
            lines.append(f"{name} is pending")
        lines += [f"{name}: {_words(event)}" for event in _warnings(seen.events, pod)[-2:]]
    if not lines:
        lines = [_progress(each) for each in seen.deployments] or ["no pod was ever made"]
    return Verdict(
        "failed",
        f"the pods were not ready within {seconds} s. Last seen: " + "; ".join(lines) + ". Read "
        "the log lines below; if it only needs longer, raise readyTimeoutSeconds and run "
        "`pulumi up` again",
        tuple(logs),
    )


def _refused(deployment: Object) -> str:
    for condition in deployment.get("status", {}).get("conditions") or []:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return causes.refused_pod(
                deployment["metadata"]["name"], str(condition.get("message", ""))
            )
    return ""


def _complete(deployment: Object) -> bool:
    status, wanted = deployment.get("status", {}), int(deployment["spec"].get("replicas", 1))
    return (
        int(status.get("observedGeneration", 0)) >= int(deployment["metadata"]["generation"])
        and int(status.get("updatedReplicas", 0)) == wanted
        and int(status.get("replicas", 0)) == wanted
        and int(status.get("availableReplicas", 0)) == wanted
    )


def _progress(deployment: Object) -> str:
    status, wanted = deployment.get("status", {}), int(deployment["spec"].get("replicas", 1))
    return (
        f"{deployment['metadata']['name']}: {status.get('updatedReplicas', 0)} of {wanted} pods "
        f"updated, {status.get('availableReplicas', 0)} available"
    )


def _current_pods(seen: Snapshot) -> Iterator[Object]:
    """Pods of each Deployment's newest template, and of Jobs; none that is being deleted."""
    newest = set()
    for deployment in seen.deployments:
        revision = (deployment["metadata"].get("annotations") or {}).get(REVISION)
        for replica_set in seen.replica_sets:
            metadata = replica_set["metadata"]
            owned = _owned(replica_set, deployment["metadata"]["name"])
            if owned and (metadata.get("annotations") or {}).get(REVISION) == revision:
                newest.add(metadata["name"])
    for pod in seen.pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        owners = pod["metadata"].get("ownerReferences") or []
        if any(owner["kind"] == "Job" or owner["name"] in newest for owner in owners):
            yield pod


def _owned(item: Object, name: str) -> bool:
    return any(owner["name"] == name for owner in item["metadata"].get("ownerReferences") or [])


def _pod_failure(pod: Object, warnings: Sequence[Object], now: datetime) -> Verdict | None:
    name = pod["metadata"]["name"]
    text = _placement_failure(pod, now) or _mount_failure(name, warnings)
    if text:
        return Verdict("failed", text)
    for status in _statuses(pod):
        found = _container_failure(pod, status, warnings)
        if found:
            return found
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):
        return Verdict("failed", causes.ended_pod(name, status["reason"], status.get("message")))
    return None


def _placement_failure(pod: Object, now: datetime) -> str:
    name = pod["metadata"]["name"]
    waited = (now - _time(pod["metadata"]["creationTimestamp"])).total_seconds()
    card = (pod["metadata"].get("labels") or {}).get(causes.CARD_LABEL, "")
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["status"] == "True":
            continue
        reason, message = str(condition.get("reason", "")), str(condition.get("message", ""))
        if condition["type"] == "ContainerInstanceCreated":
            if reason == "FailedScheduling" and waited < UNSCHEDULABLE_SECONDS:
                continue
            text = causes.acs(name, card, reason, message)
        elif condition["type"] == "PodScheduled" and reason == "Unschedulable":
            # Words of ACS's own scheduler are as final here as in its own condition.
            text = causes.acs(name, card, causes.acs_reason(message), message)
            if not text and waited >= UNSCHEDULABLE_SECONDS:
                text = causes.unschedulable(name, message)
        else:
            continue
        if text:
            return text
    return ""


def _mount_failure(name: str, warnings: Sequence[Object]) -> str:
    for event in warnings:
        if event.get("reason") == "FailedMount":
            text = causes.missing_object(name, str(event.get("message", "")))
            if text:
                return text
        if event.get("reason") in causes.ACS_REASONS:
            text = causes.acs(name, "", str(event["reason"]), str(event.get("message", "")))
            if text:
                return text
    return ""


def _container_failure(pod: Object, status: Object, warnings: Sequence[Object]) -> Verdict | None:
    name, container = pod["metadata"]["name"], str(status["name"])
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    if reason in causes.PULL_REASONS:
        pulls = [_words(event) for event in warnings if event.get("reason") == "Failed"]
        text = causes.pull(name, str(status.get("image", "")), reason, " ".join([message, *pulls]))
        return Verdict("failed", text) if text else None
    if reason in causes.CONFIG_REASONS:
        text = causes.missing_object(name, message) or causes.not_started(
            name, container, reason, message
        )
        return Verdict("failed", text)
    ended, previous = _ended(status)
    if ended is None:
        return None
    text = causes.crashed(
        name,
        container,
        code=int(ended.get("exitCode", 0)),
        reason=str(ended.get("reason", "")),
        often=int(status.get("restartCount", 0)) >= CRASHES,
        message=str(ended.get("message", "")),
    )
    return Verdict("failed", text, (LogOf(name, container, previous),)) if text else None


def _ended(status: Object) -> tuple[Mapping[str, Any] | None, bool]:
    """How a container ended that is not running now, and whether its log is the previous one."""
    state = status.get("state") or {}
    if "running" in state:
        # It runs again. What ended it before counts once it has ended again.
        return None, False
    if state.get("terminated"):
        ended = state["terminated"]
        return (ended if ended.get("exitCode") else None), False
    ended = (status.get("lastState") or {}).get("terminated")
    return (ended if ended and ended.get("exitCode") else None), True


def _statuses(pod: Object) -> list[Object]:
    status = pod.get("status", {})
    return [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]


def _succeeded(status: Object) -> bool:
    ended = (status.get("state") or {}).get("terminated")
    return bool(ended) and ended.get("exitCode") == 0  # type: ignore[union-attr]


def _state(status: Object) -> str:
    state = status.get("state") or {}
    for kind in ("waiting", "terminated"):
        if state.get(kind):
            found = state[kind]
            return f"is {kind} ({found.get('reason', '')} {found.get('message', '')})".strip()
    return "runs, but is not ready"


def _warnings(events: Sequence[Object], pod: Object) -> list[Object]:
    """A pod's warnings, oldest first."""
    name = pod["metadata"]["name"]
    mine = [
        event
        for event in events
        if event.get("type") == "Warning"
        and (event.get("involvedObject") or {}).get("name") == name
    ]
    return sorted(mine, key=_when)


def _when(event: Object) -> str:
    return str(
        event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )


def _words(event: Object) -> str:
    return f"{event.get('reason', '')}: {event.get('message', '')}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
