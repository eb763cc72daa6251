"""Every refusal that a deployment can meet has a sentence: what, why, what to do."""

import io

import pulumi
import pytest

from infra import advice, explain

# fmt: off
CODES = (
    "OperationDenied.NoStock", "NoInstanceStock", "Zone.NotOnSale", "Zone.NotOpen",
    "InvalidInstanceType.ZoneNotSupported", "InvalidResourceType.NotSupported",
    "InstanceType.Offline", "InvalidInstanceType.NotSupportDiskCategory",
    "InvalidDiskCategory.NotSupported", "InvalidSystemDiskCategory.ValueNotSupported",
    "CategoryNotSupported", "InvalidDiskSize.TooSmall", "InvalidSystemDiskSize.LessThanImageSize",
    "ImageNotSupportInstanceType", "InvalidImageFamily.MissingAvailableImage", "ImageNotSubscribed",
    "QuotaExceed.ElasticQuota", "QuotaExceeded.PrivateIpAddress",
    "InvalidOperation.PublicIpAddressNoStock", "InvalidAccountStatus.NotEnoughBalance",
    "InsufficientBalance", "RealNameAuthenticationError", "PaymentMethodNotFound",
    "RegionUnauthorized", "InvalidUser.PassRoleForbidden", "InvalidRamRole.NotEcsRole",
    "Forbidden.RAM", "NoPermission", "InvalidParameter.KmsNotEnabled",
    "InvalidChargeType.ValueNotSupported", "IncorrectVpcStatus", "IncorrectVSwitchStatus",
    "Throttling", "Throttling.User", "Throttling.Resource", "Throttling.ConcurrentLimitExceeded",
    "ServiceUnavailable", "DependencyViolation.SecurityGroup", "InvalidAccessKeyId.NotFound",
    "InvalidAccessKeyId.Inactive", "SignatureDoesNotMatch", "InvalidSecurityToken.Expired",
    "SecurityTokenExpired", "InvalidSecurityToken.Malformed", "MissingSecurityToken",
    "InvalidRegionId.NotFound", "InvalidCidrBlock.Overlapped", "InvalidCidrBlock.Malformed",
    "EntityNotExist.Role", "EntityAlreadyExists.Role", "QuotaExceeded.Vpc", "QuotaExceeded.Eip",
    "LimitExceeded.Role", "AccessDenied", "BucketAlreadyExists",
)
# fmt: on
DUMP = """\x1b[31m[ERROR]\x1b[0m terraform-provider-alicloud@v1.285.0/alicloud/resource.go:212: \
Resource alicloud_instance RunInstances Failed!!! [SDK alibaba-cloud-sdk-go ERROR]:
SDKError:
   StatusCode: 403
   Code: {code}
   Message: code: 403, no request id: F13978C7-541D-4971-8B51-063EC3D711BD
   Data: {{"Code":"{code}","Recommend":"https://api.aliyun.com/troubleshoot?q=Throttling",\
"RequestId":"F13978C7-541D-4971-8B51-063EC3D711BD"}}"""


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_found_once_in_what_the_provider_prints(code: str) -> None:
    """The message repeats the code and links to a page; one sentence must come of it."""
    found = advice.sentences(DUMP.format(code=code))
    assert found == [advice.sentence(code)]
    name, _, rest = found[0].partition(": ")
    why, _, remedy = rest.rpartition("; ")
    assert name == code
    assert why
    assert remedy
    assert not found[0].endswith(".")


def test_a_code_of_its_own_goes_before_its_family() -> None:
    assert "Quota Center (ECS)" in advice.sentence("QuotaExceed.ElasticQuota")
    assert "vpcCidr" in advice.sentence("QuotaExceeded.PrivateIpAddress")
    assert "delete what is not needed" in advice.sentence("QuotaExceeded.Eip")
    assert "expired" in advice.sentence("InvalidSecurityToken.Expired")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("OperationDenied: The resource is out of usage.", "sold out"),
        ("Invalid Alibaba Cloud region: xx. You can skip checking", "there is no such region"),
    ],
)
def test_messages_without_a_code_of_their_own_are_known_too(text: str, words: str) -> None:
    assert words in advice.sentences(text)[0]


def test_no_two_causes_claim_the_same_code() -> None:
    codes = [code for item in advice.TABLE for code in item.codes]
    assert len(codes) == len(set(codes))


def test_ordinary_words_are_no_codes() -> None:
    assert advice.sentences("The node does not serve. It was created and costs money.") == []


def test_a_failed_operation_is_explained_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(pulumi.log, "error", lines.append)
    failed = pulumi.ErrorHookArgs(
        urn="urn",
        id="",
        name="node",
        type="alicloud:ecs/instance:Instance",
        failed_operation="create",
        errors=[DUMP.format(code="QuotaExceed.ElasticQuota")],
    )
    assert explain.explain(failed) is False
    assert lines == [f"node: {advice.sentence('QuotaExceed.ElasticQuota')}"]


def test_the_command_explains_codes_and_logs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain.main(["Zone.NotOpen", "NoPermission"]) == 0
    assert capsys.readouterr().out.count("\n") == 2
    monkeypatch.setattr("sys.stdin", io.StringIO(DUMP.format(code="Forbidden.RAM")))
    assert explain.main([]) == 0
    assert "lacks a permission" in capsys.readouterr().out
    assert explain.main(["SomethingNew"]) == 1
    assert "api.alibabacloud.com" in capsys.readouterr().err
