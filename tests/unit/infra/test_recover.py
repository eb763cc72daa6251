"""Recovery deletes exactly what a killed engine left, in an order that works, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra import openapi, oss
from infra import recover as command
from infra.leftovers import Cloud, Known
from infra.recover import RecoveryError, recover, restore_checkpoints

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
NAME = "wan-vace-dev-node"
"""Role, policy and settings parameter have the same name."""
ROLE = ("alicloud:ram/role:Role", {"roleName": NAME, "tags": TAGS})
POLICY = ("alicloud:ram/policy:Policy", {"policyName": NAME, "tags": TAGS})
PARAMETER = ("alicloud:oos/parameter:Parameter", {"parameterName": NAME, "tags": TAGS})
SECRET = (
    "alicloud:oos/secretParameter:SecretParameter",
    {"secretParameterName": NAME, "tags": TAGS},
)
BUCKET = ("alicloud:oss/bucket:Bucket", {"bucket": NAME, "tags": TAGS})
ATTACHMENT = (
    "alicloud:ram/rolePolicyAttachment:RolePolicyAttachment",
    {"roleName": NAME, "policyName": NAME, "policyType": "Custom"},
)
ANOTHERS = {"project": "wan-vace", "stack": "prod"}


def run(state: dict[str, Any], api: FakeApi, known: Known = frozenset()) -> list[str]:
    lines: list[str] = []
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    cloud = Cloud("cn-hangzhou", known, api.client)
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
        ({"VpcId": "vpc-1", "Tags": OURS}, frozenset({(VPC[0], "vpc-1")})),
        ({"VpcId": "vpc-1", "Tags": THEIRS}, frozenset()),
        ({"VpcId": "vpc-1", "Tags": OURS, "VpcName": "another"}, frozenset()),
    ],
    ids=["in the state", "another's tags", "another name"],
)
def test_what_is_known_or_not_ours_is_never_touched(row: dict[str, Any], known: Known) -> None:
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


def test_what_is_gone_already_is_done() -> None:
    """A first recovery that was cut off has deleted it; the list was a moment behind."""
    rows = {"Instances": {"Instance": [{"InstanceId": "i-1", "Tags": OURS}]}}
    for gone in ("InvalidInstanceId.NotFound", "Forbidden.InstanceNotFound"):
        api = FakeApi({"DescribeInstances": rows, "DeleteInstance": CloudError(gone)})
        run(pending(INSTANCE), api)
        assert api.deletions() == ["DeleteInstance"]


@pytest.mark.parametrize("refused", ["Forbidden.RAM", "NoPermission", "InvalidParameter"])
def test_a_final_refusal_is_not_repeated_and_names_the_remedy(refused: str) -> None:
    """Two minutes of tries do not give anybody a permission."""
    rows = {"Instances": {"Instance": [{"InstanceId": "i-1", "Tags": OURS}]}}
    api = FakeApi({"DescribeInstances": rows, "DeleteInstance": CloudError(refused)})
    state = pending(INSTANCE)
    with pytest.raises(RecoveryError, match=rf"i-1 could not be deleted: {refused}.*run this"):
        run(state, api)
    assert api.deletions() == ["DeleteInstance"]
    assert state["deployment"]["pending_operations"], "the note must stay"


def test_what_hangs_on_something_is_given_up_after_the_deadline() -> None:
    rows = {"Instances": {"Instance": [{"InstanceId": "i-1", "Tags": OURS}]}}
    busy = CloudError("DependencyViolation.RouteEntry")
    api = FakeApi({"DescribeInstances": rows, "DeleteInstance": busy})
    with pytest.raises(RecoveryError, match=r"within 120 s.*DependencyViolation"):
        run(pending(INSTANCE), api)
    assert len(api.deletions()) > 10


def ram(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"TagKey": key, "TagValue": value} for key, value in tags.items()]


def answers(kind: tuple[str, Any], tags: dict[str, str]) -> dict[str, Any]:
    """A resource of a kind whose name is its id, as its product shows it."""
    rows: Any = ram(tags)
    if "oos/" in kind[0]:
        rows = {"TagResource": rows}
    return {"ListTagResources": {"TagResources": rows}}


NAMED = pytest.mark.parametrize(
    ("kind", "deletion"),
    [
        (ROLE, "DeleteRole"),
        (POLICY, "DeletePolicy"),
        (PARAMETER, "DeleteParameter"),
        (SECRET, "DeleteSecretParameter"),
    ],
    ids=["role", "policy", "parameter", "secret parameter"],
)


@NAMED
@pytest.mark.parametrize("tags", [TAGS, {}], ids=["ours", "not yet tagged"])
def test_what_is_known_by_name_is_deleted(kind: Any, deletion: str, tags: dict[str, str]) -> None:
    api = FakeApi(answers(kind, tags))
    assert f"deleted {NAME}" in run(pending(kind), api)[0]
    assert api.deletions() == [deletion]


@NAMED
def test_what_bears_our_name_and_anothers_tags_is_left_and_said_so(
    kind: Any, deletion: str
) -> None:
    """Prevents recovery from deleting the role of another stack whose name is the same."""
    api = FakeApi(answers(kind, ANOTHERS))
    assert (
        f"left {NAME}, which has this stack's name but the tags of another"
        in (run(pending(kind), api)[0])
    )
    assert api.deletions() == [], deletion


@NAMED
def test_a_name_in_the_state_is_left(kind: Any, deletion: str) -> None:
    """But only of the same kind: role, policy and parameter are all called alike."""
    api = FakeApi(answers(kind, TAGS))
    run(pending(kind), api, frozenset({(kind[0], NAME)}))
    assert api.deletions() == []
    run(pending(kind), api, frozenset({("alicloud:another:Kind", NAME)}))
    assert api.deletions() == [deletion]


@NAMED
def test_a_name_that_does_not_exist_is_not_an_error(kind: Any, deletion: str) -> None:
    missing = CloudError(
        "EntityNotExist.Role" if "ram/" in kind[0] else "EntityNotExists.Parameter"
    )
    gets = ("GetRole", "GetPolicy", "GetParameter", "GetSecretParameter")
    api = FakeApi(dict.fromkeys(gets, missing))
    assert "had not made it" in run(pending(kind), api)[0]
    assert api.deletions() == [], deletion


@pytest.mark.parametrize(
    ("tags", "known", "deleted"),
    [
        (TAGS, frozenset(), [NAME]),
        ({}, frozenset(), [NAME]),
        (ANOTHERS, frozenset(), []),
        (TAGS, frozenset({(BUCKET[0], NAME)}), []),
    ],
    ids=["ours", "not yet tagged", "another's", "in the state"],
)
def test_a_bucket_is_judged_by_its_tags(
    monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], known: Known, deleted: list[str]
) -> None:
    gone: list[str] = []
    monkeypatch.setattr(oss, "owns_bucket", lambda _region, _name: True)
    monkeypatch.setattr(oss, "bucket_tags", lambda _region, _name: tags)
    monkeypatch.setattr(oss, "delete_bucket", lambda _region, name: gone.append(name))
    run(pending(BUCKET), FakeApi({}), known)
    assert gone == deleted


def attached() -> FakeApi:
    rows = [{"PolicyName": NAME, "PolicyType": "Custom"}]
    return FakeApi({"ListPoliciesForRole": {"Policies": {"Policy": rows}}})


def test_a_policy_is_detached_from_the_role_of_this_stack_only() -> None:
    api = attached()
    run(pending(ATTACHMENT), api, frozenset({(ROLE[0], NAME)}))
    assert api.deletions() == ["DetachPolicyFromRole"]
    api = attached()
    assert "left policy" in run(pending(ATTACHMENT), api)[0]
    assert api.deletions() == []
    api = attached()
    stands = (ATTACHMENT[0], f"role:{NAME}:Custom:{NAME}")
    run(pending(ATTACHMENT), api, frozenset({(ROLE[0], NAME), stands}))
    assert api.deletions() == []


def test_a_policy_attachment_without_its_role_is_not_an_error() -> None:
    api = FakeApi({"ListPoliciesForRole": CloudError("EntityNotExist.Role")})
    assert "had not made it" in run(pending(ATTACHMENT), api)[0]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A stack in which a VPC was being made; holds the Pulumi commands that were run."""
    state = pending(VPC)
    provider = {"type": "pulumi:providers:alicloud", "inputs": {"region": "cn-hangzhou"}, "id": "p"}
    state["deployment"]["resources"] = [provider]
    ran: list[list[str]] = []

    def pulumi(arguments: list[str], *_options: Any, **_how: Any) -> str:
        ran.append(arguments)
        return json.dumps({**state, "url": "https://api.example.com"})

    monkeypatch.setattr(command, "_pulumi", pulumi)
    return ran


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CloudError("InvalidAccessKeyId.NotFound"), "does not know the access key"),
        (CloudError("InvalidSecurityToken.Expired"), "temporary credentials have expired"),
        (CloudError("SomethingNew"), "SomethingNew"),
        (ConnectionResetError("cut"), "did not answer"),
    ],
    ids=["wrong key", "expired token", "unexpected code", "no answer"],
)
def test_errors_of_the_cloud_are_one_sentence_and_leave_the_state(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stack: list[list[str]],
    error: Exception,
    words: str,
) -> None:
    api = FakeApi({"DescribeVpcs": error})
    monkeypatch.setattr(openapi, "client", lambda product, _region: api.client(product))
    assert command.main([]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert words in printed
    assert "The state was not changed" in printed
    assert ["stack", "import"] not in stack


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


def test_a_torn_attributes_file_is_removed_and_whole_ones_are_left(tmp_path: Path) -> None:
    """Seen: it is empty when the engine dies in the moment before it replaces the checkpoint."""
    stacks = tmp_path / ".pulumi" / "stacks" / "wan-vace"
    stacks.mkdir(parents=True)
    (stacks / "dev.json").write_text("{}")
    (stacks / "dev.json.attrs").touch()
    (stacks / "prod.json.attrs").write_text('{"md5": ""}')
    assert restore_checkpoints(tmp_path) == [stacks / "dev.json.attrs"]
    assert not (stacks / "dev.json.attrs").exists()
    assert (stacks / "dev.json").exists()
    assert (stacks / "prod.json.attrs").exists()
