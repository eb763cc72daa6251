"""Config of the target "acs": networks that clash and keys of the other target are refused."""

from typing import Any

import pytest

from infra import config, targets
from tests.unit.infra.conftest import project_file


def parse(values: dict[str, Any]) -> config.Settings:
    return config.parse({"target": "acs", **values}, project="wan-vace", stack="dev")


def mistakes(values: dict[str, Any]) -> str:
    with pytest.raises(config.ConfigError) as caught:
        parse(values)
    return str(caught.value)


def test_defaults_make_a_closed_cluster(raw: dict[str, Any]) -> None:
    settings = parse({**raw, "target": "acs"})
    assert settings.allowed_cidrs == ()
    assert settings.network_policy is True
    assert not settings.service_cidr.overlaps(settings.vpc_cidr)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"serviceCidr": "10.80.0.0/20"}, 'serviceCidr: "10.80.0.0/20" overlaps vpcCidr'),
        ({"serviceCidr": "8.8.0.0/20"}, "must be a /16 to /24 network"),
        ({"serviceCidr": "172.21.0.0/28"}, "must be a /16 to /24 network"),
        ({"zone": "cn-hangzhou-b"}, "one is auto and the other is not"),
        ({"zone": "cn-hangzhou-b", "secondZone": "cn-hangzhou-b"}, "is the same as zone"),
        ({"zone": "cn-hangzhou-b", "secondZone": "cn-beijing-a"}, "is not in region"),
        ({"gpuCardLabel": "L20(GN8IS)"}, "gpuCardLabel"),
        ({"kubernetesVersion": "1.34"}, "kubernetesVersion"),
        ({"drainSeconds": "5"}, "drainSeconds"),
        ({"instanceType": "ecs.gn7i-c8g1.2xlarge"}, 'only "ecs" reads it'),
        ({"spot": "true"}, "pulumi config rm spot"),
    ],
    ids=str,
)
def test_mistakes_are_told_with_the_way_out(
    raw: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    assert words in mistakes({**raw, "target": "acs", **changes})


def test_a_suggested_network_for_services_is_free(raw: dict[str, Any]) -> None:
    text = mistakes(
        {**raw, "target": "acs", "vpcCidr": "192.168.0.0/16", "serviceCidr": "192.168.0.0/20"}
    )
    suggested = text.rsplit("for example ", 1)[1].strip()
    parse({**raw, "target": "acs", "vpcCidr": "192.168.0.0/16", "serviceCidr": suggested})


def test_keys_of_acs_are_refused_on_ecs_only_when_they_say_something(raw: dict[str, Any]) -> None:
    """The engine hands over every default; those must not count as set."""
    assert config.parse(raw, project="wan-vace", stack="dev").target == "ecs"
    assert "gpuCard" in mistakes({**raw, "target": "ecs", "gpuCard": "A10"})


def test_keys_of_one_target_say_so_in_their_description() -> None:
    schema = project_file()["config"]
    for target, keys in targets.ONLY.items():
        for key in keys:
            text = schema[key]["description"]
            assert text.startswith((f"{target.upper()} - ", "ECS instance type")), key
