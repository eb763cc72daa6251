"""ECS 2014-05-26: the RAM role of an instance."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud.errors import missing_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.ecs_common import check_ecs_role, find_instance, live_instances
from rehearsal.cloud.services.lookups import ECS, Row, here, page
from rehearsal.cloud.state import Cloud

SUCCESS = ("200", "success", True)


def _rows(request: Request, cloud: Cloud) -> list[Row]:
    ids = request.repeated("InstanceIds")
    if not ids:
        raise missing_parameter("InstanceIds")
    state = here(request, cloud)
    return [find_instance(state, instance_id, cloud) for instance_id in ids]


def _answer(name: str, role: str, results: list[tuple[str, tuple[str, str, bool]]]) -> Row:
    return {
        "RamRoleName": role,
        "TotalCount": len(results),
        "FailCount": sum(not success for _, (_, _, success) in results),
        f"{name}Results": {
            f"{name}Result": [
                {"InstanceId": instance_id, "Code": code, "Message": message, "Success": success}
                for instance_id, (code, message, success) in results
            ]
        },
    }


@action(*ECS)
def AttachInstanceRamRole(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Give instances a RAM role; an instance has at most one."""
    rows = _rows(request, cloud)
    role = request.required("RamRoleName")
    check_ecs_role(request, cloud, role, http_status=404)
    results = []
    for row in rows:
        if row["RamRoleName"] not in ("", role):
            words = (
                "The specified instance already has a ram role. "
                f"{row['InstanceId']} has {row['RamRoleName']}; detach it first."
            )
            results.append((row["InstanceId"], ("InvalidOperation.RamRoleExist", words, False)))
            continue
        row["RamRoleName"] = role
        results.append((row["InstanceId"], SUCCESS))
    return _answer("AttachInstanceRamRole", role, results)


@action(*ECS)
def DetachInstanceRamRole(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Take the RAM role away from instances."""
    rows = _rows(request, cloud)
    role = request.get("RamRoleName")
    results = []
    for row in rows:
        if role in ("", row["RamRoleName"]):
            row["RamRoleName"] = ""
        results.append((row["InstanceId"], SUCCESS))
    return _answer("DetachInstanceRamRole", role, results)


@action(*ECS, read_only=True)
def DescribeInstanceRamRole(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Which of these instances have which RAM role; those without a role are left out."""
    state = here(request, cloud)
    ids = request.repeated("InstanceIds")
    role = request.get("RamRoleName")
    if not ids and not role:
        raise missing_parameter("InstanceIds")
    found = [
        {"InstanceId": row["InstanceId"], "RamRoleName": row["RamRoleName"]}
        for row in live_instances(state, cloud)
        if row["RamRoleName"]
        and (not ids or row["InstanceId"] in ids)
        and role in ("", row["RamRoleName"])
    ]
    chosen, paging = page(request, found, default=10, maximum=50)
    paging.pop("NextToken")
    return {
        "RegionId": state.name,
        "InstanceRamRoleSets": {"InstanceRamRoleSet": chosen},
        **paging,
    }
