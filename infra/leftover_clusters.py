"""Clusters that an unfinished creation left: a failed creation is not rolled back by the cloud."""

import time
from collections.abc import Callable
from typing import Any

from infra import openapi

DELETE_SECONDS = 1800
POLL_SECONDS = 5.0


class ClusterRemainsError(Exception):
    """The cloud did not delete a cluster in its time."""


def listed(ask: openapi.Api, name: str) -> list[dict[str, Any]]:
    """Return the clusters of exactly this name. (The API's filter also finds parts of names.)"""
    answer = ask("DescribeClustersV1", {"name": name, "page_size": "50"})
    return [row for row in answer.get("clusters") or [] if row.get("name") == name]


def delete(
    ask: openapi.Api,
    cluster_id: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Delete a cluster and wait until it is gone, because its vSwitches cannot go before it.

    Raises:
        ClusterRemainsError: it was still there after :data:`DELETE_SECONDS`.
        Exception: what the SDK raises.
    """
    deadline = clock() + DELETE_SECONDS
    try:
        while clock() < deadline:
            if ask("DescribeClusterDetail", {"ClusterId": cluster_id}).get("state") != "deleting":
                _ask_to_delete(ask, cluster_id)
            pause(POLL_SECONDS)
    except Exception as error:
        if openapi.missing(error):
            return
        raise
    raise ClusterRemainsError(
        f"cluster {cluster_id} was asked to go and is still there after {DELETE_SECONDS} s. Look "
        "in the console at what keeps it (deletion protection, a failed task)"
    )


def _ask_to_delete(ask: openapi.Api, cluster_id: str) -> None:
    try:
        ask("DeleteCluster", {"ClusterId": cluster_id})
    except Exception as error:
        # One that is still being made can only be deleted after that.
        if openapi.code(error) != "ErrorClusterState":
            raise
