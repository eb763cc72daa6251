"""CS 2015-12-15: ways into a cluster, its logs, and what the account may have."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import base64
from typing import Any

from rehearsal.cloud import account_traits
from rehearsal.cloud.clusters import Access
from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.cs_common import (
    RUNTIMES,
    VERSIONS,
    cluster_arn,
    finished_task,
    locate,
    need_state,
)
from rehearsal.cloud.services.lookups import CS, here, quota
from rehearsal.cloud.state import Cloud

_MINUTES = range(15, 4321)  # TemporaryDurationMinutes: 15 minutes to 3 days
_LONG_MINUTES = 3 * 365 * 24 * 60  # a kubeconfig without a duration is valid for three years


@action(
    *CS,
    route="GET /k8s/{ClusterId}/user_config",
    read_only=True,
    serialised=False,
    resource=cluster_arn,
)
def DescribeClusterUserKubeconfig(request: Request, cloud: Cloud) -> dict[str, Any]:
    """A kubeconfig with a client certificate, for as long as was asked."""
    with cloud.lock:
        _, row = locate(request, cloud)
        need_state(row, "running")
        cluster_id, name, servers = row["cluster_id"], row["name"], list(row["servers"])
    minutes = request.integer("TemporaryDurationMinutes", 0) or 0
    if minutes and minutes not in _MINUTES:
        raise invalid_parameter(
            "TemporaryDurationMinutes", minutes, f"{_MINUTES[0]} to {_MINUTES[-1]}"
        )
    # A cluster without a public endpoint hands out its intranet one.
    public = bool(servers[0]) and not request.boolean("PrivateIpAddress")
    try:
        access = cloud.clusters.access(cluster_id, minutes or _LONG_MINUTES, public)
    except LookupError as error:
        raise ApiError(
            "ErrorClusterState",
            f"cluster {cluster_id} does not answer ({error}). Wait until it runs again.",
            409,
        ) from error
    return {
        "config": kubeconfig(name, request.caller.name, access),
        "expiration": access.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def kubeconfig(cluster: str, user: str, access: Access) -> str:
    """An access as kubectl's configuration file, in the form that the service gives it."""

    def encoded(pem: str) -> str:
        return base64.b64encode(pem.encode()).decode()

    return "\n".join(
        (
            "apiVersion: v1",
            "clusters:",
            "- cluster:",
            f"    server: {access.server}",
            f"    certificate-authority-data: {encoded(access.ca)}",
            "  name: kubernetes",
            "contexts:",
            "- context:",
            "    cluster: kubernetes",
            f'    user: "{user}"',
            f"  name: {user}-{cluster}",
            f"current-context: {user}-{cluster}",
            "kind: Config",
            "preferences: {}",
            "users:",
            f'- name: "{user}"',
            "  user:",
            f"    client-certificate-data: {encoded(access.client_certificate)}",
            f"    client-key-data: {encoded(access.client_key)}",
            "",
        )
    )


@action(
    *CS, route="GET /clusters/{ClusterId}/controlplanelog", read_only=True, resource=cluster_arn
)
def CheckControlPlaneLogEnable(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Which control plane components write logs, and where to."""
    _, row = locate(request, cloud)
    return dict(row["control_plane_log"])


@action(*CS, route="PUT /clusters/{ClusterId}/controlplanelog", resource=cluster_arn)
def UpdateControlPlaneLog(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Choose the control plane components that write logs; nothing is collected here."""
    state, row = locate(request, cloud)
    body = request.body or {}
    row["control_plane_log"].update(
        {name: body[name] for name in ("log_ttl", "log_project", "components") if name in body}
    )
    return finished_task(cloud, row, "control_plane_log", state.account)


@action(*CS, route="GET /clusters/{ClusterId}/audit", read_only=True, resource=cluster_arn)
def GetClusterAuditProject(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Whether API server audit is on, and the log project."""
    _, row = locate(request, cloud)
    return dict(row["audit"])


@action(*CS, route="PUT /clusters/{ClusterId}/audit_log", resource=cluster_arn)
def UpdateClusterAuditLogConfig(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Switch API server audit on or off; nothing is collected here."""
    state, row = locate(request, cloud)
    body = request.body or {}
    row["audit"]["audit_enabled"] = not body.get("disable", False)
    if "sls_project_name" in body:
        row["audit"]["sls_project_name"] = body["sls_project_name"]
    return finished_task(cloud, row, "audit_log", state.account)


@action(*CS, route="GET /api/v1/metadata/versions", read_only=True)
def DescribeKubernetesVersionMetadata(request: Request, cloud: Cloud) -> list[Any]:
    """Kubernetes versions that a new cluster may have, newest first."""
    wanted = request.get("KubernetesVersion")
    return [
        {
            "version": version,
            "runtimes": [dict(runtime) for runtime in RUNTIMES],
            "capabilities": {},
            "creatable": True,
            "images": [],
            "release_date": "2026-01-31T08:00:00Z",
            "expiration_date": "2027-12-31T00:00:00Z",
        }
        for version in VERSIONS
        if wanted in ("", version)
    ]


@action(*CS, route="POST /ram/check-service-role", read_only=True)
def CheckServiceRole(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Whether the account has granted the named service roles."""
    roles = (request.body or {}).get("roles") or []
    missing = account_traits.missing_roles(cloud, request.caller.account)
    existing = cloud.account(request.caller.account).table("ram_roles")
    answer = []
    for role in roles:
        name = str(role.get("name", ""))
        known = name in account_traits.SERVICE_ROLES or name in existing
        granted = known and name not in missing
        message = "" if granted else f"The role {name} has not been granted to the service."
        answer.append({"name": name, "granted": granted, "message": message})
    return {"roles": answer}


@action(*CS, route="GET /quota", read_only=True)
def DescribeUserQuota(request: Request, cloud: Cloud) -> dict[str, Any]:
    """How many clusters of each kind the account may have."""
    limit = quota(here(request, cloud), "clusters")
    return {
        "amk_cluster_quota": 20,
        "ask_cluster_quota": limit,
        "cluster_quota": 50,
        "cluster_nodepool_quota": 20,
        "node_quota": 100,
        "quotas": {},
    }


@action(*CS, route="POST /service/open")
def OpenAckService(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Activate the container service for the account."""
    closed = account_traits.read(cloud)["closed_services"]
    account_traits.write(cloud, {"closed_services": [one for one in closed if one != "cs"]})
    return {"order_id": "", "request_id": request.request_id}
