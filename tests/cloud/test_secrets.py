"""OOS parameters and KMS secrets: what is answered, to whom, and how it is kept."""

from __future__ import annotations

from typing import Any

import pytest
from alibabacloud_kms20160120 import models as kms
from alibabacloud_oos20190601 import models as oos
from alibabacloud_tea_openapi.exceptions import ClientException

from .conftest import RunningCloud


@pytest.fixture
def client(cloud: RunningCloud) -> Any:
    """OOS as root."""
    return cloud.client("oos")


def refused(code: str, call: Any, request: Any) -> ClientException:
    """Expect a refusal with this code."""
    with pytest.raises(ClientException) as refusal:
        call(request)
    assert refusal.value.code == code
    return refusal.value


def make_secret(client: Any, name: str = "stack-token", **fields: Any) -> Any:
    """Create a secret parameter."""
    request = oos.CreateSecretParameterRequest(name=name, value="s3cret", **fields)
    return client.create_secret_parameter(request).body.parameter


class TestSecretParameters:
    """OOS secret parameters."""

    def test_the_value_is_answered_only_when_decryption_is_asked_for(self, client: Any) -> None:
        """A value in the answer would end up in Pulumi's state at every refresh."""
        make_secret(client)
        request = oos.GetSecretParameterRequest(name="stack-token")
        assert client.get_secret_parameter(request).body.parameter.value is None
        request.with_decryption = True
        assert client.get_secret_parameter(request).body.parameter.value == "s3cret"

    def test_what_was_never_set_is_left_out(self, client: Any) -> None:
        """KeyId in an answer makes the provider replace the parameter at each preview."""
        make_secret(client)
        request = oos.GetSecretParameterRequest(name="stack-token")
        answer = client.get_secret_parameter(request).body.parameter.to_map()
        assert not {"KeyId", "DKMSInstanceId", "Constraints", "Description"} & set(answer)
        make_secret(client, "stack-keyed", key_id="key-1")
        request = oos.GetSecretParameterRequest(name="stack-keyed")
        assert client.get_secret_parameter(request).body.parameter.key_id == "key-1"

    def test_a_new_value_is_a_new_version_and_the_old_one_can_be_read(self, client: Any) -> None:
        """Prevents a rotation from losing the value that a node still uses."""
        make_secret(client)
        client.update_secret_parameter(
            oos.UpdateSecretParameterRequest(name="stack-token", value="rotated")
        )
        values = []
        for version in (None, 1, 2):
            request = oos.GetSecretParameterRequest(
                name="stack-token", with_decryption=True, parameter_version=version
            )
            values.append(client.get_secret_parameter(request).body.parameter.value)
        assert values == ["rotated", "s3cret", "rotated"]

    def test_reading_a_value_needs_kms_too(self, cloud: RunningCloud, client: Any) -> None:
        """A node's policy that lacks kms:GetSecretValue fails on the real cloud."""
        make_secret(client)
        request = oos.GetSecretParameterRequest(name="stack-token", with_decryption=True)
        actions = ["oos:GetSecretParameter"]
        for allowed in (False, True):
            statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
            key = cloud.user_key({"Version": "1", "Statement": [statement]})
            reader = cloud.client("oos", key=key)
            if allowed:
                assert reader.get_secret_parameter(request).body.parameter.value == "s3cret"
            else:
                refusal = refused("Forbidden.RAM", reader.get_secret_parameter, request)
                assert refusal.access_denied_detail["AuthAction"] == "kms:GetSecretValue"
            actions = [*actions, "kms:GetSecretValue"]

    def test_a_permission_is_for_one_parameter(self, cloud: RunningCloud, client: Any) -> None:
        """Prevents one stack's node from reading another's token."""
        make_secret(client)
        make_secret(client, "other-token")
        account = cloud.cloud.settings.account
        resource = f"acs:oos:cn-hangzhou:{account}:secretparameter/stack-token"
        statements = [
            {"Effect": "Allow", "Action": "oos:GetSecretParameter", "Resource": resource},
            {"Effect": "Allow", "Action": "kms:GetSecretValue", "Resource": "*"},
        ]
        reader = cloud.client("oos", key=cloud.user_key({"Version": "1", "Statement": statements}))
        reader.get_secret_parameter(oos.GetSecretParameterRequest(name="stack-token"))
        request = oos.GetSecretParameterRequest(name="other-token")
        refused("Forbidden.RAM", reader.get_secret_parameter, request)

    def test_tags_come_back_wrapped(self, client: Any) -> None:
        """The provider reads OOS tags from TagResources.TagResource, unlike RAM's."""
        make_secret(client, tags={"owner": "me"})
        request = oos.ListTagResourcesRequest(
            resource_type="secretparameter", resource_ids=["stack-token"]
        )
        (tag,) = client.list_tag_resources(request).body.tag_resources.tag_resource
        assert (tag.resource_id, tag.tag_key, tag.tag_value) == ("stack-token", "owner", "me")

    def test_a_deleted_parameter_is_gone(self, client: Any) -> None:
        """The provider takes exactly this code for 'gone'."""
        make_secret(client)
        client.delete_secret_parameter(oos.DeleteSecretParameterRequest(name="stack-token"))
        request = oos.GetSecretParameterRequest(name="stack-token")
        refused("EntityNotExists.Parameter", client.get_secret_parameter, request)
        refused(
            "EntityNotExists.Parameter",
            client.delete_secret_parameter,
            oos.DeleteSecretParameterRequest(name="stack-token"),
        )


class TestParameters:
    """What holds for plain and secret parameters."""

    @pytest.mark.parametrize(
        "name", ["n" * 181, "under score", "OOS-node", "aliyun-node", "a/b", "ü-node"]
    )
    def test_a_name_that_oos_refuses_is_refused(self, client: Any, name: str) -> None:
        """Prevents names that only fail on the real cloud."""
        request = oos.CreateSecretParameterRequest(name=name, value="1")
        refused("InvalidParameter.Name", client.create_secret_parameter, request)

    def test_a_value_has_at_most_4096_characters(self, client: Any) -> None:
        """Prevents a configuration that grew too large from failing only on the real cloud."""
        request = oos.CreateParameterRequest(name="stack-node", type="String", value="x" * 4097)
        refused("InvalidParameter.Value", client.create_parameter, request)
        request.value = "x" * 4096
        client.create_parameter(request)
        update = oos.UpdateParameterRequest(name="stack-node", value="x" * 4097)
        refused("InvalidParameter.Value", client.update_parameter, update)

    def test_a_name_is_taken_once(self, client: Any) -> None:
        """Prevents one stack from overwriting another's token."""
        make_secret(client)
        request = oos.CreateSecretParameterRequest(name="stack-token", value="other")
        refused("EntityAlreadyExists.Parameter", client.create_secret_parameter, request)

    def test_a_plain_parameter_answers_its_value_and_tags(self, client: Any) -> None:
        """The provider reads value and tags from GetParameter itself."""
        request = oos.CreateParameterRequest(
            name="stack-node", type="String", value="{}", tags={"owner": "me"}
        )
        client.create_parameter(request)
        read = client.get_parameter(oos.GetParameterRequest(name="stack-node")).body.parameter
        assert (read.value, read.tags) == ("{}", {"owner": "me"})

    def test_constraints_hold_for_every_value(self, client: Any) -> None:
        """Prevents a constraint from being stored and ignored."""
        constraints = '{"AllowedPattern": "[a-z]+", "MaxLength": 3}'
        request = oos.CreateParameterRequest(
            name="stack-node", type="String", value="ABCD", constraints=constraints
        )
        refusal = refused("InvalidParameter.Value", client.create_parameter, request)
        assert "AllowedPattern, MaxLength" in refusal.message
        request.value = "abc"
        client.create_parameter(request)
        update = oos.UpdateParameterRequest(name="stack-node", value="abcd")
        refused("InvalidParameter.Value", client.update_parameter, update)

    def test_a_region_has_its_own_parameters(self, client: Any) -> None:
        """Prevents a stack in one region from seeing another's."""
        make_secret(client)
        request = oos.GetSecretParameterRequest(name="stack-token", region_id="cn-shanghai")
        refused("EntityNotExists.Parameter", client.get_secret_parameter, request)

    def test_lists_come_in_pages_without_values(self, client: Any) -> None:
        """Prevents a list from stopping at the first page."""
        for number in range(5):
            make_secret(client, f"stack-{number}")
        names: list[str] = []
        token = None
        while True:
            request = oos.ListSecretParametersRequest(max_results=2, next_token=token)
            page = client.list_secret_parameters(request).body
            names += [item.name for item in page.parameters]
            assert all("Value" not in item.to_map() for item in page.parameters)
            token = page.next_token
            if not token:
                break
        assert names == [f"stack-{number}" for number in range(5)]


def test_a_kms_secret_keeps_its_current_and_previous_version(cloud: RunningCloud) -> None:
    """Prevents the provider's kms.Secret from failing, and a rotation from losing the old value."""
    client = cloud.client("kms")
    client.create_secret(
        kms.CreateSecretRequest(
            secret_name="stack-token",
            secret_data="one",
            version_id="v1",
            tags='[{"TagKey":"owner","TagValue":"me"}]',
        )
    )
    client.put_secret_value(
        kms.PutSecretValueRequest(secret_name="stack-token", secret_data="two", version_id="v2")
    )
    current = client.get_secret_value(kms.GetSecretValueRequest(secret_name="stack-token")).body
    assert (current.secret_data, current.version_id) == ("two", "v2")
    previous = kms.GetSecretValueRequest(secret_name="stack-token", version_stage="ACSPrevious")
    assert client.get_secret_value(previous).body.secret_data == "one"
    described = client.describe_secret(
        kms.DescribeSecretRequest(secret_name="stack-token", fetch_tags="true")
    ).body
    assert described.encryption_key_id is None
    assert described.tags.tag[0].tag_value == "me"
    unforced = kms.DeleteSecretRequest(secret_name="stack-token")
    refused("UnsupportedOperation", client.delete_secret, unforced)
    unforced.force_delete_without_recovery = "true"
    client.delete_secret(unforced)
    gone = refused(
        "Forbidden.ResourceNotFound",
        client.describe_secret,
        kms.DescribeSecretRequest(secret_name="stack-token"),
    )
    assert gone.status_code == 404
