"""ECS 2014-05-26: security groups and their members."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.ecs_common import find_instance, live_instances
from rehearsal.cloud.services.ecs_security_group_rules import enforce, find_group
from rehearsal.cloud.services.lookups import (
    ECS,
    Row,
    among,
    arn,
    check_description,
    check_name,
    here,
    live_rows,
    matching,
    new_tags,
    page,
    quota,
    tag_list,
    with_tags,
)
from rehearsal.cloud.services.vpc import DEFAULT_RESOURCE_GROUP, find_vpc
from rehearsal.cloud.state import Cloud, RegionState

MAX_GROUPS_PER_INSTANCE = 5
_GROUP = arn("ecs", "securitygroup", "SecurityGroupId")


@action(*ECS, resource=arn("ecs", "securitygroup"))
def CreateSecurityGroup(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Create a security group in a VPC."""
    state = here(request, cloud)
    kind = request.get("SecurityGroupType") or "normal"
    if kind not in ("normal", "enterprise"):
        raise invalid_parameter("SecurityGroupType", kind, "normal or enterprise")
    vpc = find_vpc(state, request.required("VpcId"), cloud)
    limit = quota(state, "security_groups")
    if len(live_rows(state, "security_groups", cloud)) >= limit:
        raise ApiError(
            "QuotaExceed.SecurityGroup",
            f"The maximum number of security groups is reached. {state.name} allows {limit}.",
            403,
        )
    group_id = cloud.new_id("sg", state.name)
    state.table("security_groups")[group_id] = {
        "SecurityGroupId": group_id,
        "SecurityGroupName": check_name(
            request.get("SecurityGroupName"),
            code="InvalidSecurityGroupName.Malformed",
            parameter="SecurityGroupName",
        ),
        "Description": check_description(
            request.get("Description"), code="InvalidSecurityGroupDiscription.Malformed"
        ),
        "VpcId": vpc["VpcId"],
        "SecurityGroupType": kind,
        # Members of a basic group reach each other, members of an advanced one do not.
        "InnerAccessPolicy": "Accept" if kind == "normal" else "Drop",
        "ResourceGroupId": request.get("ResourceGroupId") or DEFAULT_RESOURCE_GROUP,
        "CreationTime": cloud.timestamp(),
        "Rules": [],
        "Tags": new_tags(request),
    }
    return {"SecurityGroupId": group_id}


@action(*ECS, read_only=True, resource=_GROUP)
def DescribeSecurityGroups(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Security groups of a region, with filters and pages."""
    state = here(request, cloud)
    rows = live_rows(state, "security_groups", cloud)
    rows = among(rows, request.repeated("SecurityGroupIds"), "SecurityGroupId")
    rows = matching(
        rows,
        request,
        SecurityGroupId="SecurityGroupId",
        SecurityGroupName="SecurityGroupName",
        SecurityGroupType="SecurityGroupType",
        VpcId="VpcId",
    )
    chosen, paging = page(request, with_tags(rows, request))
    members = live_instances(state, cloud)
    return {
        "RegionId": state.name,
        "SecurityGroups": {
            "SecurityGroup": [
                {
                    **{
                        key: row[key]
                        for key in (
                            "SecurityGroupId",
                            "SecurityGroupName",
                            "SecurityGroupType",
                            "Description",
                            "VpcId",
                            "ResourceGroupId",
                            "CreationTime",
                        )
                    },
                    "EcsCount": sum(
                        row["SecurityGroupId"] in i["SecurityGroupIds"] for i in members
                    ),
                    "RuleCount": len(row["Rules"]),
                    "ServiceManaged": False,
                    "Tags": tag_list(row["Tags"]),
                }
                for row in chosen
            ]
        },
        **paging,
    }


@action(*ECS, read_only=True, resource=_GROUP)
def DescribeSecurityGroupAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One security group with its rules."""
    state = here(request, cloud)
    group = find_group(state, request.required("SecurityGroupId"), cloud)
    direction = request.get("Direction") or "all"
    if direction not in ("all", "ingress", "egress"):
        raise invalid_parameter("Direction", direction, "all, ingress or egress")
    nic_type = request.get("NicType") or "intranet"
    return {
        "RegionId": state.name,
        "SecurityGroupId": group["SecurityGroupId"],
        "SecurityGroupName": group["SecurityGroupName"],
        "Description": group["Description"],
        "VpcId": group["VpcId"],
        "InnerAccessPolicy": group["InnerAccessPolicy"],
        "Permissions": {
            "Permission": [
                {
                    **rule,
                    **dict.fromkeys(
                        (
                            "SourcePortRange",
                            "SourceGroupName",
                            "DestGroupName",
                            "SourceGroupOwnerAccount",
                            "DestGroupOwnerAccount",
                            "SourcePrefixListId",
                            "DestPrefixListId",
                            "SourcePrefixListName",
                            "DestPrefixListName",
                        ),
                        "",
                    ),
                }
                for rule in group["Rules"]
                if direction in ("all", rule["Direction"]) and rule["NicType"] == nic_type
            ]
        },
        "SnapshotPolicyIds": {"SnapshotPolicyId": []},
        "NextToken": "",
    }


@action(*ECS, resource=_GROUP)
def ModifySecurityGroupPolicy(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Let the members of a basic security group reach each other, or not."""
    state = here(request, cloud)
    group = find_group(state, request.required("SecurityGroupId"), cloud)
    policy = request.required("InnerAccessPolicy").capitalize()
    if policy not in ("Accept", "Drop"):
        raise invalid_parameter("InnerAccessPolicy", policy, "Accept or Drop")
    if policy == "Accept" and group["SecurityGroupType"] == "enterprise":
        raise ApiError(
            "InvalidOperation.SecurityGroupType",
            "The specified security group type does not support this operation. "
            f"{group['SecurityGroupId']} is an enterprise group, whose members never reach each "
            "other without a rule.",
            403,
        )
    group["InnerAccessPolicy"] = policy
    enforce(state, cloud, {group["SecurityGroupId"]})
    return {}


@action(*ECS, resource=_GROUP)
def ModifySecurityGroupAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a security group's name or description."""
    state = here(request, cloud)
    group = find_group(state, request.required("SecurityGroupId"), cloud)
    if request.get("SecurityGroupName"):
        group["SecurityGroupName"] = check_name(
            request.get("SecurityGroupName"),
            code="InvalidSecurityGroupName.Malformed",
            parameter="SecurityGroupName",
        )
    if "Description" in request.params:
        group["Description"] = check_description(
            request.get("Description"), code="InvalidSecurityGroupDiscription.Malformed"
        )
    return {}


@action(*ECS, resource=_GROUP)
def DeleteSecurityGroup(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Delete a security group that has no member and that no other group's rule names."""
    state = here(request, cloud)
    group_id = request.required("SecurityGroupId")
    find_group(state, group_id, cloud)
    members = [
        r["InstanceId"] for r in live_instances(state, cloud) if group_id in r["SecurityGroupIds"]
    ]
    if members:
        raise ApiError(
            "DependencyViolation",
            "There is still instance(s) in the specified security group. "
            f"{group_id} has {', '.join(members)}; take them out or release them first.",
            403,
        )
    naming = [
        key
        for key, other in state.table("security_groups").items()
        if key != group_id
        and any(group_id in (r["SourceGroupId"], r["DestGroupId"]) for r in other["Rules"])
    ]
    if naming:
        raise ApiError(
            "DependencyViolation",
            "The specified security group has been authorized in another one. "
            f"{group_id} is named by rules of {', '.join(naming)}; revoke them first.",
            403,
        )
    del state.table("security_groups")[group_id]
    return {}


@action(*ECS, resource=_GROUP)
def JoinSecurityGroup(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Add an instance to a security group."""
    state = here(request, cloud)
    group, instance = _pair(request, cloud, state)
    group_id = group["SecurityGroupId"]
    if group["VpcId"] != instance["VpcId"]:
        raise ApiError(
            "InvalidInstanceId.Mismatch",
            "Specified instance and security group are not in the same VPC. "
            f"{instance['InstanceId']} is in {instance['VpcId']}, {group_id} in {group['VpcId']}.",
        )
    if group_id in instance["SecurityGroupIds"]:
        raise ApiError(
            "InvalidInstanceId.AlreadyExists",
            "The specified instance already exists in the specified security group.",
            403,
        )
    if len(instance["SecurityGroupIds"]) >= MAX_GROUPS_PER_INSTANCE:
        raise ApiError(
            "InstanceSecurityGroupLimitExceeded",
            "Exceeding the allowed amount of security groups that an instance can be in. Allowed: "
            f"{MAX_GROUPS_PER_INSTANCE}.",
            403,
        )
    instance["SecurityGroupIds"].append(group_id)
    enforce(state, cloud, set(instance["SecurityGroupIds"]))
    return {}


@action(*ECS, resource=_GROUP)
def LeaveSecurityGroup(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Take an instance out of a security group; it must keep at least one."""
    state = here(request, cloud)
    group, instance = _pair(request, cloud, state)
    group_id = group["SecurityGroupId"]
    if group_id not in instance["SecurityGroupIds"]:
        raise ApiError(
            "InvalidSecurityGroupAssociation.NotFound",
            "The specified security group is not associated with the specified instance. "
            f"{instance['InstanceId']} is in {', '.join(instance['SecurityGroupIds'])}.",
            404,
        )
    if len(instance["SecurityGroupIds"]) == 1:
        raise ApiError(
            "InstanceLastSecurityGroup",
            "The specified security group is the last security group for the instance. Join "
            "another group first.",
            403,
        )
    before = set(instance["SecurityGroupIds"])
    instance["SecurityGroupIds"].remove(group_id)
    enforce(state, cloud, before)
    return {}


def _pair(request: Request, cloud: Cloud, state: RegionState) -> tuple[Row, Row]:
    group = find_group(state, request.required("SecurityGroupId"), cloud)
    return group, find_instance(state, request.required("InstanceId"), cloud)
