"""``python -m vace_comfyui.encoder``: really encode an H.264 frame, both ways that are used.

ComfyUI's own nodes encode through PyAV; VideoHelperSuite pipes frames to an ffmpeg. Either can be
built without x264, which only shows when a finished video is to be written. This runs in a process
of its own, so that a library that crashes takes nothing along and no memory stays taken.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from vace_comfyui.problems import Exit, Problem

SIZE = 64
TIMEOUT_SECONDS = 60
HELPER = "custom_nodes/ComfyUI-VideoHelperSuite"


def check(home: Path) -> list[Problem]:
    """Run both encoder tests in a process of their own; what failed comes back as problems."""
    command = [sys.executable, "-s", "-m", "vace_comfyui.encoder", str(home)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return [_problem("H.264 encoder", f"no answer in {TIMEOUT_SECONDS} s")]
    try:
        failures = json.loads(done.stdout)
    except ValueError:
        tail = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return [_problem("H.264 encoder", f"status {done.returncode}: {tail[0]}")]
    return [_problem(name, str(error)) for name, error in failures.items()]


def _problem(name: str, error: str) -> Problem:
    return Problem(
        Exit.ENCODER,
        name,
        error,
        "one encoded H.264 frame that decodes again",
        "without it every video fails at its very end",
        "use an image whose wheels av and imageio-ffmpeg are those of the lock "
        "(`vace-comfyui check --build` tells)",
    )


def with_pyav() -> None:
    """Encode one frame as ComfyUI's own nodes do, and decode it.

    Raises:
        Exception: whatever PyAV raises; RuntimeError when the frame does not come back.
    """
    import av  # noqa: PLC0415 - only in the process that tests

    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp4") as container:
        stream = container.add_stream("h264", rate=16)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame(SIZE, SIZE, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    _decoded(buffer.getvalue())


def ffmpeg_program() -> str | None:
    """The ffmpeg that VideoHelperSuite takes: forced by variable, imageio-ffmpeg's, or on PATH."""
    forced = os.environ.get("VHS_FORCE_FFMPEG_PATH")
    if forced:
        return forced
    if importlib.util.find_spec("imageio_ffmpeg") is not None:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    return shutil.which("ffmpeg")


def with_ffmpeg(program: str) -> None:
    """Pipe one frame to ffmpeg as VideoHelperSuite does, and decode the answer.

    Raises:
        Exception: the program cannot run, or what it wrote is not the frame.
    """
    options = (
        f"-v error -f rawvideo -pix_fmt rgb24 -s {SIZE}x{SIZE} -r 16 -i - -frames:v 1 -c:v libx264 "
        "-crf 19 -pix_fmt yuv420p -movflags frag_keyframe+empty_moov -f mp4 -"
    )
    done = subprocess.run(
        [program, *options.split()],
        input=bytes(SIZE * SIZE * 3),
        capture_output=True,
        timeout=TIMEOUT_SECONDS // 2,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip()[-300:])
    _decoded(done.stdout)


def _decoded(data: bytes) -> None:
    import av  # noqa: PLC0415

    with av.open(io.BytesIO(data), mode="r") as container:
        codec = container.streams.video[0].codec_context.name
        frames = len(list(container.decode(video=0)))
    if codec != "h264" or frames != 1:
        raise RuntimeError(f"{frames} frames of {codec} came back")


def main(home: Path) -> dict[str, str]:
    """Failures by name; empty when both ways work."""
    failures = {}
    try:
        with_pyav()
    except Exception as error:
        failures["PyAV's H.264 encoder"] = f"{type(error).__name__}: {error}"
    try:
        program = ffmpeg_program()
        if program is not None:
            with_ffmpeg(program)
        elif (home / HELPER).is_dir():
            failures["ffmpeg of VideoHelperSuite"] = "no ffmpeg is installed"
    except Exception as error:
        failures["ffmpeg of VideoHelperSuite"] = f"{type(error).__name__}: {error}"
    return failures


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
