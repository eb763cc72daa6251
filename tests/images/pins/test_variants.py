"""The table from GPU and driver to variant: facts that other programs rely on."""

import datetime
import itertools

import pytest

from images import lock
from images.variants import (
    Variant,
    VariantError,
    find,
    gpu_of_device,
    gpus,
    image_facts,
    variant_for,
    variants,
    variants_on,
    version,
)
from infra import catalogue

GPU_VARIANTS = [each for each in variants() if each.cuda]


@pytest.mark.parametrize(
    ("capability", "driver", "expected"),
    [
        ("7.5", "535.161.08", "cu128"),
        ("8.6", "550.90.07", "cu128"),
        ("8.9", "570.133.20", "cu128"),
        ("8.9", "580.95.05-open", "cu130"),
        ("9.0", "525.60.13", "cu128"),
        ("12.0", "570.26", "cu128"),
        ("12.0", "580.65.06", "cu130"),
    ],
)
def test_the_newest_variant_that_the_driver_runs_is_chosen(
    capability: str, driver: str, expected: str
) -> None:
    """The wrong image starts, and fails at the first kernel."""
    assert variant_for(capability, driver).name == expected


@pytest.mark.parametrize(
    ("capability", "driver", "parts"),
    [
        ("8.9", "470.256.02", ("470.256.02", "525.60.13", "cu128")),
        ("12.0", "550.90.07", ("550.90.07", "570.26", "cu128")),
        ("6.1", "580.95.05", ("6.1", "7.5", "T4")),
        ("8.9", "new", ("new", "570.133.20", "nvidia-smi")),
    ],
)
def test_a_gpu_or_driver_that_nothing_fits_is_told_what_would(
    capability: str, driver: str, parts: tuple[str, ...]
) -> None:
    """ "No kernel image" hours later is what the message replaces."""
    with pytest.raises(VariantError) as caught:
        variant_for(capability, driver)
    for part in parts:
        assert part in str(caught.value)


def test_an_unknown_variant_is_refused_with_the_known_ones() -> None:
    """A typing mistake in a configuration must not become an image name."""
    with pytest.raises(VariantError, match="cu130, cu128, cpu"):
        find("cu126")


def test_every_gpu_has_a_variant_and_every_offered_driver_too() -> None:
    """A row that cannot run would be offered to users and fail there."""
    for gpu in gpus():
        assert variants_on(gpu.compute_capability, "9999"), gpu
        assert len(gpu.choices()) == len(gpu.drivers), gpu
        assert gpu.source
        assert datetime.date(2026, 1, 1) <= gpu.date <= datetime.date(2100, 1, 1)
        assert gpu.where


def test_the_named_cards_are_in_the_table() -> None:
    """ECS and ACS sell these; the mission names them."""
    places = " ".join(place for gpu in gpus() for place in gpu.where)
    for family in ("gn6i", "gn7i", "gn8is", "gn8v", "gn9gc", "acs T4", "acs A10", "GU8TF", "L20X"):
        assert family in places


def test_a_newer_cuda_release_needs_a_newer_driver() -> None:
    """Otherwise the preferred variant could hide a better one."""
    releases = [version(each.cuda or "") for each in GPU_VARIANTS]
    assert releases == sorted(releases, reverse=True)
    for newer, older in itertools.pairwise(GPU_VARIANTS):
        assert set(newer.least_driver) <= set(older.least_driver) | set(newer.least_driver)
        for capability in set(newer.least_driver) & set(older.least_driver):
            assert version(newer.least_driver[capability]) > version(older.least_driver[capability])


def test_a_newer_driver_never_takes_a_variant_away() -> None:
    """Drivers run everything that older ones ran; the table must too."""
    drivers = sorted({least for each in variants() for least in each.least_driver.values()})
    for capability in {key for each in variants() for key in each.least_driver}:
        before: list[Variant] = []
        for driver in sorted(drivers, key=version):
            now = variants_on(capability, driver)
            assert {each.name for each in before} <= {each.name for each in now}
            before = now


def test_table_and_lock_have_the_same_variants() -> None:
    """A variant in one alone could be chosen and not built, or built and never chosen."""
    assert {each.name for each in variants()} == set(lock.load().variants)


def test_the_catalogues_driver_runs_a_variant_on_each_instance_type() -> None:
    """infra/ installs the branch of its catalogue; the image must start on it."""
    for row in catalogue.instance_types():
        major, minor = row.compute_capability
        branch = row.driver.partition("-")[0]
        # The first release of a branch that Ubuntu carries is not known here: the lowest possible.
        found = variants_on(f"{major}.{minor}", f"{branch}.{26 if branch == '570' else 65}.06")
        assert found, row.type
        assert any(gpu.compute_capability == f"{major}.{minor}" for gpu in gpus())


def test_an_image_says_what_it_runs_on() -> None:
    """The preflight inside the image reads this and needs no table."""
    facts = image_facts("cu128")
    assert facts["cuda"] == "12.8"
    assert facts["least_driver"][facts["compute_capabilities"][-1]] == "570.26"
    assert image_facts("cpu") == {
        "variant": "cpu",
        "cuda": None,
        "compute_capabilities": [],
        "least_driver": {},
    }


def test_peaks_are_dense_sourced_and_possible() -> None:
    """A peak with sparsity, twice the real one, would make every card look twice as slow."""
    known = [each for each in gpus() if each.fp16_tflops]
    assert {"T4", "A10", "A30", "A100-class", "L20"} <= {each.gpu for each in known}
    for gpu in gpus():
        peaks = (gpu.fp16_tflops, gpu.bf16_tflops, gpu.fp8_tflops, gpu.memory_gb_per_s)
        assert bool(gpu.peak_source) == any(peaks), gpu.gpu
        assert bool(gpu.device) == any(peaks), gpu.gpu
        if gpu.fp8_tflops:
            assert version(gpu.compute_capability) >= (8, 9)
            assert gpu.fp8_tflops == 2 * (gpu.fp16_tflops or 0)
        if gpu.bf16_tflops:
            assert version(gpu.compute_capability) >= (8, 0)
            assert gpu.bf16_tflops == gpu.fp16_tflops
    (l20,) = [each for each in gpus() if each.gpu == "L20"]
    assert (l20.bf16_tflops, l20.fp8_tflops) == (119.5, 239.0)


@pytest.mark.parametrize(
    ("name", "memory_gib", "gpu"),
    [
        ("cuda:0 NVIDIA L20 : cudaMallocAsync", 44.5, "L20"),
        ("cuda:0 Tesla T4 : native", 14.6, "T4"),
        ("NVIDIA A10", 22.1, "A10"),
        ("NVIDIA A100-SXM4-80GB", 79, "A100-class"),
        ("NVIDIA H20", 95.6, "GU8TF (H20-class 96 GB)"),
        ("NVIDIA H20", 139.8, "GU8TEF (H20-class 141 GB)"),
        ("NVIDIA A10G", 22, None),
        ("simulated", 8, None),
    ],
)
def test_a_card_is_found_by_what_cuda_calls_it(
    name: str, memory_gib: float, gpu: str | None
) -> None:
    """The peak of another card would make the distance to the limit a fiction."""
    found = gpu_of_device(name, memory_gib)
    assert (found.gpu if found else None) == gpu
