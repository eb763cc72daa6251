"""Recovery deletes exactly what a killed engine left, in an order that works, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from infra.recover import Cloud, recover, restore_checkpoints

TAGS = {"project": "wan-vace", "stack": "dev"}
OURS = {"Tag": [{"Key": key, "Value": value} for key, value in TAGS.items()]}
THEIRS = {"Tag": [{"Key": "project", "Value": "another"}]}


class CloudError(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class FakeApi:
    """Answers a product's calls from a table; records deletions."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.calls: list[tuple[str, dict[str, str]]] = []

    def client(self, _product: str) -> Any:
        def call(action: str, parameters: dict[str, str]) -> dict[str, Any]:
            self.calls.append((action, parameters))
            answer = self.answers.get(action, {})
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
            if isinstance(answer, Exception):
                raise answer
            return dict(answer)

        return call

    def deletions(self) -> list[str]:
        verbs = ("Delete", "Release", "Detach", "Unassociate")
        return [action for action, _ in self.calls if action.startswith(verbs)]


def pending(*operations: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "deployment": {
            "resources": [],
            "pending_operations": [
                {
                    "type": "creating",
                    "resource": {
                        "urn": f"urn:pulumi:dev::wan-vace::{kind}::thing",
                        "type": kind,
                        "inputs": inputs,
                    },
                }
                for kind, inputs in operations
            ],
        }
    }


VPC = ("alicloud:vpc/network:Network", {"vpcName": "wan-vace-dev", "tags": TAGS})
INSTANCE = (
    "alicloud:ecs/instance:Instance",
    {"instanceName": "wan-vace-dev", "vswitchId": "vsw-1", "tags": TAGS},
)
ROLE = ("alicloud:ram/role:Role", {"roleName": "wan-vace-dev-node"})


def run(state: dict[str, Any], api: FakeApi, known: frozenset[str] = frozenset()) -> list[str]:
    lines: list[str] = []
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    cloud = Cloud("cn-hangzhou", set(known), api.client)
    recover(state, cloud, lines.append, pause, lambda: now[0])
    return lines


def vpcs(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"Vpcs": {"Vpc": [{"VpcName": "wan-vace-dev", **row} for row in rows]}}


def test_what_the_cloud_made_is_deleted_and_the_note_removed() -> None:
    api = FakeApi({"DescribeVpcs": vpcs({"VpcId": "vpc-1", "Tags": OURS})})
    state = pending(VPC)
    assert "deleted vpc-1" in run(state, api)[0]
    assert api.deletions() == ["DeleteVpc"]
    assert state["deployment"]["pending_operations"] == []


def test_what_the_cloud_never_made_only_loses_its_note() -> None:
    api = FakeApi({"DescribeVpcs": vpcs()})
    state = pending(VPC)
    assert "had not made it" in run(state, api)[0]
    assert api.deletions() == []
    assert state["deployment"]["pending_operations"] == []


@pytest.mark.parametrize(
    ("row", "known"),
    [
        ({"VpcId": "vpc-1", "Tags": OURS}, frozenset({"vpc-1"})),
        ({"VpcId": "vpc-1", "Tags": THEIRS}, frozenset()),
        ({"VpcId": "vpc-1", "Tags": OURS, "VpcName": "another"}, frozenset()),
    ],
    ids=["in the state", "another's tags", "another name"],
)
def test_what_is_known_or_not_ours_is_never_touched(
    row: dict[str, Any], known: frozenset[str]
) -> None:
    """Prevents recovery from deleting a running deployment or somebody else's network."""
    api = FakeApi({"DescribeVpcs": vpcs(row)})
    run(pending(VPC), api, known)
    assert api.deletions() == []


def test_a_machine_goes_before_the_network_it_is_in() -> None:
    rows = {"Instances": {"Instance": [{"InstanceId": "i-1", "Tags": OURS}]}}
    api = FakeApi(
        {"DescribeVpcs": vpcs({"VpcId": "vpc-1", "Tags": OURS}), "DescribeInstances": rows}
    )
    run(pending(VPC, INSTANCE), api)
    assert api.deletions() == ["DeleteInstance", "DeleteVpc"]


def test_a_deletion_waits_for_what_is_still_changing() -> None:
    busy = CloudError("IncorrectInstanceStatus")
    rows = {"Instances": {"Instance": [{"InstanceId": "i-1", "Tags": OURS}]}}
    api = FakeApi({"DescribeInstances": rows, "DeleteInstance": [busy, busy, {}]})
    run(pending(INSTANCE), api)
    assert api.deletions() == ["DeleteInstance"] * 3


def test_what_cannot_be_deleted_is_named_with_the_remedy() -> None:
    rows = {"Instances": {"Instance": [{"InstanceId": "i-1", "Tags": OURS}]}}
    api = FakeApi({"DescribeInstances": rows, "DeleteInstance": CloudError("Forbidden.RAM")})
    with pytest.raises(RuntimeError, match=r"i-1 could not be deleted.*console"):
        run(pending(INSTANCE), api)


def test_a_role_that_exists_is_deleted_and_a_missing_one_is_not_an_error() -> None:
    there = FakeApi({"GetRole": {"Role": {}}})
    run(pending(ROLE), there)
    assert there.deletions() == ["DeleteRole"]
    gone = FakeApi({"GetRole": CloudError("EntityNotExist.Role")})
    assert "had not made it" in run(pending(ROLE), gone)[0]


def test_other_pending_operations_stay() -> None:
    """A deletion in flight is Pulumi's to finish."""
    state = pending(VPC)
    state["deployment"]["pending_operations"].append({"type": "deleting", "resource": {}})
    run(state, FakeApi({"DescribeVpcs": vpcs()}))
    assert [item["type"] for item in state["deployment"]["pending_operations"]] == ["deleting"]


def test_an_empty_checkpoint_is_restored_from_its_backup_and_others_are_left(
    tmp_path: Path,
) -> None:
    """Seen: an engine killed while it wrote leaves an empty file, and Pulumi then says EOF."""
    stacks = tmp_path / ".pulumi" / "stacks" / "wan-vace"
    stacks.mkdir(parents=True)
    (stacks / "dev.json").touch()
    (stacks / "dev.json.bak").write_text("before")
    (stacks / "prod.json").write_text("now")
    (stacks / "prod.json.bak").write_text("before")
    assert restore_checkpoints(tmp_path) == [stacks / "dev.json"]
    assert (stacks / "dev.json").read_text() == "before"
    assert (stacks / "prod.json").read_text() == "now"
