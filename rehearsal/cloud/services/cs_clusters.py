"""CS 2015-12-15: clusters of the container service, of which the emulator has the ACS kind."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import json
from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services import cs_addons, cs_validation, cs_work
from rehearsal.cloud.services.addresses import take_private, take_public
from rehearsal.cloud.services.cs_common import (
    CLUSTER_SPECS,
    CLUSTERS,
    TASKS,
    VERSIONS,
    cluster_arn,
    finished_task,
    locate,
    need_state,
    new_cluster_id,
    start_task,
    unsupported,
)
from rehearsal.cloud.services.ecs_security_group_rules import find_group
from rehearsal.cloud.services.lookups import CS, Row, check_tags, here
from rehearsal.cloud.services.vpc import DEFAULT_RESOURCE_GROUP
from rehearsal.cloud.state import Cloud

DELETABLE = ("SLB", "ALB", "SLS_Data", "SLS_ControlPlane", "PrivateZone")


@action(*CS, route="POST /clusters", resource=cluster_arn, success_status=202)
def CreateCluster(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Create an ACS cluster; the task that it names says when it is done."""
    state = here(_in_region(request), cloud)
    given, switches = cs_validation.check(request, state, cloud)
    if given.get("security_group_id"):
        find_group(state, given["security_group_id"], cloud)
    cluster_id = new_cluster_id()
    public = bool(given.get("endpoint_public_access", False))
    row: Row = {
        "cluster_id": cluster_id,
        "name": given["name"],
        "cluster_type": "ManagedKubernetes",
        "profile": "Acs",
        "cluster_spec": given.get("cluster_spec", "ack.pro.small"),
        "current_version": given.get("kubernetes_version", VERSIONS[0]),
        "region_id": state.name,
        "vpc_id": switches[0]["VpcId"],
        "vswitch_ids": [switch["VSwitchId"] for switch in switches],
        "vswitch_cidr": switches[0]["CidrBlock"],
        "zone_id": switches[0]["ZoneId"],
        "service_cidr": given.get("service_cidr", cs_validation.DEFAULT_SERVICE_CIDR),
        "proxy_mode": given.get("proxy_mode", "ipvs"),
        "node_cidr_mask": str(given.get("node_cidr_mask", "24")),
        "cluster_domain": given.get("cluster_domain", "cluster.local"),
        "ip_stack": "ipv4",
        "deletion_protection": bool(given.get("deletion_protection", False)),
        "public": public,
        "private_ip": take_private(cloud, switches[0]),
        "public_ip": _public_address(cloud) if public else "",
        "security_group_id": given.get("security_group_id", ""),
        "resource_group_id": given.get("resource_group_id") or DEFAULT_RESOURCE_GROUP,
        "tags": _tags(given.get("tags", [])),
        "rrsa": bool(given.get("enable_rrsa") or given.get("rrsa_config", {}).get("enabled")),
        "addons": cs_addons.initial(given.get("addons", [])),
        "control_plane_log": {
            "log_ttl": str(given.get("controlplane_log_ttl", "")),
            "log_project": given.get("controlplane_log_project", ""),
            "components": given.get("controlplane_log_components", []),
        },
        "audit": {
            "audit_enabled": bool(given.get("audit_log_config", {}).get("enabled", False)),
            "sls_project_name": given.get("audit_log_config", {}).get("sls_project_name", ""),
        },
        "custom_san": given.get("custom_san", ""),
        # Answered only when they were given: the provider takes any value for a change.
        "optional": {
            name: given[name]
            for name in ("timezone", "maintenance_window", "operation_policy")
            if name in given
        },
        "owned": [],
        "issuer": "",
        "servers": ["", ""],
        "state": "initial",
        "account": state.account,
        "created": cloud.timestamp(),
        "updated": cloud.timestamp(),
    }
    state.table(CLUSTERS)[cluster_id] = row
    answer = start_task(
        cloud, row, "cluster_create", lambda _task: cs_work.build(cloud, state, row), state.account
    )
    return {**answer, "request_id": request.request_id}


@action(*CS, route="GET /clusters/{ClusterId}", read_only=True, resource=cluster_arn)
def DescribeClusterDetail(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One cluster in detail."""
    _, row = locate(request, cloud)
    return _view(row)


@action(*CS, route="GET /clusters", read_only=True, resource=cluster_arn)
def DescribeClusters(request: Request, cloud: Cloud) -> list[Any]:
    """All clusters of the account (older form)."""
    return _listed(request, cloud)


@action(*CS, route="GET /api/v1/clusters", read_only=True, resource=cluster_arn)
def DescribeClustersV1(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Clusters of the account by name, kind or region, with pages."""
    rows = [
        row
        for row in _listed(request, cloud)
        if all(
            request.get(parameter) in ("", row[field])
            for parameter, field in (
                ("region_id", "region_id"),
                ("cluster_id", "cluster_id"),
                ("cluster_type", "cluster_type"),
                ("profile", "profile"),
            )
        )
    ]
    size = request.integer("page_size", 10) or 10
    number = request.integer("page_number", 1) or 1
    return {
        "clusters": rows[(number - 1) * size : number * size],
        "page_info": {"page_number": number, "page_size": size, "total_count": len(rows)},
    }


@action(*CS, route="PUT /api/v2/clusters/{ClusterId}", resource=cluster_arn, success_status=202)
def ModifyCluster(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a cluster's name, protection, vSwitches and other things in place."""
    state, row = locate(request, cloud)
    need_state(row, "running")
    body = {k: v for k, v in (request.body or {}).items() if v is not None}
    plain = {
        "cluster_name": "name",
        "deletion_protection": "deletion_protection",
        "resource_group_id": "resource_group_id",
    }
    optional = ("timezone", "maintenance_window", "operation_policy")
    known = {*plain, *optional, "vswitch_ids", "security_group_id", "enable_rrsa"}
    known.add("api_server_custom_cert_sans")
    unknown = sorted(set(body) - known)
    if unknown:
        raise unsupported(*unknown)
    if body.get("security_group_id"):
        find_group(state, body["security_group_id"], cloud)
        row["security_group_id"] = body["security_group_id"]
    if body.get("vswitch_ids"):
        row["vswitch_ids"] = cs_validation.vswitches_of(row, body["vswitch_ids"], state, cloud)
    if body.get("enable_rrsa") is False and row["rrsa"]:
        raise ApiError(
            "ErrorRRSADisable",
            f"RRSA of cluster {row['cluster_id']} is on and cannot be switched off again. Leave "
            "enable_rrsa true.",
        )
    if body.get("enable_rrsa"):
        row["rrsa"] = True
        cs_work.add_oidc_provider(cloud, row)
    for name, field in plain.items():
        if name in body:
            row[field] = body[name]
    for name in optional:
        if name in body:
            row["optional"][name] = body[name]
    if "api_server_custom_cert_sans" in body:
        names = body["api_server_custom_cert_sans"].get("subject_alternative_names", [])
        row["custom_san"] = ",".join(names)
    row["updated"] = cloud.timestamp()
    answer = finished_task(cloud, row, "cluster_modify", state.account)
    return {**answer, "request_id": request.request_id}


@action(*CS, route="DELETE /clusters/{ClusterId}", resource=cluster_arn, success_status=202)
def DeleteCluster(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Delete a cluster and what it made; the task that it names says when it is done."""
    state, row = locate(request, cloud)
    options = _json_list(request, "delete_options")
    for option in options:
        if not isinstance(option, dict) or option.get("resource_type") not in DELETABLE:
            raise invalid_parameter("delete_options", option, f"types {', '.join(DELETABLE)}")
        if option.get("delete_mode") not in ("delete", "retain"):
            raise invalid_parameter("delete_options", option, "delete_mode delete or retain")
    if row["deletion_protection"]:
        raise ApiError(
            "ErrorDeletionProtected",
            f"cluster {row['cluster_id']} has deletion protection. Switch deletion_protection off "
            "first, then delete it.",
            409,
        )
    need_state(row, "running", "failed", "delete_failed", "unavailable")
    retained = set(_json_list(request, "retain_resources"))
    keep_balancers = any(
        option["resource_type"] == "SLB" and option["delete_mode"] == "retain" for option in options
    )
    row["state"] = "deleting"
    row["retain"] = {"balancers": keep_balancers, "ids": sorted(retained)}
    answer = start_task(
        cloud, row, "cluster_delete", lambda _task: cs_work.remove(cloud, state, row), state.account
    )
    return {**answer, "request_id": request.request_id}


@action(*CS, route="GET /tasks/{TaskId}", read_only=True)
def DescribeTaskInfo(request: Request, cloud: Cloud) -> dict[str, Any]:
    """How far a cluster's task is: running, success or failed."""
    task_id = request.required("TaskId")
    task = cloud.account(request.caller.account).table(TASKS).get(task_id)
    if task is None:
        raise ApiError("ErrorTaskNotFound", f"task not found. Given: {task_id!r}.", 404)
    return {
        **{name: value for name, value in task.items() if value is not None},
        "events": [],
        "stages": [],
    }


@action(*CS, route="GET /clusters/{ClusterId}/tasks", read_only=True, resource=cluster_arn)
def DescribeClusterTasks(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The tasks of one cluster."""
    _, row = locate(request, cloud)
    tasks = cloud.account(request.caller.account).table(TASKS).values()
    mine = [task for task in tasks if task["cluster_id"] == row["cluster_id"]]
    return {
        "tasks": mine,
        "page_info": {"page_number": 1, "page_size": len(mine), "total_count": len(mine)},
    }


@action(*CS, route="GET /clusters/{ClusterId}/resources", read_only=True, resource=cluster_arn)
def DescribeClusterResources(request: Request, cloud: Cloud) -> list[Any]:
    """What a cluster made in the account: its API server's balancer, its security group."""
    _, row = locate(request, cloud)
    return [
        {
            "cluster_id": row["cluster_id"],
            "resource_type": item["type"],
            "instance_id": item["id"],
            "resource_info": item["name"],
            "state": "CREATE_COMPLETE",
            "auto_create": 1,
            "created": row["created"],
        }
        for item in row["owned"]
    ]


@action(*CS, route="POST /clusters/{ClusterId}/migrate", resource=cluster_arn)
def MigrateCluster(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Make an ack.standard cluster a professional one."""
    state, row = locate(request, cloud)
    need_state(row, "running")
    spec = request.required("spec")
    if row["cluster_spec"] != "ack.standard" or spec not in CLUSTER_SPECS[1:]:
        raise invalid_parameter(
            "spec",
            spec,
            f"from ack.standard to {', '.join(CLUSTER_SPECS[1:])}; the cluster is "
            f"{row['cluster_spec']}",
        )
    row["cluster_spec"] = spec
    answer = finished_task(cloud, row, "cluster_migrate", state.account)
    return {**answer, "request_id": request.request_id}


@action(*CS, route="POST /clusters/{ClusterId}/tags", resource=cluster_arn)
def ModifyClusterTags(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Replace the tags of a cluster."""
    _, row = locate(request, cloud)
    if not isinstance(request.body, list):
        raise invalid_parameter("body", request.body, "a list of objects with key and value")
    row["tags"] = _tags(request.body)
    return {"request_id": request.request_id}


def resume(cloud: Cloud) -> None:
    """Go on with the clusters that an earlier process was making or removing; start the others."""
    with cloud.lock:
        for state, cluster_id, row in list(cloud.rows(CLUSTERS)):
            if row["state"] in ("initial", "deleting"):
                cs_work.go_on(cloud, state, row)
            elif row["state"] in ("running", "unavailable"):
                row["state"] = "running"
                if not cloud.clusters.running(cluster_id):
                    cs_work.revive(cloud, row)


def _public_address(cloud: Cloud) -> str:
    address = take_public(cloud)
    if address is None:
        raise ApiError(
            "ErrorNoPublicAddress",
            "The emulator has no public address left for the cluster's API server; release an "
            "elastic address or a load balancer, or leave out endpoint_public_access.",
        )
    return address


def _in_region(request: Request) -> Request:
    body = request.body if isinstance(request.body, dict) else {}
    request.region = body.get("region_id") or request.region
    return request


def _tags(items: list[dict[str, str]]) -> dict[str, str]:
    tags = {str(item.get("key", "")): str(item.get("value", "")) for item in items}
    check_tags(tags)
    return tags


def _json_list(request: Request, name: str) -> list[Any]:
    text = request.get(name)
    if not text:
        return []
    try:
        items = json.loads(text)
    except ValueError:
        raise invalid_parameter(name, text, "a JSON list") from None
    if not isinstance(items, list):
        raise invalid_parameter(name, text, "a JSON list")
    return items


def _listed(request: Request, cloud: Cloud) -> list[dict[str, Any]]:
    name = request.get("name")
    return [
        _view(row)
        for state in cloud.account(request.caller.account).regions()
        for row in state.table(CLUSTERS).values()
        if name in row["name"]
    ]


def _view(row: Row) -> dict[str, Any]:
    public, intranet = row["servers"]
    endpoints = {"intranet_api_server_endpoint": intranet} if intranet else {}
    if public:
        endpoints["api_server_endpoint"] = public
    rrsa: dict[str, Any] = {"enabled": row["rrsa"]}
    if row["rrsa"]:
        rrsa.update(
            issuer=row["issuer"],
            oidc_name=cs_work.provider_name(row),
            oidc_arn=f"acs:ram::{row['account']}:oidc-provider/{cs_work.provider_name(row)}",
        )
    meta: dict[str, Any] = {"RRSAConfig": rrsa, "Capabilities": {}}
    if row["custom_san"]:
        meta["ExtraCertSAN"] = row["custom_san"].split(",")
    same = (
        "cluster_id",
        "name",
        "cluster_type",
        "profile",
        "cluster_spec",
        "current_version",
        "region_id",
        "vpc_id",
        "vswitch_ids",
        "zone_id",
        "service_cidr",
        "proxy_mode",
        "node_cidr_mask",
        "cluster_domain",
        "ip_stack",
        "deletion_protection",
        "security_group_id",
        "resource_group_id",
        "state",
        "created",
        "updated",
    )
    return {
        **{name: row[name] for name in same},
        **row["optional"],
        "init_version": row["current_version"],
        "vswitch_id": ",".join(row["vswitch_ids"]),
        "external_loadbalancer_id": next(
            (item["id"] for item in row["owned"] if item["type"] == "SLB"), ""
        ),
        "network_mode": "vpc",
        "size": 0,
        "tags": [{"key": key, "value": value} for key, value in row["tags"].items()],
        # Both are JSON in a string, and the provider cannot do with an empty one.
        "master_url": json.dumps(endpoints),
        "meta_data": json.dumps(meta),
        "rrsa_config": rrsa,
    }
