"""Go on after the engine was killed: ``python -m infra.recover``, then ``pulumi up``.

A killed engine leaves a lock, and for each creation in flight a note in the state without an id:
the cloud may or may not have made the resource. This command removes the lock, looks for exactly
those resources, deletes what it finds, and clears the notes, so that the next ``pulumi up`` makes
them again and ``pulumi destroy`` leaves nothing behind.

It touches only resources whose creation the state notes as unfinished, which bear this stack's
name, stand in no state, and carry this stack's tags or (because tags come a moment later) none.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra import openapi

DEADLINE_SECONDS = 120
"""How long a deletion may wait for what depends on it to go."""
POLL_SECONDS = 2.0

Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """A resource that a killed engine may have left: how to call and how to delete it."""

    label: str
    delete: Callable[[], object]


class Cloud:
    """Finds what an unfinished creation made, by the type's own name or id fields."""

    def __init__(self, region: str, known_ids: set[str], clients: Callable[[str], openapi.Api]):
        self._region = region
        self._known = known_ids
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
        rows: Sequence[Mapping[str, Any]],
        inputs: Inputs,
        id_key: str,
        delete: Callable[[str], object],
    ) -> list[Found]:
        return [
            Found(row[id_key], lambda row=row: delete(row[id_key]))  # type: ignore[misc]
            for row in rows
            if row[id_key] not in self._known and _ours(row, inputs)
        ]

    def _instances(self, inputs: Inputs) -> list[Found]:
        rows = self._call(
            "ecs",
            "DescribeInstances",
            InstanceName=inputs["instanceName"],
            VSwitchId=inputs["vswitchId"],
            PageSize="100",
        )["Instances"]["Instance"]
        return self._pick(
            rows,
            inputs,
            "InstanceId",
            lambda name: self._call("ecs", "DeleteInstance", InstanceId=name, Force="true"),
        )

    def _disks(self, inputs: Inputs) -> list[Found]:
        rows = self._call("ecs", "DescribeDisks", DiskName=inputs["diskName"], PageSize="100")
        return self._pick(
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
            if row.get("InstanceId")
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
            named,
            inputs,
            "VSwitchId",
            lambda name: self._call("vpc", "DeleteVSwitch", VSwitchId=name),
        )

    def _vpcs(self, inputs: Inputs) -> list[Found]:
        rows = self._call("vpc", "DescribeVpcs", VpcName=inputs["vpcName"], PageSize="50")
        named = [row for row in rows["Vpcs"]["Vpc"] if row.get("VpcName") == inputs["vpcName"]]
        return self._pick(
            named, inputs, "VpcId", lambda name: self._call("vpc", "DeleteVpc", VpcId=name)
        )

    def _named(
        self, product: str, get: str, delete: str, parameters: dict[str, str], missing: str
    ) -> list[Found]:
        """Something whose name is its id: it exists or it does not."""
        try:
            self._call(product, get, **parameters)
        except Exception as error:
            if openapi.code(error).startswith(missing):
                return []
            raise
        label = next(iter(parameters.values()))
        return [Found(label, lambda: self._call(product, delete, **parameters))]

    def _role(self, inputs: Inputs) -> list[Found]:
        return self._named(
            "ram", "GetRole", "DeleteRole", {"RoleName": inputs["roleName"]}, "EntityNotExist"
        )

    def _policy(self, inputs: Inputs) -> list[Found]:
        name = {"PolicyName": inputs["policyName"]}
        found = self._named(
            "ram", "GetPolicy", "DeletePolicy", {**name, "PolicyType": "Custom"}, "EntityNotExist"
        )
        return [
            Found(item.label, lambda: self._call("ram", "DeletePolicy", **name)) for item in found
        ]

    def _policy_attachment(self, inputs: Inputs) -> list[Found]:
        rows = self._call("ram", "ListPoliciesForRole", RoleName=inputs["roleName"])
        return [
            Found(
                f"policy {row['PolicyName']} of role {inputs['roleName']}",
                lambda: self._call(
                    "ram",
                    "DetachPolicyFromRole",
                    RoleName=inputs["roleName"],
                    PolicyName=inputs["policyName"],
                    PolicyType=inputs["policyType"],
                ),
            )
            for row in rows["Policies"]["Policy"]
            if row["PolicyName"] == inputs["policyName"]
        ]

    def _parameter(self, inputs: Inputs) -> list[Found]:
        name = {"Name": inputs["parameterName"]}
        return self._named("oos", "GetParameter", "DeleteParameter", name, "EntityNotExists")

    def _secret_parameter(self, inputs: Inputs) -> list[Found]:
        name = {"Name": inputs["secretParameterName"]}
        return self._named(
            "oos", "GetSecretParameter", "DeleteSecretParameter", name, "EntityNotExists"
        )

    def _bucket(self, inputs: Inputs) -> list[Found]:
        from infra.oss import delete_bucket, owns_bucket  # noqa: PLC0415  slow SDK

        name = inputs["bucket"]
        if not owns_bucket(self._region, name):
            return []
        return [Found(name, lambda: delete_bucket(self._region, name))]


def _ours(row: Mapping[str, Any], inputs: Inputs) -> bool:
    """Whether a row carries this stack's tags, or none at all."""
    tags = {
        item.get("Key") or item.get("TagKey"): item.get("Value") or item.get("TagValue")
        for item in (row.get("Tags") or {}).get("Tag", [])
    }
    wanted = inputs.get("tags") or {}
    return not tags or all(tags.get(key) == wanted.get(key) for key in ("project", "stack"))


def recover(
    state: dict[str, Any],
    cloud: Cloud,
    say: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Delete what the unfinished creations in ``state`` left; remove their notes from it.

    Returns:
        How many resources were deleted.

    Raises:
        RuntimeError: something could not be deleted within :data:`DEADLINE_SECONDS`.
    """
    deployment = state["deployment"]
    pending = deployment.get("pending_operations") or []
    creations = [item["resource"] for item in pending if item["type"] == "creating"]
    creations.sort(
        key=lambda item: cloud.order.index(item["type"]) if item["type"] in cloud.order else 99
    )
    deleted = 0
    for resource in creations:
        name = resource["urn"].rsplit("::", 1)[1]
        found = cloud.find(resource["type"], resource.get("inputs") or {})
        if not found:
            say(f"{resource['type']} {name}: the cloud had not made it")
        for item in found:
            _delete(item, pause, clock)
            deleted += 1
            say(f"{resource['type']} {name}: deleted {item.label}, which stood in no state")
    deployment["pending_operations"] = [item for item in pending if item["type"] != "creating"]
    return deleted


def _delete(item: Found, pause: Callable[[float], None], clock: Callable[[], float]) -> None:
    deadline = clock() + DEADLINE_SECONDS
    while True:
        try:
            item.delete()
        except Exception as error:
            # What was made a moment ago may still be changing its status, or have dependants.
            if clock() > deadline:
                raise RuntimeError(
                    f"{item.label} could not be deleted within {DEADLINE_SECONDS} s: {error}. "
                    "Delete it in the console, then run this command again"
                ) from error
            pause(POLL_SECONDS)
        else:
            return


def restore_checkpoints(backend: Path) -> list[Path]:
    """Put back the backup of every checkpoint that a killed engine left empty.

    A folder as backend is not written in one step. The backup is the state before the last step,
    with the note of what that step began, so nothing is lost by going back to it.
    """
    restored = []
    for path in (backend / ".pulumi" / "stacks").rglob("*.json"):
        backup = path.with_name(f"{path.name}.bak")
        if path.stat().st_size == 0 and backup.exists():
            shutil.copyfile(backup, path)
            restored.append(path)
    return restored


def _pulumi(
    arguments: list[str], options: Sequence[str], *, check: bool = True, stdin: str = ""
) -> str:
    ended = subprocess.run(
        ["pulumi", *arguments, *options], input=stdin, check=False, text=True, capture_output=True
    )
    if check and ended.returncode != 0:
        raise RuntimeError(f"`pulumi {' '.join(arguments)}` failed: {ended.stderr.strip()}")
    return ended.stdout


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of ``python -m infra.recover``."""
    parser = argparse.ArgumentParser(prog="python -m infra.recover", description=__doc__)
    parser.add_argument("--stack", help="stack to work on; default: the selected one")
    options = parser.parse_args(argv)
    stack = ["--stack", options.stack] if options.stack else []
    try:
        url = json.loads(_pulumi(["whoami", "--verbose", "--json"], []))["url"]
        if url.startswith("file://"):
            for path in restore_checkpoints(Path(url.removeprefix("file://")).expanduser()):
                print(f"{path} was empty; restored its backup")
        _pulumi(["cancel", "--yes"], [options.stack] if options.stack else [], check=False)
        # Inputs may be encrypted; a name never is, but an export without secrets hides the object.
        state = json.loads(_pulumi(["stack", "export", "--show-secrets"], stack))
        resources = state["deployment"].get("resources") or []
        known = {str(item["id"]) for item in resources if item.get("id")}
        region = _region(resources)
        clients: dict[str, openapi.Api] = {}

        def client(product: str) -> openapi.Api:
            return clients.setdefault(product, openapi.client(product, region))

        deleted = recover(state, Cloud(region, known, client), print)
        _pulumi(["stack", "import"], stack, stdin=json.dumps(state))
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{deleted} resource(s) deleted. Go on with `pulumi up` or `pulumi destroy`.")
    return 0


def _region(resources: Sequence[Mapping[str, Any]]) -> str:
    for item in resources:
        if item["type"] == "pulumi:providers:alicloud" and item["inputs"].get("region"):
            return str(item["inputs"]["region"])
    raise RuntimeError(
        "the stack's state has no Alibaba Cloud provider yet, so nothing was created; "
        "just run `pulumi up`"
    )


if __name__ == "__main__":
    sys.exit(main())
