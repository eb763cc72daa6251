"""Emptied: exists beside a cluster, and on destroy waits until its disks are deleted.

A namespace's claims go at once, the cloud's disks behind them some seconds later, by a controller
that dies with the cluster: without this wait a disk could stay, and be paid for.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

from infra import cluster_access, openapi
from infra.kubernetes_api import KubernetesApi

WAIT_SECONDS = 300
POLL_SECONDS = 2.0


class Volumes(Protocol):
    """What is asked of the API server; the seam for tests."""

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return a list."""


class DisksRemainError(Exception):
    """Disks of a namespace were not deleted in time."""


def wait(
    api: Volumes,
    namespace: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until no volume that is to be deleted belongs to a claim of the namespace.

    Raises:
        DisksRemainError: some still do after :data:`WAIT_SECONDS`.
    """
    deadline = clock() + WAIT_SECONDS
    while True:
        left = [
            volume["metadata"]["name"]
            for volume in api.get("/api/v1/persistentvolumes")["items"]
            if (volume["spec"].get("claimRef") or {}).get("namespace") == namespace
            and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        ]
        if not left:
            return
        if clock() >= deadline:
            raise DisksRemainError(
                f"the volumes {', '.join(left)} of namespace {namespace} were not deleted within "
                f"{WAIT_SECONDS} s; with the cluster gone their disks would stay and be paid for. "
                "Look at their events (`kubectl describe pv`), delete the disks in the ECS console "
                "if need be, and run `pulumi destroy` again"
            )
        pause(POLL_SECONDS)


def finish(api: Volumes, namespace: str) -> None:
    """Wait as :func:`wait` does, where the cluster can be asked at all.

    One that is gone, never came up, or is out of reach must not be kept from being destroyed: the
    cloud deletes it without its API server.

    Raises:
        DisksRemainError: see :func:`wait`.
    """
    try:
        wait(api, namespace)
    except (OSError, cluster_access.AccessError):
        return
    except Exception as error:
        if not openapi.code(error):  # what the cloud itself refused
            raise


class _EmptiedProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=f"{props['cluster_id']}/{props['namespace']}", outs=props)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        changed = [key for key in ("cluster_id", "namespace") if _olds[key] != _news[key]]
        return DiffResult(changes=bool(changed), replaces=changed)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        ask = openapi.client("cs", _props["region"])
        api = KubernetesApi(
            lambda: cluster_access.fetch(
                ask,
                _props["cluster_id"],
                minutes=cluster_access.LEAST_MINUTES,
                private=bool(_props["private"]),
            )
        )
        finish(api, _props["namespace"])


class Emptied(Resource, module="wanvace", name="Emptied"):
    """Deleted only when the namespace's volumes are."""

    def __init__(
        self,
        name: str,
        *,
        region: str,
        cluster_id: pulumi.Input[str],
        private: bool,
        namespace: str,
        opts: pulumi.ResourceOptions,
    ) -> None:
        super().__init__(
            _EmptiedProvider(),
            name,
            {
                "region": region,
                "cluster_id": cluster_id,
                "private": private,
                "namespace": namespace,
            },
            opts,
        )
