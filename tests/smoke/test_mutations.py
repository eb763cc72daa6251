"""The mutation check: each way of breaking the service must turn the suite red, in time.

A suite that stays green on a broken service is worth less than none. Every row breaks the
simulated ComfyUI in one way and names the sentence that has to come out. The levels are the real
ones; only deadlines are shorter, as the simulation is fast.
"""

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import pytest

from tests.smoke.processes import REPOSITORY, running

IN_TIME_S = 60.0  # of a busy machine; a hang would take minutes
AT_ONCE = 2  # suites, each with a server of its own
# short where the fault is that nothing comes, so that the suite's own deadlines are seen to work
SHORT = ("-x", "--timeout=6", "--stall-seconds=3")
LONG = ("-x", "--timeout=45", "--stall-seconds=30")
# what is wrong with a picture shows in several checks, by chance in one before the other
ALL = (*LONG[1:], "-k=makes_a_video or can_be_read or video_is_good")

# fault, level, what the report must say
JOB = (
    ("out_of_memory", "quick", "OutOfMemory: "),
    ("stall:seconds=600", "quick", "Stalled: "),
    ("no_output", "quick", "NoOutput: "),
    ("cached_only", "quick", "CachedResult: "),
    ("lost_history", "quick", "neither in the queue nor in the history"),
    ("queue_full", "quick", "QueueFull: "),
    ("partial", "quick", "PartlyRejected: "),
    ("html", "quick", "NotComfyUI: "),
    ("http_500:path=/object_info", "quick", "500"),
    ("hang:path=/history,seconds=600,times=1", "quick", "Timeout: "),
    ("truncated_view", "quick", "TruncatedDownload: "),
    ("slow_view:seconds=600", "quick", "Timeout: "),
)
FILE = (
    ("black", "quick", "not_black: "),
    ("wrong_size", "quick", "frame_size: measured 48x48"),
    ("short", "quick", "frame_count: "),
    ("wrong_rate", "quick", "constant_rate: "),
    ("not_h264", "quick", "one_h264_stream: "),
    ("wrong_pixel_format", "quick", "profile: measured High 4:4:4"),
    ("wrong_colour", "quick", "colour_tags: "),
    ("corrupt_file", "reference", "damaged"),
    ("old_file", "quick", "made_by_this_run: "),
)
PICTURE = (
    ("plain", "reference", "not_plain: "),
    ("noise", "reference", "not_noise: "),
    ("frozen", "reference", "not_frozen: "),
    ("flicker", "reference", "no_flicker: "),
    ("nan_blocks", "reference", "no_broken_blocks: "),
)
EDIT = (
    ("ignores_mask", "full -k object-zh", "unchanged_outside_mask: "),
    ("ignores_control", "full -k style-en", "follows_control: "),
)
# the process dies; the client waits for a restart before it gives up, which takes longest
DEATH = (("crash", "quick", "Unreachable: "),)
MUTATIONS = (*DEATH, *JOB, *FILE, *PICTURE, *EDIT)


Row = tuple[str, str, str]


@dataclass(frozen=True)
class Broken:
    """A simulated ComfyUI: where it is, and the file that asks it for a fault."""

    url: str
    fault: Path


@dataclass(frozen=True)
class Ended:
    """How a run of the suite ended, after how many seconds, and where its results are."""

    status: int
    said: str
    seconds: float
    artifacts: Path


@contextmanager
def _server(folder: Path, **more: str) -> Iterator[Broken]:
    """A simulated ComfyUI in its own process."""
    port, fault = folder / "port", folder / "fault"
    fault.touch()
    environment = {
        "COMFYUI_PORT": "0",
        "COMFYUI_BASE": str(folder),
        "SIM_STEP_SECONDS": "0.002",
        "SIM_PORT_FILE": str(port),
        "SIM_FAULT_FILE": str(fault),
        **more,
    }

    def ready() -> bool:
        return port.is_file() and bool(port.read_text().strip())

    with running("rehearsal.comfyui", environment, folder / "log", ready):
        yield Broken(f"http://127.0.0.1:{port.read_text().strip()}", fault)


def _suite(url: str, level: str, artifacts: Path, limits: tuple[str, ...]) -> Ended:
    """Run the suite as a user would."""
    environment = {key: value for key, value in os.environ.items() if "VACE" not in key}
    command = [sys.executable, "-m", "smoke_tests", "--allow-simulated", *limits]
    command += [f"--url={url}", f"--artifacts={artifacts}", "--level", *level.split()]
    begun = time.monotonic()
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True,
        timeout=2 * IN_TIME_S, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - begun
    return Ended(ended.returncode, ended.stdout + ended.stderr, seconds, artifacts)


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Row, Future[Ended]]]:
    """The suite against each chosen mutation, a few at once."""
    chosen = [
        item.callspec.params["row"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path == Path(__file__)
        and hasattr(item, "callspec")
    ]
    free: Queue[Broken] = Queue()

    def one(row: Row) -> Ended:
        fault, level, _ = row
        artifacts = tmp_path_factory.mktemp(fault.partition(":")[0])
        if row in DEATH:
            folder = tmp_path_factory.mktemp("server")
            with _server(folder, SIM_FAULT=fault, SIM_FAULT_FILE="") as dying:
                return _suite(dying.url, level, artifacts, LONG)
        limits = SHORT if row in JOB else ALL if row in PICTURE else LONG
        server = free.get()
        server.fault.write_text(fault)
        try:
            return _suite(server.url, level, artifacts, limits)
        finally:
            server.fault.write_text("")
            free.put(server)

    with ExitStack() as stack:
        for _ in range(AT_ONCE):
            server = stack.enter_context(_server(tmp_path_factory.mktemp("server")))
            # an older video on the server, which `cached_only` and `old_file` then hand out
            before = _suite(server.url, "quick", tmp_path_factory.mktemp("before"), LONG)
            assert before.status == 0, before.said
            free.put(server)
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        futures = {row: pool.submit(one, row) for row in chosen}
        yield futures
        pool.shutdown(cancel_futures=True)


def test_the_suite_is_broken_in_fifteen_ways_and_more() -> None:
    """Prevents that rows go missing from the check unnoticed."""
    assert len({fault for fault, _, _ in MUTATIONS}) >= 15


@pytest.mark.parametrize("row", MUTATIONS, ids=[row[0].partition(":")[0] for row in MUTATIONS])
def test_a_broken_service_turns_the_suite_red(row: Row, runs: dict[Row, Future[Ended]]) -> None:
    """Prevents a green run, a hang, or a red one that says something else."""
    ended = runs[row].result()
    assert ended.status == 1, ended.said
    assert ended.seconds < IN_TIME_S
    assert "Traceback" not in ended.said
    report = json.loads((ended.artifacts / "report.json").read_text())
    said = [test["message"] for test in report["tests"] if test["outcome"] == "failed"]
    assert any(row[2] in message for message in said), said
    assert not report["passed"]
    page = (ended.artifacts / "report.html").read_text()
    assert "<h1>FAILED" in page
    assert "What failed" in page
    suite = next(ET.parse(ended.artifacts / "junit.xml").iter("testsuite"))
    assert int(suite.attrib["failures"]) + int(suite.attrib["errors"]) > 0
