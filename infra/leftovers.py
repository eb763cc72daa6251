"""What an unfinished creation may have left in the cloud, and how to delete it.

Each kind is found by its own name or id fields. It is this stack's when it stands in no state and
carries this stack's tags, or (because tags may come a moment later) none.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from infra import cluster_access, leftover_clusters, leftover_releases, openapi
from infra.kubernetes_api import KubernetesApi
from infra.leftover_lists import (
    ACCESS_LIST,
    ADDRESS,
    BALANCER,
    CLUSTER,
    DISK,
    INSTANCE,
    LISTED,
    NAT_GATEWAY,
    RELEASE,
    SECURITY_GROUP,
    VPC,
    VSWITCH,
)

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


def reach_cluster(ask: openapi.Api, cluster_id: str) -> leftover_releases.Objects:
    """Return a way into a cluster, at the address that CS gives."""
    return KubernetesApi(lambda: cluster_access.fetch(ask, cluster_id, minutes=15))


class Cloud:
    """Finds what an unfinished creation made, by the type's own name or id fields."""

    def __init__(
        self,
        region: str,
        known: Known,
        clients: Callable[[str], openapi.Api],
        reach: Callable[[openapi.Api, str], leftover_releases.Objects] = reach_cluster,
    ) -> None:
        self._region = region
        self._known = known
        self._clients = clients
        self._reach = reach
        self._finders: dict[str, Callable[[Inputs], list[Found]]] = {
            RELEASE: self._release,
            CLUSTER: self._cluster,
            INSTANCE: partial(self._listed, INSTANCE),
            "alicloud:ecs/eipAssociation:EipAssociation": self._eip_association,
            "alicloud:ecs/ecsDiskAttachment:EcsDiskAttachment": self._disk_attachment,
            "alicloud:ecs/ramRoleAttachment:RamRoleAttachment": self._role_of_instance,
            NAT_GATEWAY: partial(self._listed, NAT_GATEWAY),
            BALANCER: partial(self._listed, BALANCER),
            ACCESS_LIST: partial(self._listed, ACCESS_LIST),
            DISK: partial(self._listed, DISK),
            ADDRESS: partial(self._listed, ADDRESS),
            SECURITY_GROUP: partial(self._listed, SECURITY_GROUP),
            VSWITCH: partial(self._listed, VSWITCH),
            VPC: partial(self._listed, VPC),
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

    def _listed(self, kind: str, inputs: Inputs) -> list[Found]:
        how = LISTED[kind]
        filters = {parameter: inputs[key] for parameter, key in how.filters.items()}
        answer: Any = self._call(how.product, how.action, **filters, **how.fixed)
        for key in how.rows:
            answer = answer[key]
        if how.name is not None:
            shown, key = how.name
            answer = [row for row in answer if row.get(shown) == inputs[key]]

        def delete(name: str) -> object:
            return self._call(how.product, how.delete, **{how.id_key: name}, **how.force)

        return self._pick(kind, answer, inputs, how.id_key, delete)

    def _release(self, inputs: Inputs) -> list[Found]:
        namespace, name = inputs["namespace"], inputs["name"]
        if any(kind == RELEASE for kind, _ in self._known):
            return []  # an update of it: helm itself rolls on from there
        found = []
        for cluster_id in (row for kind, row in self._known if kind == CLUSTER):
            api = self._reach(self._clients("cs"), cluster_id)
            paths = leftover_releases.objects(api, namespace, name)
            if paths:
                # The namespace is this stack's own, so all that is in it is.
                delete = partial(leftover_releases.delete, api, paths)
                found.append(Found(f"helm release {namespace}/{name}", delete))
        return found

    def _cluster(self, inputs: Inputs) -> list[Found]:
        ask = self._clients("cs")
        found = []
        for row in leftover_clusters.listed(ask, inputs["name"]):
            tags = {item["key"]: item["value"] for item in row.get("tags") or []}
            found += self._judge(
                CLUSTER,
                row["cluster_id"],
                # The service adds tags of its own to every cluster.
                {key: value for key, value in tags.items() if not key.startswith("ack.")},
                inputs,
                partial(leftover_clusters.delete, ask),
            )
        return found

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
                    InstanceType=inputs.get("instanceType") or "EcsInstance",
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
