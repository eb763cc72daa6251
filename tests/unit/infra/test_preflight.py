"""Preflight: wrong credentials and regions are one sentence; what is unsure stops nobody."""

from collections.abc import Callable
from typing import Any

import pytest

from infra import openapi, preflight
from infra.preflight import PreflightError

REGIONS = {"Regions": {"Region": [{"RegionId": "cn-hangzhou"}, {"RegionId": "cn-beijing"}]}}


class CloudError(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class CredentialException(Exception):  # noqa: N818  named as in the SDK
    pass


def cloud(**regions: Any) -> Callable[[str], openapi.Api]:
    """Clients by region; what is no answer is raised."""

    def client(region: str) -> openapi.Api:
        def call(action: str, _parameters: dict[str, str]) -> dict[str, Any]:
            assert action == "DescribeRegions"
            answer = regions.get(region.replace("-", "_"), REGIONS)
            if isinstance(answer, Exception):
                raise answer
            return dict(answer)

        return call

    return client


def test_a_good_account_and_region_pass() -> None:
    preflight.check("cn-beijing", cloud())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CloudError("InvalidAccessKeyId.NotFound"), "does not know the access key"),
        (CloudError("SignatureDoesNotMatch"), "its secret is wrong"),
        (CloudError("InvalidSecurityToken.Expired"), "have expired; get new ones"),
        (CredentialException("unable to load"), "no credentials were found"),
        (ConnectionResetError("cut"), "did not answer"),
        (CloudError("SomethingNew"), "refused a call"),
    ],
)
def test_what_is_wrong_is_one_sentence(error: Exception, words: str) -> None:
    with pytest.raises(PreflightError, match=words) as caught:
        preflight.check("cn-hangzhou", cloud(cn_hangzhou=error))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [ConnectionResetError("no such host"), CloudError("InvalidRegionId.NotFound"), REGIONS],
    ids=["no endpoint", "refused", "not listed"],
)
def test_an_unknown_region_is_answered_with_those_that_exist(answer: Any) -> None:
    """A region that does not exist has no host either, which alone looks like a dead network."""
    with pytest.raises(PreflightError, match=r'"xx-nowhere" does not.*cn-beijing, cn-hangzhou'):
        preflight.check("xx-nowhere", cloud(xx_nowhere=answer))


def test_an_identity_that_may_not_list_regions_may_go_on() -> None:
    """The deployment itself does not need ecs:DescribeRegions."""
    preflight.check("cn-hangzhou", cloud(cn_hangzhou=CloudError("Forbidden.RAM")))


def test_the_block_learns_of_it_before_it_makes_anything() -> None:
    bad = cloud(cn_hangzhou=CloudError("SignatureDoesNotMatch"))
    with (
        preflight.beside("cn-hangzhou", bad) as checked,
        pytest.raises(PreflightError, match="secret is wrong"),
    ):
        checked()


def test_an_error_of_the_block_is_explained() -> None:
    """The first question to the provider fails with a page of its internals."""
    dump = "invoke failed: ErrorCode: QuotaExceed.ElasticQuota\nRespHeaders: map[]"
    with (
        pytest.raises(PreflightError, match="instance type is used up"),
        preflight.beside("cn-hangzhou", cloud()),
    ):
        raise RuntimeError(dump)


def test_an_error_that_is_not_the_clouds_stays_what_it_is() -> None:
    with (
        pytest.raises(KeyError, match="a mistake of ours"),
        preflight.beside("cn-hangzhou", cloud()),
    ):
        raise KeyError("a mistake of ours")
