"""CS 2015-12-15: add-ons of a cluster, kept in the book; what runs is the engine's matter."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import json
from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.cs_common import cluster_arn, finished_task, locate
from rehearsal.cloud.services.lookups import CS, Row
from rehearsal.cloud.state import Cloud

# Add-ons seen in public stacks of ACS clusters (2026): version (estimate), whether a new cluster
# has it, whether it may be taken off.
CATALOGUE: dict[str, tuple[str, bool, bool]] = {
    "managed-coredns": ("v1.11.3.5-5321daf49-aliyun", True, True),
    "acs-virtual-node": ("v2.15.3", True, False),
    "managed-csiprovisioner": ("v1.33.2", True, False),
    "metrics-server": ("v0.3.9.7", False, True),
    "managed-metrics-server": ("v0.3.9.7", False, True),
    "managed-aliyun-acr-credential-helper": ("v24.12.13.0", False, True),
    "alb-ingress-controller": ("v2.17.0", False, True),
    "ack-pod-identity-webhook": ("v0.3.0", False, True),
    "managed-security-inspector": ("v0.14.0", False, True),
}


def initial(wanted: list[dict[str, Any]]) -> dict[str, Row]:
    """The add-ons that a new cluster has: the default ones and those asked for, less disabled."""
    chosen = {name: _instance(name, "", "") for name, item in CATALOGUE.items() if item[1]}
    for item in wanted:
        name = str(item.get("name", ""))
        _known(name)
        if item.get("disabled"):
            chosen.pop(name, None)
        else:
            chosen[name] = _instance(name, item.get("version", ""), item.get("config", ""))
    return chosen


@action(*CS, route="GET /addons", read_only=True)
def ListAddons(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Add-ons that a cluster may have."""
    return {"addons": [_description(name) for name in CATALOGUE]}


@action(*CS, route="GET /addons/{AddonName}", read_only=True)
def DescribeAddon(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One add-on: its version and what may be done with it."""
    name = _known(request.required("AddonName"))
    wanted = request.get("version")
    if wanted not in ("", CATALOGUE[name][0]):
        raise _not_found(f"{name} {wanted}")
    return _description(name)


@action(
    *CS, route="GET /clusters/{ClusterId}/addon_instances", read_only=True, resource=cluster_arn
)
def ListClusterAddonInstances(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The add-ons that a cluster has."""
    _, row = locate(request, cloud)
    return {"addons": [_view(item) for item in row["addons"].values()]}


@action(
    *CS,
    route="GET /clusters/{ClusterId}/addon_instances/{AddonName}",
    read_only=True,
    resource=cluster_arn,
)
def GetClusterAddonInstance(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One add-on that a cluster has."""
    _, row = locate(request, cloud)
    return _view(_installed(row, request.required("AddonName")))


@action(*CS, route="POST /clusters/{ClusterId}/components/install", resource=cluster_arn)
def InstallClusterAddons(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Put add-ons on a cluster."""
    state, row = locate(request, cloud)
    for item in _items(request):
        name = _known(str(item.get("name", "")))
        if name in row["addons"]:
            raise ApiError(
                "AddonAlreadyInstalled",
                f"The add-on {name} is installed on {row['cluster_id']} already. Upgrade or "
                "configure it instead.",
                409,
            )
        row["addons"][name] = _instance(name, item.get("version", ""), item.get("config", ""))
    return finished_task(cloud, row, "addon_install", state.account)


@action(*CS, route="POST /clusters/{ClusterId}/components/upgrade", resource=cluster_arn)
def UpgradeClusterAddons(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Bring add-ons to another version, with another configuration if one is given."""
    state, row = locate(request, cloud)
    for item in _items(request):
        instance = _installed(row, str(item.get("component_name", "")))
        if item.get("next_version"):
            instance["version"] = item["next_version"]
        if item.get("config"):
            instance["config"] = _merged(instance["config"], item["config"])
    return finished_task(cloud, row, "addon_upgrade", state.account)


@action(*CS, route="POST /clusters/{ClusterId}/components/uninstall", resource=cluster_arn)
def UnInstallClusterAddons(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Take add-ons off a cluster."""
    state, row = locate(request, cloud)
    for item in _items(request):
        name = str(item.get("name", ""))
        _installed(row, name)
        if not CATALOGUE[name][2]:
            raise ApiError(
                "AddonCannotUninstall",
                f"The add-on {name} belongs to the cluster and cannot be taken off.",
                409,
            )
        del row["addons"][name]
    return finished_task(cloud, row, "addon_uninstall", state.account)


@action(*CS, route="POST /clusters/{ClusterId}/components/{AddonName}/config", resource=cluster_arn)
def ModifyClusterAddon(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change the configuration of an add-on; keys that are not named stay."""
    _, row = locate(request, cloud)
    instance = _installed(row, request.required("AddonName"))
    instance["config"] = _merged(instance["config"], request.required("config"))
    return {"request_id": request.request_id}


@action(
    *CS,
    route="GET /clusters/{ClusterId}/components/upgradestatus",
    read_only=True,
    resource=cluster_arn,
)
def DescribeClusterAddonsUpgradeStatus(request: Request, cloud: Cloud) -> dict[str, Any]:
    """How the last change of add-ons went; here it is always done."""
    _, row = locate(request, cloud)
    wanted = request.repeated("componentIds")
    return {
        name: {
            "addon_info": {"component_name": name, "version": item["version"]},
            "can_upgrade": False,
            "tasks": {"status": "Success", "message": ""},
        }
        for name, item in row["addons"].items()
        if not wanted or name in ",".join(wanted).split(",")
    }


def _instance(name: str, version: str, config: str) -> Row:
    return {
        "name": name,
        "version": version or CATALOGUE[name][0],
        "config": _merged("{}", config) if config else "",
    }


def _view(item: Row) -> dict[str, Any]:
    return {**item, "state": "active", "logging": {"capable": False, "enabled": False}}


def _description(name: str) -> dict[str, Any]:
    version, default, removable = CATALOGUE[name]
    return {
        "name": name,
        "version": version,
        "architecture": ["amd64"],
        "category": "core",
        "config_schema": "",
        "install_by_default": default,
        "managed": True,
        "supported_actions": [
            "Install",
            "Upgrade",
            "Modify",
            *(["Uninstall"] if removable else []),
        ],
        "newer_versions": [],
        "upgradable": False,
    }


def _items(request: Request) -> list[dict[str, Any]]:
    body = request.body
    if isinstance(body, dict):
        body = body.get("addons") or body.get("body")
    if not isinstance(body, list) or not all(isinstance(item, dict) for item in body):
        raise invalid_parameter("body", request.body, "a list of add-ons")
    return body


def _merged(old: str, new: str) -> str:
    try:
        values = json.loads(new)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise invalid_parameter("config", new, "a JSON object")
    return json.dumps({**json.loads(old or "{}"), **values})


def _known(name: str) -> str:
    if name not in CATALOGUE:
        raise _not_found(name)
    return name


def _installed(row: Row, name: str) -> Row:
    if name not in row["addons"]:
        raise _not_found(f"{name} on cluster {row['cluster_id']}")
    instance: Row = row["addons"][name]
    return instance


def _not_found(what: str) -> ApiError:
    return ApiError(
        "AddonNotFound",
        f"The add-on was not found. Given: {what}. The emulator has: {', '.join(CATALOGUE)}.",
        404,
    )
