"""Speed profiles in the image: their flags, and the cards that they are refused on."""

from __future__ import annotations

import pytest
from vace_comfyui import flags, profiles, selfcheck, settings
from vace_comfyui.gpu import Device
from vace_comfyui.problems import Exit, SettingsError
from vace_comfyui.settings import Settings

from tests.images.entry.conftest import Service

A10 = Device("NVIDIA A10", "8.6", 24 << 30)
L20 = Device("NVIDIA L20", "8.9", 48 << 30)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("safe", []),
        ("balanced", ["--fast", "autotune", "fp16_accumulation"]),
        ("fast", ["--fast", "autotune", "fp16_accumulation", "fp8_matrix_mult"]),
    ],
)
def test_a_profile_adds_named_values_and_nothing_else(profile: str, words: list[str]) -> None:
    """Prevents: `--fast` alone, which means whatever upstream adds to it."""
    chosen = settings.read({"VACE_PROFILE": profile})
    command = flags.command_line(chosen, flags.speed(chosen.profile), "python")
    assert command[3:] == words
    assert all(word in flag.reason for flag in flags.speed(profile) for word in flag.values)


def test_the_default_profile_is_safe() -> None:
    """Prevents: untested optimisations that nobody asked for."""
    assert settings.read({}).profile == Settings().profile == "safe"


def test_a_profile_that_does_not_exist_is_refused() -> None:
    """Prevents: a typing mistake that quietly means the default."""
    with pytest.raises(SettingsError, match="safe or balanced or fast"):
        settings.read({"VACE_PROFILE": "turbo"})


def test_fp8_products_are_refused_on_a_card_without_them() -> None:
    """Prevents: a profile named fast that is an error, or nothing, on an A10."""
    (problem,) = profiles.check("fast", [A10, L20])
    assert problem.code == Exit.USAGE  # another start finds the same: systemd must not try again
    for part in ("VACE_PROFILE", "NVIDIA A10", "8.6", "safe or balanced", "8.9", "speedProfile"):
        assert part in str(problem)
    assert profiles.check("fast", [L20]) == []
    assert profiles.check("balanced", [A10]) == []
    assert profiles.check("fast", []) == []


@pytest.mark.parametrize("words", ["--use-sage-attention", "--use-sage"])
def test_sage_attention_is_refused_with_its_reason(words: str) -> None:
    """Prevents: black frames by way of the extra arguments."""
    with pytest.raises(SettingsError, match="black"):
        settings.read({"VACE_EXTRA_ARGS": words})


@pytest.mark.parametrize("gone", ["fp8_matrix_mult", "--fast"])
def test_a_value_that_comfyui_no_longer_knows_fails_the_build(
    service: Service, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """Prevents: an update of ComfyUI after which one profile no longer starts."""
    assert selfcheck.unknown_flags(Settings(home=service.home)) == []
    monkeypatch.setenv("STANDIN_WITHOUT", gone)
    (problem,) = selfcheck.unknown_flags(Settings(home=service.home))
    assert gone in str(problem)


def test_a_service_starts_with_a_profile_and_says_so(service: Service) -> None:
    """Prevents: a profile that is set and has no effect."""
    service.environment |= {"VACE_PROFILE": "balanced", "VACE_WARMUP": "0"}
    service.start_until_ready()
    log = service.log.read_text()
    assert "speed profile: balanced" in log
    assert "flag --fast autotune fp16_accumulation: autotune: " in log
