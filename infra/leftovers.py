"""What an unfinished creation may have left in the cloud, and how to delete it.

Each kind is found by its own name or id fields. It is this stack's when it stands in no state and
carries this stack's tags, or (because tags may come a moment later) none.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra import openapi

Inputs = Mapping[str, Any]
Known = frozenset[tuple[str, str]]
"""Type and id of every resource in the state. (Names are ids in RAM and OOS, and alike there.)"""


@dataclass(frozen=True)
class Found:
    """A resource that a killed engine may have left.

    ``delete`` is None for one that is not this stack's, which is only named.
    """

    label: str
    delete: Callable[[], object] | None


class Cloud:
    """Finds what an unfinished creation made, by the type's own name or id fields."""

    def __init__(self, region: str, known: Known, clients: Callable[[str], openapi.Api]) -> None:
        self._region = region
        self._known = known
        self._clients = clients
        self._finders: dict[str, Callable[[Inputs], list[Found]]] = {
            "alicloud:ecs/instance:Instance": self._instances,
            "alicloud:ecs/eipAssociation:EipAssociation": self._eip_association,
            "alicloud:ecs/ecsDiskAttachment:EcsDiskAttachment": self._disk_attachment,
            "alicloud:ecs/ramRoleAttachment:RamRoleAttachment": self._role_of_instance,
            "alicloud:ecs/ecsDisk:EcsDisk": self._disks,
            "alicloud:ecs/eipAddress:EipAddress": self._addresses,
            "alicloud:ecs/securityGroup:SecurityGroup": self._security_groups,
            "alicloud:vpc/switch:Switch": self._vswitches,
            "alicloud:vpc/network:Network": self._vpcs,
            "alicloud:ram/rolePolicyAttachment:RolePolicyAttachment": self._policy_attachment,
            "alicloud:ram/policy:Policy": self._policy,
            "alicloud:ram/role:Role": self._role,
            "alicloud:oos/parameter:Parameter": self._parameter,
            "alicloud:oos/secretParameter:SecretParameter": self._secret_parameter,
            "alicloud:oss/bucket:Bucket": self._bucket,
        }
        self.order = list(self._finders)
        """Types in the order in which they can be deleted."""

    def find(self, kind: str, inputs: Inputs) -> list[Found]:
        """Return what the unfinished creation of a ``kind`` with ``inputs`` has left.

        Kinds that leave nothing of their own (a rule dies with its group) return nothing.
        """
        finder = self._finders.get(kind)
        return finder(inputs) if finder else []

    def _call(self, product: str, action: str, **parameters: str) -> dict[str, Any]:
        return self._clients(product)(action, parameters)

    def _pick(
        self,
        kind: str,
        rows: Sequence[Mapping[str, Any]],
        inputs: Inputs,
        id_key: str,
        delete: Callable[[str], object],
    ) -> list[Found]:
        found = []
        for row in rows:
            tags = {
                item.get("Key") or item.get("TagKey"): item.get("Value") or item.get("TagValue")
                for item in (row.get("Tags") or {}).get("Tag", [])
            }
            found += self._judge(kind, row[id_key], tags, inputs, delete)
        return found

    def _judge(
        self,
        kind: str,
        name: str,
        tags: Mapping[Any, Any],
        inputs: Inputs,
        delete: Callable[[str], object],
    ) -> list[Found]:
        """Nothing for what stands in the state; else the resource, to delete if it is ours."""
        if (kind, name) in self._known:
            return []
        return [Found(name, (lambda: delete(name)) if _ours(tags, inputs) else None)]

    def _instances(self, inputs: Inputs) -> list[Found]:
        rows = self._call(
            "ecs",
            "DescribeInstances",
            InstanceName=inputs["instanceName"],
            VSwitchId=inputs["vswitchId"],
            PageSize="100",
        )["Instances"]["Instance"]
        return self._pick(
            "alicloud:ecs/instance:Instance",
            rows,
            inputs,
            "InstanceId",
            lambda name: self._call("ecs", "DeleteInstance", InstanceId=name, Force="true"),
        )

    def _disks(self, inputs: Inputs) -> list[Found]:
        rows = self._call("ecs", "DescribeDisks", DiskName=inputs["diskName"], PageSize="100")
        return self._pick(
            "alicloud:ecs/ecsDisk:EcsDisk",
            rows["Disks"]["Disk"],
            inputs,
            "DiskId",
            lambda name: self._call("ecs", "DeleteDisk", DiskId=name),
        )

    def _disk_attachment(self, inputs: Inputs) -> list[Found]:
        rows = self._call("ecs", "DescribeDisks", DiskIds=json.dumps([inputs["diskId"]]))
        return [
            Found(
                f"attachment of {row['DiskId']}",
                lambda row=row: self._call(  # type: ignore[misc]
                    "ecs", "DetachDisk", DiskId=row["DiskId"], InstanceId=row["InstanceId"]
                ),
            )
            for row in rows["Disks"]["Disk"]
            if row.get("InstanceId") == inputs["instanceId"]
        ]

    def _addresses(self, inputs: Inputs) -> list[Found]:
        rows = self._call(
            "vpc", "DescribeEipAddresses", EipName=inputs["addressName"], PageSize="100"
        )["EipAddresses"]["EipAddress"]
        named = [row for row in rows if row.get("Name") == inputs["addressName"]]
        return self._pick(
            "alicloud:ecs/eipAddress:EipAddress",
            named,
            inputs,
            "AllocationId",
            lambda name: self._call("vpc", "ReleaseEipAddress", AllocationId=name),
        )

    def _eip_association(self, inputs: Inputs) -> list[Found]:
        rows = self._call("vpc", "DescribeEipAddresses", AllocationId=inputs["allocationId"])
        return [
            Found(
                f"association of {row['AllocationId']}",
                lambda row=row: self._call(  # type: ignore[misc]
                    "vpc",
                    "UnassociateEipAddress",
                    AllocationId=row["AllocationId"],
                    InstanceId=row["InstanceId"],
                    InstanceType="EcsInstance",
                ),
            )
            for row in rows["EipAddresses"]["EipAddress"]
            if row.get("InstanceId") == inputs["instanceId"]
        ]

    def _role_of_instance(self, inputs: Inputs) -> list[Found]:
        ids = json.dumps([inputs["instanceId"]])
        rows = self._call("ecs", "DescribeInstanceRamRole", InstanceIds=ids)
        attached = [
            row
            for row in rows["InstanceRamRoleSets"]["InstanceRamRoleSet"]
            if row.get("RamRoleName") == inputs["ramRoleName"]
        ]
        return [
            Found(
                f"role of {inputs['instanceId']}",
                lambda: self._call(
                    "ecs",
                    "DetachInstanceRamRole",
                    InstanceIds=ids,
                    RamRoleName=inputs["ramRoleName"],
                ),
            )
            for _ in attached
        ]

    def _security_groups(self, inputs: Inputs) -> list[Found]:
        rows = self._call(
            "ecs",
            "DescribeSecurityGroups",
            VpcId=inputs["vpcId"],
            SecurityGroupName=inputs["securityGroupName"],
        )["SecurityGroups"]["SecurityGroup"]
        return self._pick(
            "alicloud:ecs/securityGroup:SecurityGroup",
            rows,
            inputs,
            "SecurityGroupId",
            lambda name: self._call("ecs", "DeleteSecurityGroup", SecurityGroupId=name),
        )

    def _vswitches(self, inputs: Inputs) -> list[Found]:
        rows = self._call("vpc", "DescribeVSwitches", VpcId=inputs["vpcId"], PageSize="50")
        named = [
            row
            for row in rows["VSwitches"]["VSwitch"]
            if row.get("VSwitchName") == inputs["vswitchName"]
        ]
        return self._pick(
            "alicloud:vpc/switch:Switch",
            named,
            inputs,
            "VSwitchId",
            lambda name: self._call("vpc", "DeleteVSwitch", VSwitchId=name),
        )

    def _vpcs(self, inputs: Inputs) -> list[Found]:
        rows = self._call("vpc", "DescribeVpcs", VpcName=inputs["vpcName"], PageSize="50")
        named = [row for row in rows["Vpcs"]["Vpc"] if row.get("VpcName") == inputs["vpcName"]]
        return self._pick(
            "alicloud:vpc/network:Network",
            named,
            inputs,
            "VpcId",
            lambda name: self._call("vpc", "DeleteVpc", VpcId=name),
        )

    def _exists(self, product: str, action: str, **parameters: str) -> bool:
        try:
            self._call(product, action, **parameters)
        except Exception as error:
            if openapi.missing(error):
                return False
            raise
        return True

    def _ram_tags(self, kind: str, name: str) -> dict[str, str]:
        answer = self._call(
            "ram", "ListTagResources", ResourceType=kind, ResourceNames=json.dumps([name])
        )
        # RAM answers a flat list, other products wrap it.
        return {row["TagKey"]: row["TagValue"] for row in answer.get("TagResources") or []}

    def _role(self, inputs: Inputs) -> list[Found]:
        name = inputs["roleName"]
        if not self._exists("ram", "GetRole", RoleName=name):
            return []
        return self._judge(
            "alicloud:ram/role:Role",
            name,
            self._ram_tags("role", name),
            inputs,
            lambda name: self._call("ram", "DeleteRole", RoleName=name),
        )

    def _policy(self, inputs: Inputs) -> list[Found]:
        name = inputs["policyName"]
        if not self._exists("ram", "GetPolicy", PolicyName=name, PolicyType="Custom"):
            return []
        return self._judge(
            "alicloud:ram/policy:Policy",
            name,
            self._ram_tags("policy", name),
            inputs,
            lambda name: self._call("ram", "DeletePolicy", PolicyName=name),
        )

    def _policy_attachment(self, inputs: Inputs) -> list[Found]:
        role, policy, kind = inputs["roleName"], inputs["policyName"], inputs["policyType"]
        # The provider's id (resource_alicloud_ram_role_policy_attachment.go, create).
        attachment = f"role:{policy}:{kind}:{role}"
        if ("alicloud:ram/rolePolicyAttachment:RolePolicyAttachment", attachment) in self._known:
            return []
        try:
            rows = self._call("ram", "ListPoliciesForRole", RoleName=role)["Policies"]["Policy"]
        except Exception as error:
            if openapi.missing(error):
                return []
            raise
        if not any(row["PolicyName"] == policy and row["PolicyType"] == kind for row in rows):
            return []
        # An attachment has no tags. It is this stack's when its role is: the state has made it.
        ours = ("alicloud:ram/role:Role", role) in self._known
        label = f"policy {policy} of role {role}"
        return [
            Found(
                label,
                (
                    lambda: self._call(
                        "ram",
                        "DetachPolicyFromRole",
                        RoleName=role,
                        PolicyName=policy,
                        PolicyType=kind,
                    )
                )
                if ours
                else None,
            )
        ]

    def _oos(self, kind: str, noun: str, name: str, inputs: Inputs) -> list[Found]:
        """A plain or secret parameter; ``noun`` is what its actions are named after."""
        if not self._exists("oos", f"Get{noun}", Name=name):
            return []
        answer = self._call(
            "oos", "ListTagResources", ResourceType=noun.lower(), ResourceIds=json.dumps([name])
        )
        rows = (answer.get("TagResources") or {}).get("TagResource") or []
        return self._judge(
            kind,
            name,
            {row["TagKey"]: row["TagValue"] for row in rows},
            inputs,
            lambda name: self._call("oos", f"Delete{noun}", Name=name),
        )

    def _parameter(self, inputs: Inputs) -> list[Found]:
        kind = "alicloud:oos/parameter:Parameter"
        return self._oos(kind, "Parameter", inputs["parameterName"], inputs)

    def _secret_parameter(self, inputs: Inputs) -> list[Found]:
        kind = "alicloud:oos/secretParameter:SecretParameter"
        return self._oos(kind, "SecretParameter", inputs["secretParameterName"], inputs)

    def _bucket(self, inputs: Inputs) -> list[Found]:
        from infra import oss  # noqa: PLC0415  slow SDK

        name = inputs["bucket"]
        if not oss.owns_bucket(self._region, name):
            return []
        return self._judge(
            "alicloud:oss/bucket:Bucket",
            name,
            oss.bucket_tags(self._region, name),
            inputs,
            lambda name: oss.delete_bucket(self._region, name),
        )


def _ours(tags: Mapping[Any, Any], inputs: Inputs) -> bool:
    """Whether these are this stack's tags, or none at all."""
    wanted = inputs.get("tags") or {}
    return not tags or all(
        wanted.get(key) and tags.get(key) == wanted[key] for key in ("project", "stack")
    )
