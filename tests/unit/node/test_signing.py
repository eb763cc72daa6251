"""Signatures, compared with those of Alibaba Cloud's own SDKs."""

import datetime

import pytest
from alibabacloud_oss_v2 import credentials as oss_credentials
from alibabacloud_oss_v2.signer import SignerV4
from alibabacloud_oss_v2.types import HttpRequest, SigningContext
from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest

from infra.node.vace_node.signing import EMPTY_SHA256, encode_query, sign_acs3, sign_oss4

KEY_ID = "STS.NUExampleKey"
KEY_SECRET = "an/example+secret="


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"Name": "vace-dev-node", "RegionId": "cn-hangzhou", "WithDecryption": "true"},
        {"Name": "a b*c~d/e+f=中文", "Empty": ""},
    ],
)
def test_acs3_signature_is_that_of_the_sdk(query: dict[str, str]) -> None:
    """A wrong canonical form is refused by the cloud as SignatureDoesNotMatch, on the node only."""
    headers = {
        "host": "oos.cn-hangzhou.aliyuncs.com",
        "x-acs-action": "GetSecretParameter",
        "x-acs-version": "2019-06-01",
        "x-acs-date": "2026-11-23T08:00:00Z",
        "x-acs-signature-nonce": "6a2f0b3c",
        "x-acs-content-sha256": EMPTY_SHA256,
        "x-acs-security-token": "CAIS+token/with=signs",
    }
    request = DaraRequest()
    request.method, request.pathname = "POST", "/"
    request.query, request.headers = dict(query), dict(headers)
    theirs = Utils.get_authorization(request, "ACS3-HMAC-SHA256", EMPTY_SHA256, KEY_ID, KEY_SECRET)
    ours = sign_acs3(
        "POST",
        "/",
        query,
        {**headers, "accept": "not signed", "user-agent": "not signed"},
        EMPTY_SHA256,
        access_key_id=KEY_ID,
        access_key_secret=KEY_SECRET,
    )
    assert ours == theirs


def test_query_is_sent_as_it_is_signed() -> None:
    """Plus for space and unescaped slashes are valid in URLs, but not in the signed form."""
    assert encode_query({"b": "x y/z", "a": "~*"}) == "a=~%2A&b=x%20y%2Fz"


@pytest.mark.parametrize(
    "key", ["outputs/2026-11-23/080000-a.mp4", "outputs/ü b/+%~$1.mp4", "outputs/中文.png"]
)
def test_oss4_signature_is_that_of_the_sdk(key: str) -> None:
    """Names of results come from users; a wrong escape loses exactly those files."""
    moment = datetime.datetime(2026, 11, 23, 8, 0, 0, tzinfo=datetime.UTC)
    headers = {
        "content-type": "video/mp4",
        "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==",
        "x-oss-server-side-encryption": "AES256",
    }
    request = HttpRequest("PUT", "https://b.oss-cn-hangzhou-internal.aliyuncs.com/x", headers)
    SignerV4().sign(
        SigningContext(
            product="oss",
            region="cn-hangzhou",
            bucket="vace-results",
            key=key,
            request=request,
            credentials=oss_credentials.Credentials(KEY_ID, KEY_SECRET, "CAIS+token"),
            signing_time=moment,
        )
    )
    ours = sign_oss4(
        "PUT",
        "vace-results",
        key,
        {
            **headers,
            "x-oss-date": "20261123T080000Z",
            "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
            "x-oss-security-token": "CAIS+token",
            "host": "not signed",
        },
        region="cn-hangzhou",
        access_key_id=KEY_ID,
        access_key_secret=KEY_SECRET,
    )
    assert ours == request.headers["Authorization"]
