"""Role keys, parameters and secrets, over real HTTP on loopback."""

from collections.abc import Iterator

import pytest

from infra.node.vace_node.cloud import (
    Credentials,
    Metadata,
    ParameterStore,
    request,
    wait_for_role,
)
from infra.node.vace_node.errors import CloudError
from tests.unit.node import cloud_double
from tests.unit.node.cloud_double import Cloud


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A running double."""
    with cloud_double.serving() as cloud:
        cloud.values = {"vace-dev-node": "{}", "vace-dev-token": "a secret"}
        yield cloud


class Sleeper:
    """Records waits instead of waiting."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)

    def clock(self) -> float:
        """Time as it would be after the waits."""
        return sum(self.waits)


def store(cloud: Cloud, sleeper: Sleeper) -> ParameterStore:
    """A store that asks the double."""
    metadata = Metadata(cloud.url)

    def keys() -> Credentials:
        found = metadata.role_credentials()
        assert found is not None
        return found

    return ParameterStore("cn-hangzhou", keys, endpoint=cloud.url, sleep=sleeper)


def test_parameter_and_secret_are_read_with_the_roles_keys(cloud: Cloud) -> None:
    """The double checks the signature with Alibaba's SDK and wants the security token."""
    reader = store(cloud, Sleeper())
    assert reader.parameter("vace-dev-node") == "{}"
    assert reader.secret("vace-dev-token") == "a secret"
    assert [call["Action"] for call in cloud.calls] == ["GetParameter", "GetSecretParameter"]
    assert cloud.calls[1]["WithDecryption"] == "true"
    assert cloud.calls[1]["RegionId"] == "cn-hangzhou"


def test_role_that_is_attached_later_is_waited_for(cloud: Cloud) -> None:
    """The deployment attaches the role after the machine has started."""
    cloud.role_attached = False
    said: list[str] = []
    sleeper = Sleeper()

    def sleep(seconds: float) -> None:
        sleeper(seconds)
        cloud.role_attached = len(sleeper.waits) >= 3

    keys = wait_for_role(
        Metadata(cloud.url), progress=said.append, sleep=sleep, clock=sleeper.clock
    )
    assert keys.role == cloud_double.ROLE
    assert set(said) == {"no RAM role attached yet"}


def test_missing_role_ends_with_what_to_do(cloud: Cloud) -> None:
    """Five minutes of silence and a stack trace would help nobody."""
    cloud.role_attached = False
    sleeper = Sleeper()
    with pytest.raises(CloudError, match=r"no RAM role attached yet\. Attach the"):
        wait_for_role(Metadata(cloud.url), patience=30, sleep=sleeper, clock=sleeper.clock)
    assert sum(sleeper.waits) == pytest.approx(30, abs=3)


def test_throttling_and_server_errors_are_retried_with_growing_waits(cloud: Cloud) -> None:
    """Many nodes that boot at once are throttled."""
    cloud.refusals = [
        (400, {"Code": "Throttling.User", "Message": "slow down"}),
        (503, {"Code": "ServiceUnavailable", "Message": "later"}),
        (500, {}),
    ]
    sleeper = Sleeper()
    assert store(cloud, sleeper).parameter("vace-dev-node") == "{}"
    assert sleeper.waits == [0.5, 1, 2]


def test_lasting_throttling_ends_with_the_clouds_words(cloud: Cloud) -> None:
    """Retries are bounded; the next run of the timer goes on."""
    cloud.refusals = [(429, {"Code": "Throttling", "Message": "slow down"})] * 20
    with pytest.raises(CloudError, match="Throttling: slow down"):
        store(cloud, Sleeper()).parameter("vace-dev-node")
    assert len(cloud.calls) == 7


def test_missing_permission_names_action_role_and_parameter(cloud: Cloud) -> None:
    """The reader must be able to write the missing line of the policy."""
    cloud.refusals = [(403, {"Code": "NoPermission", "Message": "not authorized"})] * 50
    sleeper = Sleeper()
    with pytest.raises(CloudError) as caught:
        store(cloud, sleeper).secret("vace-dev-token")
    text = str(caught.value)
    assert "role vace-dev-node may not call oos:GetSecretParameter on vace-dev-token" in text
    assert "kms:GetSecretValue" in text
    assert caught.value.permanent
    assert sum(sleeper.waits) >= 60


def test_permission_granted_a_moment_ago_is_waited_for(cloud: Cloud) -> None:
    """RAM needs a while until a new policy is in force everywhere."""
    cloud.refusals = [(403, {"Code": "NoPermission", "Message": "not authorized"})] * 3
    assert store(cloud, Sleeper()).secret("vace-dev-token") == "a secret"


def test_missing_parameter_is_named(cloud: Cloud) -> None:
    """It is not retried within a run: the deployment may make it minutes later."""
    with pytest.raises(CloudError, match=r"vace-dev-other in cn-hangzhou .* EntityNotExists"):
        store(cloud, Sleeper()).parameter("vace-dev-other")
    assert len(cloud.calls) == 1


def test_unreachable_service_is_named_without_the_query(cloud: Cloud) -> None:
    """DNS and routes are the usual suspects on a new VPC; queries do not belong into logs."""
    with pytest.raises(CloudError, match=r"no answer from http://127\.0\.0\.1:1/:") as caught:
        request("GET", "http://127.0.0.1:1/?Name=x", {})
    assert "Name=x" not in str(caught.value)
    assert caught.value.code == ""


def test_keys_do_not_show_in_their_repr(cloud: Cloud) -> None:
    """A traceback or a debug line must not carry them."""
    keys = Metadata(cloud.url).role_credentials()
    assert keys is not None
    assert cloud_double.KEY_SECRET not in repr(keys)
    assert cloud_double.SECURITY_TOKEN not in repr(keys)
