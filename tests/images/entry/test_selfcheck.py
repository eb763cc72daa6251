"""The checks at the end of an image's build, and the small rules behind flags and faults."""

from __future__ import annotations

import pytest
from vace_comfyui import faults, flags, selfcheck
from vace_comfyui.problems import Exit
from vace_comfyui.settings import Settings

from tests.images.entry.conftest import Service

GIB = flags.GIB


def _names(gib: int, ram: int) -> set[str]:
    return {flag.name for flag in flags.memory(gpu=True, vram=gib * GIB, ram=ram * GIB)}


def test_a_flag_that_comfyui_no_longer_knows_fails_the_build(service: Service) -> None:
    """Prevents: an update of ComfyUI whose image ends with a usage error at its first start."""
    problems = selfcheck.unknown_flags(Settings(home=service.home))
    assert problems == []
    service.environment["STANDIN_WITHOUT"] = "--disable-metadata"
    refused = service.run("check", "--build")
    assert refused.returncode == 1
    assert "flag --disable-metadata" in refused.stderr


def test_a_requirement_that_is_not_met_fails_the_build(service: Service) -> None:
    """Prevents: a node pack that cannot be imported, which ComfyUI only logs."""
    node = service.home / "custom_nodes" / "ComfyUI-KJNodes"
    node.mkdir(parents=True)
    (node / "requirements.txt").write_text("pillow>=10.3\nno-such-package>=1  # why\naiohttp<1\n")
    refused = service.run("check", "--build")
    assert refused.returncode == 1
    assert "no no-such-package" in refused.stderr
    assert "aiohttp<1" in refused.stderr
    assert "pillow" not in refused.stderr


def test_what_the_lock_leaves_out_on_purpose_is_not_missed(service: Service) -> None:
    """Prevents: a build that can't pass, or media packages of 400 MB that nobody looks at."""
    node = service.home / "custom_nodes" / "ComfyUI-KJNodes"
    node.mkdir(parents=True)
    (node / "requirements.txt").write_text("no-such-package\n")
    service.describe(omitted={"no-such-package": "a reason"})
    assert service.run("check", "--build").returncode == 0


@pytest.mark.parametrize(
    ("versions", "fits"),
    [
        (("2.10.0+cu128", "0.25.0", "2.10.0"), True),
        (("2.11.0", "0.26.0", "2.11.0"), True),
        (("2.11.0", "0.25.0", "2.11.0"), False),
        (("2.11.0", "0.26.0", "2.10.0"), False),
    ],
)
def test_torch_and_its_companions_are_one_set(versions: tuple[str, str, str], fits: bool) -> None:
    """Prevents: an unmatched torchaudio, with which ComfyUI does not start."""
    assert selfcheck.matching(*versions) is fits


def test_kernels_cover_newer_cards_of_their_generation_only() -> None:
    """Prevents: 'no kernel image is available' on a card that the table promises."""
    built = "sm_75 sm_80 sm_86 sm_90a sm_100 sm_120"
    assert all(selfcheck.architecture(built, item) for item in ("7.5", "8.9", "9.0", "12.0"))
    assert not selfcheck.architecture(built, "7.0")
    assert selfcheck.architecture("sm_75 compute_90", "12.0")


def test_memory_flags_follow_the_card_and_the_host() -> None:
    """Prevents: offloading where everything fits, and its absence where it does not."""
    assert _names(15, 60) == {"--reserve-vram"}
    assert _names(22, 16) == {"--reserve-vram", "--disable-pinned-memory"}
    assert _names(45, 90) == _names(95, 900) == {"--highvram", "--reserve-vram"}
    assert {flag.name for flag in flags.memory(gpu=False, vram=0, ram=0)} == {"--cpu"}


def test_every_flag_has_a_reason_and_none_is_fast() -> None:
    """Prevents: options that nobody can explain any more."""
    settings = Settings()
    chosen = flags.fixed(settings) + flags.memory(gpu=True, vram=0, ram=0)
    assert all(len(flag.reason) > 10 for flag in chosen)
    assert "--fast" not in flags.all_names(settings)
    assert flags.command_line(settings, chosen, "python")[:3] == [
        "python", "-s", "/opt/comfyui/main.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("Got an OOM, unloading all loaded models.", Exit.OUT_OF_MEMORY),
        ("\x1b[31m[ERROR]\x1b[0m Got an OOM, unloading all loaded models.",
         Exit.OUT_OF_MEMORY),
        ("torch.OutOfMemoryError: Allocation on device ", Exit.OUT_OF_MEMORY),
        ("RuntimeError: CUDA error: out of memory", Exit.OUT_OF_MEMORY),
        ("torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
         Exit.GPU_DEAD),
        ("!!! Exception during processing !!! CUDA error: unspecified launch failure",
         Exit.GPU_DEAD),
        ("prompt: CUDA error: unspecified launch failure", Exit.GPU_DEAD),
        ("RuntimeError: CUDA error: no kernel image is available", Exit.GPU_DEAD),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried",
         Exit.KILLED),
    ],
)  # fmt: skip
def test_lines_of_the_log_are_told_apart(line: str, code: Exit) -> None:
    """Prevents: a dead GPU that goes unnoticed because a colour code stands before the words."""
    fault = faults.classify(line)
    assert fault is not None
    assert fault.code == code


@pytest.mark.parametrize(
    "line",
    [
        "Prompt executed in 12.31 seconds",
        "Warning: Ran out of memory when regular VAE decoding, retrying with tiled VAE decoding.",
        "",
    ],
)
def test_ordinary_lines_are_no_faults(line: str) -> None:
    """Prevents: a restart although ComfyUI has helped itself with tiles."""
    assert faults.classify(line) is None


def test_lines_are_cut_at_both_ends_of_a_progress_bar() -> None:
    """Prevents: a message that is missed because a progress bar ended without a new line."""
    lines = faults.Lines()
    assert lines.feed(b"50%\r100%\rGot an O") == ["50%", "100%"]
    assert lines.feed(b"OM\n") == ["Got an OOM"]


def test_help_and_version_answer(service: Service) -> None:
    """Prevents: an entry point that starts a service when it is asked for help."""
    assert "serve" in service.run("--help").stdout
    assert service.run("--version").stdout == f"vace-comfyui cpu, lock {'ab' * 32}\n"
