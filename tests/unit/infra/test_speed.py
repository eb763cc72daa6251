"""Speed profile and GPU must go together before anything is created."""

import json
from typing import Any

import pytest

from images import profiles
from infra import config
from infra.catalogue import instance_types
from infra.config import ConfigError
from infra.speed import SpeedError, check
from tests.unit.infra.mock_engine import Recorder, deploy

A10, L20 = "ecs.gn7i-c8g1.2xlarge", "ecs.gn8is.2xlarge"


def settings(raw: dict[str, Any], **changes: str) -> config.Settings:
    return config.parse({**raw, **changes}, project="wan-vace", stack="dev")


def test_a_profile_that_the_card_cannot_run_is_refused_at_preview() -> None:
    """Prevents a paid machine whose ComfyUI refuses to start."""
    with pytest.raises(SpeedError) as caught:
        check(A10, "fast")
    for part in ("speedProfile", '"fast"', A10, "8.6", "safe, balanced", "8.9", "requireFp8"):
        assert part in str(caught.value)
    check(L20, "fast")
    check(A10, "balanced")
    check("ecs.gn99-unknown.large", "fast")


def test_every_machine_runs_the_default() -> None:
    for row in instance_types():
        check(row.type, profiles.DEFAULT)


def test_a_profile_that_does_not_exist_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match='speedProfile: "turbo" must be one of safe, balanced'):
        settings(raw, speedProfile="turbo")
    assert settings(raw).speed_profile == "safe"


def test_the_profile_reaches_the_node(raw: dict[str, Any]) -> None:
    """Prevents a key that is set and has no effect."""
    recorder = Recorder()
    deploy(settings(raw, speedProfile="balanced"), recorder)
    document = json.loads(recorder.one("oos/parameter:Parameter")["value"])
    assert document["speed_profile"] == "balanced"


def test_the_whole_deployment_stops_before_anything_is_made(raw: dict[str, Any]) -> None:
    """Prevents the check from standing where `pulumi preview` does not come by."""
    recorder = Recorder()
    with pytest.raises(SpeedError):
        deploy(settings(raw, speedProfile="fast", instanceType=A10), recorder)
    assert recorder.of("instance:Instance") == []
