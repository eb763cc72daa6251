"""What the container service's actions share: finding clusters, tasks, versions, errors."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from typing import Any

from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.registry import Request
from rehearsal.cloud.services.lookups import Row
from rehearsal.cloud.state import Cloud, RegionState

CLUSTERS = "clusters"
TASKS = "_cluster_tasks"

# Kubernetes versions that a new ACS cluster may have, newest first (estimate: the service offers
# the three newest minor versions that ACK has, in the "-aliyun.N" spelling of its releases).
VERSIONS = ("1.34.1-aliyun.1", "1.33.3-aliyun.1", "1.32.7-aliyun.1")
RUNTIMES = ({"name": "containerd", "version": "2.1.3"},)
CLUSTER_SPECS = (
    "ack.standard",
    "ack.pro.small",
    "ack.pro.xlarge",
    "ack.pro.2xlarge",
    "ack.pro.4xlarge",
)


class InterruptedTaskError(Exception):
    """The emulator stops before a task is done."""


_HEX = string.hexdigits.lower()[:16]


def cluster_arn(request: Request) -> str:
    """The RAM resource of the cluster that a request names."""
    cluster_id = request.get("ClusterId") or "*"
    return f"acs:cs:{request.region}:{request.caller.account}:cluster/{cluster_id}"


def new_cluster_id() -> str:
    """A cluster's id: c and 32 hexadecimal digits."""
    return "c" + "".join(secrets.choice(_HEX) for _ in range(32))


def locate(request: Request, cloud: Cloud, cluster_id: str = "") -> tuple[RegionState, Row]:
    """The cluster that a request names, in whichever region of the account it is.

    Path-style requests name no region, so all of the account are searched. Raises
    ErrorClusterNotFound (404).
    """
    wanted = cluster_id or request.required("ClusterId")
    for state in cloud.account(request.caller.account).regions():
        row = state.table(CLUSTERS).get(wanted)
        if row is not None:
            return state, row
    raise ApiError(
        "ErrorClusterNotFound",
        f"cluster not found. Given: {wanted!r}; account {request.caller.account} has no such "
        "cluster. It may have been deleted.",
        404,
    )


def need_state(row: Row, *allowed: str) -> None:
    """Refuse an operation on a cluster in the wrong state, with ErrorClusterState (409)."""
    if row["state"] not in allowed:
        raise ApiError(
            "ErrorClusterState",
            f"the state of cluster {row['cluster_id']} is {row['state']}; allowed for this "
            f"operation: {', '.join(allowed)}. Wait, or look at its task.",
            409,
        )


def start_task(
    cloud: Cloud, row: Row, kind: str, work: Callable[[Row], None], account: str
) -> dict[str, Any]:
    """Begin a task of a cluster in the background; gives the ids that the answer carries.

    ``work`` gets the task's row, runs without the lock, and raises to make the task fail.
    """
    task_id = "T-" + secrets.token_hex(12)
    task: Row = {
        "task_id": task_id,
        "cluster_id": row["cluster_id"],
        "task_type": kind,
        "state": "running",
        "created": cloud.timestamp(),
        "updated": cloud.timestamp(),
        "error": None,
    }
    tasks = cloud.account(account).table(TASKS)
    tasks[task_id] = task
    cloud.background(f"{kind} {row['cluster_id']}", lambda: carry_out(cloud, task, work))
    return {"cluster_id": row["cluster_id"], "task_id": task_id}


def carry_out(cloud: Cloud, task: Row, work: Callable[[Row], None]) -> None:
    """Do a task's work and write down how it ended."""
    error: dict[str, str] | None = None
    try:
        work(task)
    except InterruptedTaskError:
        return  # the next process of this state directory goes on with it
    except Exception as failure:  # whatever an engine raises must end the task, not hang it
        error = {"code": type(failure).__name__, "message": str(failure)}
    with cloud.lock:
        task["state"] = "failed" if error else "success"
        task["error"] = error
        task["updated"] = cloud.timestamp()
        cloud.save()


def finished_task(cloud: Cloud, row: Row, kind: str, account: str) -> dict[str, Any]:
    """A task that was over at once; gives the ids that the answer carries."""
    task_id = "T-" + secrets.token_hex(12)
    cloud.account(account).table(TASKS)[task_id] = {
        "task_id": task_id,
        "cluster_id": row["cluster_id"],
        "task_type": kind,
        "state": "success",
        "created": cloud.timestamp(),
        "updated": cloud.timestamp(),
        "error": None,
    }
    return {"cluster_id": row["cluster_id"], "task_id": task_id}


def refused(code: str, given: str, allowed: str, remedy: str, status: int = 400) -> ApiError:
    """A refusal of the container service with what was given, what is allowed, and what to do."""
    return ApiError(code, f"{given} Allowed: {allowed}. {remedy}", status)


def unsupported(*names: str) -> ApiError:
    """The error for something that the real service has and the emulator does not act on."""
    return ApiError(
        "UnsupportedParameter",
        f"The emulator does not act on {', '.join(names)}, and ignoring it would make the "
        "rehearsal prove less than it seems. Leave it out, or teach the emulator.",
    )
