"""The figures for people: a table, and below it what has to be known to read it."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from smoke_tests.bench import flops
from smoke_tests.bench.quantiles import shown
from smoke_tests.bench.report import NOTICE, Report, distances, quantities, rates

WIDTH = 110


def lines(report: Report, *, colour: bool = False) -> list[str]:
    """All lines; every one of a simulated run says so."""
    found = [*_head(report), *_table(report, colour=colour), *_foot(report)]
    return [f"{report.mark}  {line}".rstrip() for line in found] if report.simulated else found


def _head(report: Report) -> Iterator[str]:
    job = report.job
    yield (
        f"{report.workflow}: {job.width}x{job.height}, {job.frames} frames, {job.steps} steps, "
        f"cfg {job.cfg:g}; profile {report.profile or 'none (other flags)'}; {report.url}"
    )
    yield ", ".join(f"{name} {value}" for name, value in report.service.items() if value)


def _table(report: Report, *, colour: bool) -> list[str]:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for outcome in report.outcomes:
        table.add_column(outcome.name, justify="right")
    measured = [quantities(outcome.runs) for outcome in report.outcomes]
    rated = [
        {**rates(report, outcome), **distances(report, outcome)} for outcome in report.outcomes
    ]

    def row(title: str, values: list[str]) -> None:
        if any(value not in ("", "-") for value in values):
            table.add_row(title, *values)

    def rate(title: str, name: str, form: str) -> None:
        row(title, [format(each[name], form) if name in each else "-" for each in rated])

    rate("videos", "videos", ".0f")
    for level in (50, 90, 99):
        row(f"seconds a video, p{level}", [shown(each["seconds"], level) for each in measured])
    row("queue wait, s, p50", [shown(each["queue_seconds"], 50) for each in measured])
    row("queue wait, s, p90", [shown(each["queue_seconds"], 90) for each in measured])
    row("execution, s, p50", [shown(each["execution_seconds"], 50) for each in measured])
    row("a step, s, p50", [shown(each["step_seconds"], 50, digits=3) for each in measured])
    rate("frames a second", "frames_per_second", ".2f")
    rate("videos an hour", "videos_per_hour", ".1f")
    if report.price is not None:
        rate(f"price a video, {report.price.currency}", "price_per_video", ".4f")
    rate("peak GPU memory, GiB", "peak_vram_gib", ".1f")
    rate("peak host memory, GiB", "peak_ram_gib", ".1f")
    rate("sampling, times the limit", "sampling_times_the_limit", ".2f")
    rate("execution, times the limit", "execution_times_the_limit", ".2f")
    out = io.StringIO()
    Console(
        file=out, width=WIDTH, force_terminal=colour, color_system="standard" if colour else None
    ).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


def _foot(report: Report) -> Iterator[str]:
    parts = flops.sampling(report.job)
    sentences = [
        f"Work of the sampling: {flops.total(parts) / 1e15:.3f} PFLOP "
        f"(attention {parts['blocks.attention'] / 1e15:.3f}); beside it, once: text encoder "
        f"{flops.text_encoder() / 1e15:.3f}, VAE {flops.vae_decode(report.job) / 1e15:.3f}."
    ]
    if report.least is not None:
        least = report.least
        sentences.append(
            f"Limit of the {least.gpu}: {least.least_s:.2f} s of sampling at its dense peak "
            f"({least.half_tflops:g} TFLOPS in 16 bit"
            + (f", {least.fp8_tflops:g} in FP8" if least.fp8_tflops else "")
            + f"; {least.source})."
        )
    if report.price is not None:
        sentences.append(
            f"Price: {report.price.per_hour:g} {report.price.currency} an hour "
            f"({report.price.source}), without disks and traffic."
        )
    if report.comparison is not None:
        found = report.comparison
        ratio = found.seconds_ratio
        sentences.append(
            f"Against {found.baseline} (safe), {found.quality.frames} frames of "
            f"{len(found.seeds)} seeds: PSNR {found.quality.psnr_db:.2f} dB (worst frame "
            f"{found.quality.psnr_worst_db:.2f}), SSIM {found.quality.ssim:.4f} (worst "
            f"{found.quality.ssim_worst:.4f})"
            + (f"; {ratio:.2f} times its seconds." if ratio else ".")
        )
    sentences += [f"{each.name}: {each.note}" for each in report.outcomes if each.note]
    sentences += report.notes
    if report.simulated:
        sentences.append(NOTICE)
    for sentence in sentences:
        yield from textwrap.wrap(sentence, WIDTH, subsequent_indent="  ")
