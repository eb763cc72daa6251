"""Who signed: every way in which a signature can be right or wrong, seen by Alibaba's own SDKs."""

from __future__ import annotations

import dataclasses
import http.client
import json
import ssl
import time
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from alibabacloud_tea_openapi.exceptions import ClientException
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest

from rehearsal.cloud.credentials import Credential
from rehearsal.cloud.signatures import rpc_string_to_sign, sign_v1

from .conftest import RunningCloud

V1, V3 = "v2", None  # what the SDK calls signature_algorithm for the two signatures


def who(cloud: RunningCloud, key: Credential, algorithm: str | None) -> dict[str, Any]:
    """Ask STS who signed."""
    client = cloud.client("sts", key=key, signature_algorithm=algorithm)
    answer: dict[str, Any] = client.get_caller_identity().body.to_map()
    return answer


def signed_params(cloud: RunningCloud, method: str = "POST", **changes: str) -> dict[str, str]:
    """Parameters of GetCallerIdentity with a correct V1 signature over ``changes`` too."""
    params = {
        "Action": "GetCallerIdentity",
        "Version": "2015-04-01",
        "Format": "JSON",
        "AccessKeyId": cloud.key.access_key_id,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": f"nonce-{time.time_ns()}",
        "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **changes,
    }
    to_sign = rpc_string_to_sign(method, params)
    return {**params, "Signature": sign_v1(cloud.key.secret, to_sign)}


def call(
    cloud: RunningCloud, params: dict[str, str], *, method: str = "POST", in_body: bool = False
) -> tuple[int, dict[str, Any]]:
    """Send raw parameters over TLS; returns status and JSON answer."""
    host, port = cloud.endpoint.split(":")
    context = ssl.create_default_context(cafile=str(cloud.ca))
    connection = http.client.HTTPSConnection(host, int(port), timeout=5, context=context)
    text = urlencode(params)
    try:
        if in_body:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request(method, "/", body=text, headers=form)
        else:
            connection.request(method, f"/?{text}")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("algorithm", [V1, V3], ids=["V1", "V3"])
def test_a_right_signature_is_accepted(cloud: RunningCloud, algorithm: str | None) -> None:
    """Prevents an emulator that the SDKs cannot talk to at all."""
    assert who(cloud, cloud.key, algorithm)["AccountId"] == cloud.cloud.settings.account


@pytest.mark.parametrize("algorithm", [V1, V3], ids=["V1", "V3"])
def test_a_wrong_secret_is_refused_with_the_servers_string_to_sign(
    cloud: RunningCloud, algorithm: str | None
) -> None:
    """Prevents a deployment that signs wrongly from passing the rehearsal."""
    key = dataclasses.replace(cloud.key, secret="not the secret")
    with pytest.raises(ClientException) as refusal:
        who(cloud, key, algorithm)
    assert refusal.value.code == "SignatureDoesNotMatch"
    assert refusal.value.status_code == 400
    assert "server string to sign is:" in refusal.value.message


@pytest.mark.parametrize("algorithm", [V1, V3], ids=["V1", "V3"])
def test_an_unknown_key_is_refused(cloud: RunningCloud, algorithm: str | None) -> None:
    """Prevents real keys from reaching the emulator unnoticed."""
    key = dataclasses.replace(cloud.key, access_key_id="LTAI5tUnknown")
    with pytest.raises(ClientException) as refusal:
        who(cloud, key, algorithm)
    assert (refusal.value.code, refusal.value.status_code) == ("InvalidAccessKeyId.NotFound", 404)


@pytest.mark.parametrize("algorithm", [V1, V3], ids=["V1", "V3"])
@pytest.mark.parametrize("ahead_s", [-16 * 60, 16 * 60])
def test_a_stale_clock_is_refused(
    cloud: RunningCloud, algorithm: str | None, ahead_s: float
) -> None:
    """Prevents a node with a wrong clock from working here and failing on the real cloud."""
    cloud.clock.advance(ahead_s)
    with pytest.raises(ClientException) as refusal:
        who(cloud, cloud.key, algorithm)
    assert refusal.value.code == "InvalidTimeStamp.Expired"


def test_a_nonce_is_accepted_once(cloud: RunningCloud) -> None:
    """Prevents a client that replays requests from passing."""
    params = signed_params(cloud)
    assert call(cloud, params)[0] == 200
    status, answer = call(cloud, params)
    assert (status, answer["Code"]) == (400, "SignatureNonceUsed")


@pytest.mark.parametrize(("method", "in_body"), [("GET", False), ("POST", False), ("POST", True)])
def test_parameters_are_read_from_query_and_body(
    cloud: RunningCloud, method: str, in_body: bool
) -> None:
    """The provider's two clients differ in where they put parameters; both must be verified."""
    params = signed_params(cloud, method, Odd="a b*c~/ü+&=")
    assert call(cloud, params, method=method, in_body=in_body)[0] == 200
    changed = {**signed_params(cloud, method, Odd="x"), "Odd": "y"}
    status, answer = call(cloud, changed, method=method, in_body=in_body)
    assert (status, answer["Code"]) == (400, "SignatureDoesNotMatch")


@pytest.mark.parametrize("name", ["AccessKeyId", "SignatureNonce", "Timestamp"])
def test_a_missing_signature_parameter_is_named(cloud: RunningCloud, name: str) -> None:
    """Prevents a crash on half-signed requests."""
    params = signed_params(cloud)
    del params[name]
    status, answer = call(cloud, params)
    assert (status, answer["Code"]) == (400, f"Missing{name}")
    assert {"Message", "RequestId", "HostId", "Recommend"} <= set(answer)


def test_an_unsigned_header_makes_a_v3_request_incomplete(cloud: RunningCloud) -> None:
    """A V3 request must sign all of its x-acs- headers, or they could be changed on the way."""
    host, port = cloud.endpoint.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    headers = {
        "x-acs-action": "GetCallerIdentity",
        "x-acs-version": "2015-04-01",
        "Authorization": f"ACS3-HMAC-SHA256 Credential={cloud.key.access_key_id},"
        "SignedHeaders=host,Signature=00",
    }
    connection.request("POST", "/", headers=headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer["Code"] == "IncompleteSignature"
    assert "x-acs-action" in answer["Message"]


def test_the_old_sdk_is_understood_over_plain_http(cloud: RunningCloud) -> None:
    """The provider's old clients sign as this SDK does, some of them without TLS."""
    client = AcsClient(cloud.key.access_key_id, cloud.key.secret, "cn-hangzhou", auto_retry=False)
    request = CommonRequest(
        domain=cloud.endpoint, version="2015-04-01", action_name="GetCallerIdentity"
    )
    request.set_protocol_type("http")
    answer = json.loads(client.do_action_with_exception(request))
    assert answer["AccountId"] == cloud.cloud.settings.account
    missing = CommonRequest(domain=cloud.endpoint, version="2015-05-01", action_name="GetRole")
    missing.set_protocol_type("http")
    missing.add_query_param("RoleName", "nobody")
    with pytest.raises(ServerException) as refusal:
        client.do_action_with_exception(missing)
    assert refusal.value.get_error_code() == "EntityNotExist.Role"


@pytest.mark.parametrize("asked", ["XML", ""], ids=["Format=XML", "no Format"])
def test_signature_v1_answers_xml_unless_json_is_asked_for(cloud: RunningCloud, asked: str) -> None:
    """A client that forgets Format=JSON gets XML from the real gateway, so it must here."""
    params = signed_params(cloud, Format=asked)
    host, port = cloud.endpoint.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    connection.request("POST", f"/?{urlencode(params)}")
    text = connection.getresponse().read().decode()
    connection.close()
    root = ElementTree.fromstring(text)
    assert root.tag == "GetCallerIdentityResponse"
    assert root.findtext("AccountId") == cloud.cloud.settings.account


class TestTemporaryKeys:
    """Keys of role sessions need their token, and end."""

    @pytest.fixture
    def session(self, cloud: RunningCloud) -> Credential:
        """An hour's keys for a role."""
        roles = cloud.cloud.account(cloud.cloud.settings.account).table("ram_roles")
        roles["node"] = {"RoleName": "node", "RoleId": "300000000000000001"}
        return cloud.cloud.credentials.create_session(
            cloud.cloud.settings.account, "node", "i-1", 3600
        )

    @pytest.mark.parametrize("algorithm", [V1, V3], ids=["V1", "V3"])
    def test_they_sign_with_their_token(
        self, cloud: RunningCloud, session: Credential, algorithm: str | None
    ) -> None:
        """Prevents instances from losing their identity."""
        answer = who(cloud, session, algorithm)
        assert answer["Arn"].endswith(":assumed-role/node/i-1")
        assert answer["IdentityType"] == "AssumedRoleUser"

    @pytest.mark.parametrize(
        ("token", "code"),
        [
            (None, "MissingSecurityToken"),
            ("another token", "InvalidSecurityToken.MismatchWithAccessKey"),
        ],
    )
    @pytest.mark.parametrize("algorithm", [V1, V3], ids=["V1", "V3"])
    def test_they_are_nothing_without_it(
        self,
        cloud: RunningCloud,
        session: Credential,
        algorithm: str | None,
        token: str | None,
        code: str,
    ) -> None:
        """Prevents a stolen secret from being enough, as on the real cloud."""
        with pytest.raises(ClientException) as refusal:
            who(cloud, dataclasses.replace(session, security_token=token), algorithm)
        assert refusal.value.code == code

    def test_they_end(self, cloud: RunningCloud, session: Credential) -> None:
        """Prevents a node that never renews its credentials from passing."""
        params_time = cloud.cloud.clock()
        cloud.emulator.cloud.account(cloud.cloud.settings.account).table("_sts_sessions")[
            session.access_key_id
        ]["Expiry"] = params_time - 1
        with pytest.raises(ClientException) as refusal:
            who(cloud, session, V3)
        assert refusal.value.code == "InvalidSecurityToken.Expired"
