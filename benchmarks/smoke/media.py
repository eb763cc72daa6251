"""How long the checks of a video take: prints `media_checks_s value`, the median of five runs.

    .venv/bin/python benchmarks/smoke/media.py [--repeat N]

Reading and all checks, also those against a source, of 81 frames of 832x480; the clip is generated,
written as VHS_VideoCombine does, and is in the page cache, as a download is that has just ended.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from smoke_tests.media import CHECKS, EDIT_CHECKS, Expectation, MediaError, Source, read_clip

WIDTH, HEIGHT, FRAMES, RATE = 832, 480, 81, 16
REACH = 64


def write(path: Path, seed: int) -> None:
    """A textured scene with grain that the camera circles over."""
    rng = np.random.default_rng(seed)
    wide = np.zeros((HEIGHT + 2 * REACH, WIDTH + 2 * REACH, 3), np.float32)
    for cells, weight in ((5, 0.5), (17, 0.3), (71, 0.2)):
        grain = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        grown = Image.fromarray(grain).resize(wide.shape[1::-1], Image.Resampling.BICUBIC)
        wide += weight * np.asarray(grown, np.float32)
    wide += rng.normal(0, 4, wide.shape).astype(np.float32)
    scene = np.clip(wide, 0, 255).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "19"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        codec = stream.codec_context
        codec.color_range = codec.colorspace = codec.color_primaries = codec.color_trc = 1
        for index in range(FRAMES):
            x = int(REACH * (1 + np.cos(0.1 * index)))
            y = int(REACH * (1 + np.sin(0.08 * index)))
            picture = np.ascontiguousarray(scene[y : y + HEIGHT, x : x + WIDTH])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))


def once(path: Path, source: Path) -> float:
    """Seconds for reading both clips and running every check."""
    started = time.perf_counter()
    clip = read_clip(path)
    expected = Expectation(WIDTH, HEIGHT, FRAMES, Fraction(RATE))
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[120:360, 200:600] = 1
    inner = (104, 60, 728, 420)
    given = Source(read_clip(source), mask, first_frames=9, inner=inner)
    for check in CHECKS.values():
        check(clip, expected)
    for edit_check in EDIT_CHECKS.values():
        try:
            edit_check(clip, given)
        except MediaError:  # two unrelated scenes: what counts here is the time
            continue
    return time.perf_counter() - started


def main() -> None:
    """Print the median."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="number of runs (default 5)")
    repeat = max(1, parser.parse_args().repeat)
    with tempfile.TemporaryDirectory() as folder:
        clip, source = Path(folder) / "clip.mp4", Path(folder) / "source.mp4"
        write(clip, 1)
        write(source, 2)
        print(f"media_checks_s {statistics.median(once(clip, source) for _ in range(repeat)):.3f}")


if __name__ == "__main__":
    main()
