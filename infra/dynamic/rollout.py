"""Rollout: exists when the pods of the release are ready; fails as soon as it is known they won't.

Helm itself is told not to wait: it knows only a time limit. This resource comes after the release,
is replaced whenever the release's values change, and ends with the cause, the remedy and the last
lines of the pod's log. See :mod:`infra.rollout`.
"""

import time
import urllib.error
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

from infra import cluster_access, openapi
from infra.kubernetes_api import KubernetesApi
from infra.rollout import LogOf, Snapshot, Verdict, give_up, judge

POLL_SECONDS = 2.0
LOG_LINES = 30
INSTANCE = "app.kubernetes.io/instance"


class RolloutError(Exception):
    """The pods do not come up; the message holds cause, remedy and last log lines."""


class Reader(Protocol):
    """What is asked of the API server; the seam for tests."""

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return a list."""

    def text(self, path: str, **query: str) -> str:
        """Return a log."""


def look(api: Reader, namespace: str, release: str) -> Snapshot:
    """Ask for all objects of a release. Raises what the API raises."""
    mine = {"labelSelector": f"{INSTANCE}={release}"}
    apps, core = f"/apis/apps/v1/namespaces/{namespace}", f"/api/v1/namespaces/{namespace}"
    return Snapshot(
        api.get(f"{apps}/deployments", **mine)["items"],
        api.get(f"{apps}/replicasets", **mine)["items"],
        api.get(f"{core}/pods", **mine)["items"],
        api.get(f"{core}/events")["items"],
    )


def wait(
    api: Reader,
    namespace: str,
    release: str,
    seconds: int,
    *,
    say: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Wait until the pods are ready.

    Raises:
        RolloutError: they will not be, or were not within ``seconds``.
    """
    deadline = clock() + seconds
    seen, trouble, told = Snapshot([], [], [], []), "", ""
    while True:
        try:
            seen, trouble = look(api, namespace, release), ""
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise RolloutError(
                    f"the cluster refuses to show the pods in {namespace} (HTTP {error.code}); the "
                    "identity that runs Pulumi needs the RBAC role of an administrator in the "
                    "cluster (console, Authorizations, or alicloud.cs.KubernetesPermission)"
                ) from error
            trouble = f"HTTP {error.code}"
        except OSError as error:
            # An API server that restarts, or a network that flickers, is not the pods' fault.
            trouble = str(error)
        verdict = Verdict("waiting", trouble) if trouble else judge(seen, now())
        if verdict.state == "done":
            return
        if verdict.state == "waiting" and clock() >= deadline:
            verdict = give_up(seen, seconds)
            if trouble:
                verdict = Verdict(
                    "failed",
                    f"the API server of the cluster did not answer ({trouble}). Check the network "
                    "to it, and with apiServerPublic false that this runs inside the VPC",
                )
        if verdict.state == "failed":
            raise RolloutError(_report(api, namespace, verdict))
        if verdict.text != told:
            told = verdict.text
            say(told)
        pause(POLL_SECONDS)


def _report(api: Reader, namespace: str, verdict: Verdict) -> str:
    parts = [
        f"{verdict.text}. The release exists and its pods may cost money; `pulumi destroy` removes "
        "them"
    ]
    for log in verdict.logs:
        lines = _log(api, namespace, log)
        if lines:
            parts.append(f"The log of {log.pod}/{log.container} ends:\n{lines}")
    return "\n".join(parts)


def _log(api: Reader, namespace: str, log: LogOf) -> str:
    path = f"/api/v1/namespaces/{namespace}/pods/{log.pod}/log"
    # The previous run's log is gone when the node has cleaned up: then the present one.
    for previous in dict.fromkeys((log.previous, False)):
        query = {"container": log.container, "tailLines": str(LOG_LINES)}
        if previous:
            query["previous"] = "true"
        try:
            text = api.text(path, **query).strip()
        except OSError:
            continue
        if text:
            return text
    return ""


class _RolloutProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        ask = openapi.client("cs", props["region"])
        api = KubernetesApi(
            lambda: cluster_access.fetch(
                ask,
                props["cluster_id"],
                minutes=cluster_access.LEAST_MINUTES,
                private=bool(props["private"]),
            )
        )
        wait(
            api,
            props["namespace"],
            props["release"],
            int(props["timeout_seconds"]),
        )
        return CreateResult(id_=f"{props['cluster_id']}/{props['namespace']}", outs=props)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        # Replaced, never updated, for the reason that NodeReadiness has.
        changed = [key for key in ("cluster_id", "triggers") if _olds[key] != _news[key]]
        return DiffResult(changes=bool(changed), replaces=changed, delete_before_replace=True)


class Rollout(Resource, module="wanvace", name="Rollout"):
    """Exists when every Deployment of the release has its pods, updated and ready.

    ``triggers`` are fingerprints of what the pods are made from; a change is waited for again.
    """

    def __init__(
        self,
        name: str,
        *,
        region: str,
        cluster_id: pulumi.Input[str],
        private: bool,
        namespace: pulumi.Input[str],
        release: pulumi.Input[str],
        triggers: pulumi.Input[list[str]],
        timeout_seconds: int,
        opts: pulumi.ResourceOptions,
    ) -> None:
        super().__init__(
            _RolloutProvider(),
            name,
            {
                "region": region,
                "cluster_id": cluster_id,
                "private": private,
                "namespace": namespace,
                "release": release,
                "triggers": triggers,
                "timeout_seconds": timeout_seconds,
            },
            opts,
        )
