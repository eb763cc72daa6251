"""Percentiles, prices, limits, and how they are told."""

from __future__ import annotations

import argparse
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from images.variants import gpus
from infra import catalogue
from smoke_tests.bench import cli, flops, limits, plot, price, table, work
from smoke_tests.bench import report as reports
from smoke_tests.bench.errors import BenchError
from smoke_tests.bench.memory import GIB, Peak
from smoke_tests.bench.narrator import Narrator
from smoke_tests.bench.quality import Quality
from smoke_tests.bench.quantiles import needed, shown, summarise
from smoke_tests.bench.service import check_graph, check_profile, describe
from smoke_tests.comfy_client import Progress
from smoke_tests.workflows import RECIPES
from tests.smoke.bench.made_up import report


def test_percentiles_are_values_that_were_measured() -> None:
    """Prevents: a p99 that nobody waited for."""
    summary = summarise([float(value) for value in range(200, 0, -1)])
    assert summary.percentiles == {50: 100.0, 90: 180.0, 99: 198.0}
    assert summarise([3.0, 1.0, 2.0]).median == 2.0
    assert summarise([]).median is None


@pytest.mark.parametrize(
    ("count", "p90", "p99"),
    [(1, False, False), (9, False, False), (10, True, False), (100, True, True)],
)
def test_percentiles_of_too_few_values_are_not_told(count: int, p90: bool, p99: bool) -> None:
    """Prevents: the largest of three runs under the name of a p99."""
    summary = summarise([1.0] * count)
    assert (summary.percentiles[90] is not None, summary.percentiles[99] is not None) == (p90, p99)
    assert summary.median == 1.0
    assert (needed(90), needed(99)) == (10, 100)
    assert p99 or shown(summary, 99) == "needs 100 values"


def test_the_limit_is_work_over_the_dense_peak() -> None:
    """Prevents: a peak with sparsity, or FP8 for what is not multiplied in FP8."""
    parts = flops.sampling(flops.REFERENCE)
    (l20, a10) = [next(each for each in gpus() if each.gpu == name) for name in ("L20", "A10")]
    on_l20, on_a10 = limits.limit(l20, parts, 20), limits.limit(a10, parts, 20)
    assert on_l20 is not None
    assert on_a10 is not None
    assert on_l20.half_s == pytest.approx(3.381e15 / 119.5e12, rel=1e-3)
    narrow = parts["blocks.normalised"]
    expected = narrow / 239e12 + (flops.total(parts) - narrow) / 119.5e12
    assert on_l20.least_s == on_l20.fp8_s == pytest.approx(expected)
    assert on_a10.fp8_s is None
    assert on_a10.least_s == pytest.approx(27.05, abs=0.01)
    assert on_a10.ratio(54.1) == pytest.approx(2.0, abs=0.01)
    # 2.22 GB a step: far below, as it must be for the arithmetic to be what limits
    assert on_a10.memory_s == pytest.approx(20 * 2.22 / 600)


def test_a_card_without_published_peaks_has_no_limit() -> None:
    """Prevents: a distance to a guess."""
    (unknown,) = [each for each in gpus() if each.gpu.startswith("RTX PRO")]
    assert limits.limit(unknown, flops.sampling(flops.REFERENCE), 20) is None


def test_the_list_price_is_that_of_the_deployment() -> None:
    """Prevents: the benchmark and `pulumi up` naming two prices."""
    for row in catalogue.instance_types():
        for region, expected in row.prices.items():
            found = price.from_catalogue(row.type, region)
            assert found is not None
            assert found.per_hour == expected.cny_per_hour
            assert expected.date.isoformat() in found.source


def test_a_price_is_given_or_looked_up_or_said_to_be_unknown() -> None:
    """Prevents: a video that costs nothing because nobody knew the price."""
    given, why = price.choose(7.2, "EUR", "ecs.gn7i-c8g1.2xlarge", "cn-hangzhou")
    assert given is not None
    assert (given.per_hour, given.currency, why) == (7.2, "EUR", "")
    assert given.of_seconds(1800) == pytest.approx(3.6)
    listed, _ = price.choose(None, "CNY", "ecs.gn7i-c8g1.2xlarge", "cn-hangzhou")
    assert listed is not None
    assert listed.per_hour == 9.53
    for kind, region in (("", ""), ("ecs.gn99.large", "cn-hangzhou")):
        nothing, why = price.choose(None, "CNY", kind, region)
        assert nothing is None
        assert why.startswith("no price: ")


def test_the_peak_is_the_largest_of_all_polls_and_cards() -> None:
    """Prevents: the memory of the last moment under the name of the peak."""

    def stats(*free: int) -> dict[str, Any]:
        return {
            "system": {"ram_total": 64 * GIB, "ram_free": free[0] * GIB},
            "devices": [{"vram_total": 24 * GIB, "vram_free": each * GIB} for each in free],
        }

    peak = Peak().with_stats(stats(20, 20)).with_stats(stats(20, 9)).with_stats(stats(23, 23))
    assert (peak.vram, peak.vram_total, peak.polls) == (15 * GIB, 24 * GIB, 3)
    assert peak.ram == 44 * GIB
    assert Peak().with_stats({"system": {}, "devices": []}).vram_total == 0


STATS = {
    "system": {"comfyui_version": "0.33.0", "pytorch_version": "2.11.0+cu130",
               "argv": ["main.py", "--listen", "127.0.0.1"]},
    "devices": [{"name": "cuda:0 NVIDIA L20 : cudaMallocAsync", "vram_total": 48 * GIB}],
}  # fmt: skip


def test_the_service_tells_its_profile_and_card() -> None:
    """Prevents: figures under the name of another card or profile."""
    service = describe(STATS, simulated=False, gpu_name=None)
    assert service.profile == "safe"
    assert service.gpu is not None
    assert service.gpu.gpu == "L20"
    assert service.facts["GPU"] == "NVIDIA L20"
    with pytest.raises(BenchError, match="--profile is fast, and the service runs with safe"):
        check_profile("fast", service)
    with pytest.raises(BenchError, match="safe, balanced, fast"):
        check_profile("turbo", service)
    check_profile("safe", service)


def test_a_simulated_service_has_no_card_whatever_is_said() -> None:
    """Prevents: a distance to the limit of a card that did nothing."""
    service = describe(STATS, simulated=True, gpu_name="L20")
    assert service.gpu is None


def test_a_card_can_be_named_where_it_does_not_tell() -> None:
    """Prevents: no limit for a card that calls itself otherwise."""
    stats = {**STATS, "devices": [{"name": "cuda:0 GPU", "vram_total": GIB}]}
    assert "no physical limit" in describe(stats, simulated=False, gpu_name=None).note
    named = describe(stats, simulated=False, gpu_name="A10").gpu
    assert named is not None
    assert named.gpu == "A10"
    with pytest.raises(BenchError, match="A100-class"):
        describe(stats, simulated=False, gpu_name="A1")


def test_a_graph_with_a_bad_pair_is_not_measured() -> None:
    """Prevents: a record of black frames."""
    service = describe(STATS, simulated=False, gpu_name=None)
    check_graph({"KSampler", "WanVaceToVideo", "TorchCompileModel"}, service)
    with pytest.raises(BenchError, match="TeaCache"):
        check_graph({"TeaCache", "WanVaceToVideo"}, service)


def test_the_work_is_read_from_every_shipped_graph() -> None:
    """Prevents: a workflow of ours that the benchmark cannot count."""
    for recipe in RECIPES.values():
        job = work.job_of(recipe.workflow())
        assert (job.width, job.height, job.frames) == (recipe.width, recipe.height, recipe.frames)
        assert (job.steps, job.cfg, job.reference) == (
            recipe.steps, recipe.cfg, recipe.reference_frame,
        )  # fmt: skip


def test_every_line_of_a_simulated_run_says_so_and_claims_no_speed() -> None:
    """Prevents: figures of a drawing program in somebody's slides."""
    found = report(simulated=True)
    lines = table.lines(found)
    assert all(line.startswith("SIMULATED") for line in lines)
    assert not any("limit of" in line.lower() or "times the limit" in line for line in lines)
    assert all(line.startswith("SIMULATED.") for line in reports.plain(found))
    document = reports.document(found)
    assert document["simulated"] is True
    assert document["limit"] is None
    assert "no distance" in document["notice"]
    assert all(each["simulated"] for each in document["scenarios"])
    assert "times_the_limit" not in json.dumps(document)


def test_a_real_run_tells_speed_price_and_distance() -> None:
    """Prevents: a table that leaves out what it is made for."""
    found = report()
    text = "\n".join(table.lines(found))
    for part in ("50.00", "needs 10 values", "0.5000", "8.0", "Limit of the L20: 24.20 s",
                 "a price list", "3.381 PFLOP", "NVIDIA L20"):  # fmt: skip
        assert part in text, part
    values = dict(line.split(" ", 1) for line in reports.plain(found))
    assert float(values["warm.seconds.p50"]) == 50
    assert float(values["warm.frames_per_second"]) == pytest.approx(49 / 50, rel=1e-4)
    assert float(values["warm.price_per_video"]) == pytest.approx(0.5)
    assert float(values["warm.sampling_times_the_limit"]) == pytest.approx(40 / 24.2, rel=1e-3)
    assert float(values["clients-2.queue_seconds.p50"]) == 0
    assert float(values["clients-2.videos_per_hour"]) == 72
    assert "warm.seconds.p90" not in values


def test_the_document_is_strict_json(tmp_path: Path) -> None:
    """Prevents: Infinity, which no other program reads."""
    quality = Quality(49, float("inf"), float("inf"), 1.0, 1.0)
    compared = reports.Comparison("bench.json", (1,), quality, 0.9)
    path = reports.write(report(comparison=compared), tmp_path)
    saved = reports.read(path)
    assert saved["comparison"]["quality"]["psnr_db"] is None
    assert saved["comparison"]["equal"] is True
    path.write_text("[]")
    with pytest.raises(BenchError, match=r"bench\.json that this program wrote"):
        reports.read(path)


@pytest.mark.parametrize("simulated", [True, False])
def test_the_pictures_are_drawn_for_both_kinds_of_page(tmp_path: Path, simulated: bool) -> None:
    """Prevents: a picture that cannot be read on a dark page, or differs at every run."""
    found = report(simulated=simulated)
    light, dark = plot.write(found, tmp_path)
    before = light.read_bytes()
    for path, theme in ((light, plot.THEMES[0]), (dark, plot.THEMES[1])):
        text = path.read_text(encoding="utf-8")
        assert ET.fromstring(text).tag.endswith("svg")
        assert theme.paper in text
        assert ("SIMULATED" in text) is simulated
    assert plot.write(found, tmp_path)[0].read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--repeats", "0"], "--repeats is 0"),
        (["--clients", "1"], "--clients is 1, 2 or more"),
        (["--price-per-hour", "0"], "--price-per-hour is 0"),
        (["--timeout", "0"], "--timeout is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--region", "cn-hangzhou"], "both together"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(arguments: list[str], words: str) -> None:
    """Prevents: an hour of measuring nothing."""
    (fault,) = cli.faults(cli.parser().parse_args(arguments))
    assert words in fault


def test_a_workflow_is_a_name_or_a_file() -> None:
    """Prevents: a typing mistake that measures the default."""
    with pytest.raises(BenchError, match="text_to_video"):
        work.load(argparse.Namespace(workflow="texttovideo"))


def test_progress_is_told_at_once_and_then_seldom() -> None:
    """Prevents: silence over minutes, and ten lines a second."""
    out = io.StringIO()
    narrator = Narrator("SIMULATED", out=out)
    for value in range(20):
        narrator.progress("warm 1", Progress("running", 5.0 * value, value=value, maximum=20))
    assert len(out.getvalue().splitlines()) == 1
    assert out.getvalue().startswith("SIMULATED  warm 1")
