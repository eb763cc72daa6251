"""RAM roles and policies, and what they make STS and the other products allow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from alibabacloud_oos20190601 import models as oos
from alibabacloud_ram20150501 import models as ram
from alibabacloud_sts20150401 import models as sts
from alibabacloud_tea_openapi.exceptions import ClientException

from rehearsal.cloud.credentials import Credential

from .conftest import RunningCloud


def trust(**principal: list[str]) -> str:
    """A trust policy."""
    return json.dumps(
        {
            "Version": "1",
            "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}],
        }
    )


ECS_TRUST = trust(Service=["ecs.aliyuncs.com"])


def access(*actions: str, resource: str = "*", effect: str = "Allow") -> str:
    """A policy document."""
    statement = {"Effect": effect, "Action": list(actions), "Resource": [resource]}
    return json.dumps({"Version": "1", "Statement": [statement]})


@pytest.fixture
def client(cloud: RunningCloud) -> Any:
    """RAM as root."""
    return cloud.client("ram")


def refused(code: str, call: Any, request: Any) -> ClientException:
    """Expect a refusal with this code."""
    with pytest.raises(ClientException) as refusal:
        call(request)
    assert refusal.value.code == code
    return refusal.value


def make_role(client: Any, name: str = "Stack-Node", document: str = ECS_TRUST) -> Any:
    """Create a role."""
    request = ram.CreateRoleRequest(role_name=name, assume_role_policy_document=document)
    return client.create_role(request).body.role


def make_policy(client: Any, name: str = "stack-read", document: str = "") -> None:
    """Create a policy."""
    document = document or access("oos:GetParameter")
    client.create_policy(ram.CreatePolicyRequest(policy_name=name, policy_document=document))


def attach(client: Any, policy: str, role: str = "Stack-Node", kind: str = "Custom") -> None:
    """Attach a policy to a role."""
    request = ram.AttachPolicyToRoleRequest(policy_name=policy, policy_type=kind, role_name=role)
    client.attach_policy_to_role(request)


class TestRoles:
    """Roles."""

    def test_a_role_is_created_read_changed_and_deleted(self, client: Any) -> None:
        """Prevents the provider's role resource from failing."""
        made = make_role(client)
        assert made.arn.endswith(":role/stack-node")
        assert made.max_session_duration == 3600
        client.update_role(
            ram.UpdateRoleRequest(
                role_name="Stack-Node", new_description="node", new_max_session_duration=7200
            )
        )
        read = client.get_role(ram.GetRoleRequest(role_name="Stack-Node")).body.role
        assert read.assume_role_policy_document == ECS_TRUST
        assert (read.description, read.max_session_duration) == ("node", 7200)
        client.delete_role(ram.DeleteRoleRequest(role_name="Stack-Node"))
        gone = refused(
            "EntityNotExist.Role", client.get_role, ram.GetRoleRequest(role_name="Stack-Node")
        )
        assert gone.status_code == 404

    def test_a_name_is_taken_once_whatever_its_case(self, client: Any) -> None:
        """Prevents two stacks from sharing a role by accident."""
        make_role(client)
        request = ram.CreateRoleRequest(
            role_name="stack-node", assume_role_policy_document=ECS_TRUST
        )
        assert refused("EntityAlreadyExists.Role", client.create_role, request).status_code == 409

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("n" * 65, "InvalidParameter.RoleName.Length"),
            ("under_score", "InvalidParameter.RoleName.InvalidChars"),
        ],
    )
    def test_a_name_that_ram_refuses_is_refused(self, client: Any, name: str, code: str) -> None:
        """Prevents names that only fail on the real cloud."""
        request = ram.CreateRoleRequest(role_name=name, assume_role_policy_document=ECS_TRUST)
        refused(code, client.create_role, request)

    def test_a_role_with_policies_cannot_be_deleted(self, client: Any) -> None:
        """Prevents a destroy in the wrong order from passing."""
        make_role(client)
        make_policy(client)
        attach(client, "stack-read")
        request = ram.DeleteRoleRequest(role_name="Stack-Node")
        refused("DeleteConflict.Role.Policy", client.delete_role, request)
        client.detach_policy_from_role(
            ram.DetachPolicyFromRoleRequest(
                policy_name="stack-read", policy_type="Custom", role_name="Stack-Node"
            )
        )
        client.delete_role(request)


class TestPolicies:
    """Policies."""

    def test_a_policy_keeps_five_versions(self, client: Any) -> None:
        """Prevents endless policy updates, which fail at the sixth on the real cloud."""
        make_policy(client)
        for number in range(2, 6):
            client.create_policy_version(
                ram.CreatePolicyVersionRequest(
                    policy_name="stack-read",
                    policy_document=access(f"oos:Get{number}"),
                    set_as_default=True,
                )
            )
        sixth = ram.CreatePolicyVersionRequest(
            policy_name="stack-read", policy_document=access("oos:*"), set_as_default=True
        )
        refused("LimitExceeded.Policy.Version", client.create_policy_version, sixth)
        sixth.rotate_strategy = "DeleteOldestNonDefaultVersionWhenLimitExceeded"
        client.create_policy_version(sixth)
        versions = client.list_policy_versions(
            ram.ListPolicyVersionsRequest(policy_name="stack-read", policy_type="Custom")
        ).body.policy_versions.policy_version
        assert [v.version_id for v in versions] == ["v2", "v3", "v4", "v5", "v6"]
        assert [v.version_id for v in versions if v.is_default_version] == ["v6"]

    def test_a_policy_in_use_is_deleted_only_in_cascade(self, client: Any) -> None:
        """Prevents permissions from vanishing under a running node unasked."""
        make_role(client)
        make_policy(client)
        attach(client, "stack-read")
        request = ram.DeletePolicyRequest(policy_name="stack-read")
        refused("DeleteConflict.Role.Policy", client.delete_policy, request)
        request.cascading_delete = True
        client.delete_policy(request)
        listed = client.list_policies_for_role(
            ram.ListPoliciesForRoleRequest(role_name="Stack-Node")
        )
        assert listed.body.policies.policy == []

    def test_attachments_are_listed_from_both_ends(self, client: Any) -> None:
        """Prevents the provider's attachment resource from losing its attachment."""
        make_role(client)
        make_policy(client)
        attach(client, "stack-read")
        attach(client, "AliyunOSSReadOnlyAccess", kind="System")
        policies = client.list_policies_for_role(
            ram.ListPoliciesForRoleRequest(role_name="Stack-Node")
        ).body.policies.policy
        assert {(p.policy_name, p.policy_type) for p in policies} == {
            ("stack-read", "Custom"),
            ("AliyunOSSReadOnlyAccess", "System"),
        }
        roles = client.list_entities_for_policy(
            ram.ListEntitiesForPolicyRequest(policy_name="stack-read", policy_type="Custom")
        ).body.roles.role
        assert [role.role_name for role in roles] == ["Stack-Node"]
        again = ram.AttachPolicyToRoleRequest(
            policy_name="stack-read", policy_type="Custom", role_name="Stack-Node"
        )
        refused("EntityAlreadyExists.Role.Policy", client.attach_policy_to_role, again)

    def test_a_missing_policy_is_not_found(self, client: Any) -> None:
        """The provider reads these codes as 'gone'."""
        make_role(client)
        request = ram.GetPolicyRequest(policy_name="nothing", policy_type="Custom")
        assert refused("EntityNotExist.Policy", client.get_policy, request).status_code == 404
        attachment = ram.AttachPolicyToRoleRequest(
            policy_name="nothing", policy_type="System", role_name="Stack-Node"
        )
        refused("EntityNotExist.Policy", client.attach_policy_to_role, attachment)


def test_tags_are_a_flat_list(client: Any) -> None:
    """The provider finds RAM tags only in this shape; without them each preview has a diff."""
    client.create_role(
        ram.CreateRoleRequest(
            role_name="Stack-Node",
            assume_role_policy_document=ECS_TRUST,
            tag=[ram.CreateRoleRequestTag(key="owner", value="me")],
        )
    )
    client.tag_resources(
        ram.TagResourcesRequest(
            resource_type="role",
            resource_names=["Stack-Node"],
            tag=[ram.TagResourcesRequestTag(key="stack", value="dev")],
        )
    )
    client.untag_resources(
        ram.UntagResourcesRequest(
            resource_type="role", resource_names=["Stack-Node"], tag_keys=["owner"]
        )
    )
    listed = client.list_tag_resources(
        ram.ListTagResourcesRequest(resource_type="role", resource_names=["Stack-Node"])
    ).body.tag_resources
    assert [(t.resource_name, t.tag_key, t.tag_value) for t in listed] == [
        ("Stack-Node", "stack", "dev")
    ]


class TestAssumeRole:
    """Temporary keys, and what they may do."""

    @pytest.fixture
    def user(self, cloud: RunningCloud) -> Credential:
        """A user who may assume roles."""
        return cloud.user_key(json.loads(access("sts:AssumeRole")))

    @pytest.fixture
    def role(self, client: Any, cloud: RunningCloud) -> str:
        """The ARN of a role that trusts the account and may read one parameter."""
        account = cloud.cloud.settings.account
        arn: str = make_role(client, document=trust(RAM=[f"acs:ram::{account}:root"])).arn
        resource = "acs:oos:cn-hangzhou:*:parameter/stack-*"
        make_policy(client, document=access("oos:GetParameter", resource=resource))
        attach(client, "stack-read")
        for name in ("stack-node", "other-node"):
            cloud.client("oos").create_parameter(
                oos.CreateParameterRequest(name=name, type="String", value="1")
            )
        return arn

    def assume(self, cloud: RunningCloud, user: Credential, arn: str, **fields: Any) -> Any:
        """Assume the role; returns the credentials."""
        request = sts.AssumeRoleRequest(role_arn=arn, role_session_name="test", **fields)
        return cloud.client("sts", key=user).assume_role(request).body.credentials

    def read(self, cloud: RunningCloud, credentials: Any, name: str) -> str:
        """Read a parameter with temporary keys."""
        client = cloud.client(
            "oos",
            access_key_id=credentials.access_key_id,
            access_key_secret=credentials.access_key_secret,
            security_token=credentials.security_token,
        )
        value: str = client.get_parameter(oos.GetParameterRequest(name=name)).body.parameter.value
        return value

    def test_a_session_may_do_what_the_roles_policies_say(
        self, cloud: RunningCloud, user: Credential, role: str
    ) -> None:
        """Prevents a node's policy from being broader here than on the real cloud."""
        credentials = self.assume(cloud, user, role)
        assert self.read(cloud, credentials, "stack-node") == "1"
        with pytest.raises(ClientException) as refusal:
            self.read(cloud, credentials, "other-node")
        assert (refusal.value.code, refusal.value.status_code) == ("Forbidden.RAM", 403)
        detail = refusal.value.access_denied_detail
        assert detail["AuthAction"] == "oos:GetParameter"
        assert detail["NoPermissionType"] == "ImplicitDeny"

    def test_a_session_policy_narrows_it(
        self, cloud: RunningCloud, user: Credential, role: str
    ) -> None:
        """Prevents the session's own policy from being ignored."""
        credentials = self.assume(cloud, user, role, policy=access("oos:GetSecretParameter"))
        with pytest.raises(ClientException):
            self.read(cloud, credentials, "stack-node")

    def test_a_role_lets_in_only_whom_it_trusts(
        self, cloud: RunningCloud, user: Credential, client: Any
    ) -> None:
        """Prevents a role for instances from being assumed by people."""
        arn = make_role(client, "For-Ecs").arn
        with pytest.raises(ClientException) as refusal:
            self.assume(cloud, user, arn)
        assert (refusal.value.code, refusal.value.status_code) == ("NoPermission", 403)

    def test_root_cannot_assume_a_role(self, cloud: RunningCloud, role: str) -> None:
        """The real STS refuses root; a rehearsal with a root key must not hide that."""
        with pytest.raises(ClientException) as refusal:
            self.assume(cloud, cloud.key, role)
        assert "root accounts" in refusal.value.message

    def test_a_session_cannot_outlast_the_roles_limit(
        self, cloud: RunningCloud, user: Credential, role: str
    ) -> None:
        """Prevents a duration that the real STS refuses."""
        with pytest.raises(ClientException) as refusal:
            self.assume(cloud, user, role, duration_seconds=7200)
        assert refusal.value.code == "InvalidParameter.DurationSeconds"

    def test_the_keys_die_with_the_role(
        self, cloud: RunningCloud, user: Credential, role: str, client: Any
    ) -> None:
        """Prevents a node from working on after its role was destroyed."""
        credentials = self.assume(cloud, user, role)
        client.delete_policy(
            ram.DeletePolicyRequest(policy_name="stack-read", cascading_delete=True)
        )
        client.delete_role(ram.DeleteRoleRequest(role_name="Stack-Node"))
        with pytest.raises(ClientException) as refusal:
            self.read(cloud, credentials, "stack-node")
        assert refusal.value.code == "InvalidAccessKeyId.NotFound"
