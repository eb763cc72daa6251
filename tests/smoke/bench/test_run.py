"""The whole benchmark against a simulated ComfyUI, with tiny settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smoke_tests.bench import __main__ as bench
from smoke_tests.bench import measure, scenarios
from smoke_tests.bench.errors import BenchError
from smoke_tests.bench.work import upload
from smoke_tests.comfy_client import ComfyClient, Progress, Target
from smoke_tests.workflows import RECIPES
from tests.smoke.processes import running

TINY = ["--width", "64", "--height", "48", "--frames", "5", "--steps", "3", "--quiet"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A simulated ComfyUI in its own process."""
    folder = tmp_path_factory.mktemp("simulation")
    port = folder / "port"
    environment = {
        "COMFYUI_PORT": "0",
        "COMFYUI_BASE": str(folder),
        "SIM_STEP_SECONDS": "0.005",
        "SIM_PORT_FILE": str(port),
    }
    with running(
        "rehearsal.comfyui",
        environment,
        folder / "log",
        lambda: port.is_file() and bool(port.read_text().strip()),
    ):
        yield f"http://127.0.0.1:{port.read_text().strip()}"


@pytest.fixture(scope="module")
def saved(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a whole run: cold, warm and two clients."""
    out = tmp_path_factory.mktemp("safe")
    status = bench.main(
        ["--url", url, "--out", str(out), *TINY, "--repeats", "2", "--clients", "2",
         "--price-per-hour", "9.53", "--profile", "safe"]
    )  # fmt: skip
    assert status == 0
    return out


def test_a_run_gives_every_figure_and_keeps_its_videos(saved: Path) -> None:
    """Prevents: a scenario, a phase or a file that is missing without anybody noticing."""
    found = json.loads((saved / "bench.json").read_text())
    assert [each["name"] for each in found["scenarios"]] == ["cold", "warm", "clients-2"]
    assert found["simulated"] is True
    assert found["profile"] == "safe"
    assert found["limit"] is None
    cold, warm, clients = found["scenarios"]
    assert cold["note"] == ""
    assert [len(each["runs"]) for each in (cold, warm, clients)] == [1, 2, 2]
    seeds = [run["seed"] for each in found["scenarios"] for run in each["runs"]]
    assert len(set(seeds)) == 5
    for each in found["scenarios"]:
        assert each["memory"]["polls"] >= 1
        assert each["price_per_video"] > 0
        for run in each["runs"]:
            assert (saved / run["file"]).stat().st_size == run["size"]
            assert {"sample", "download"} <= run["phases"].keys()
            assert run["step_s"] is None or run["step_s"] > 0
    # one of the two had to wait for the other
    assert max(run["queue_s"] for run in clients["runs"]) > 0
    assert {path.name for path in saved.glob("*.svg")} == {"bench-light.svg", "bench-dark.svg"}


def test_every_line_says_simulated(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents: a line that is quoted without the one that said so."""
    chosen = [word for word in TINY if word != "--quiet"]
    arguments = ["--url", url, "--out", str(tmp_path), *chosen, "--repeats", "1", "--no-cold"]
    assert bench.main([*arguments, "--seed", "50"]) == 0
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert text
        assert all(line.startswith("SIMULATED") for line in text.splitlines())
    assert bench.main([*arguments, "--seed", "60", "--plain"]) == 0
    values = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert all(name.startswith("SIMULATED.") for name in values)
    assert float(values["SIMULATED.warm.seconds.p50"]) > 0


def test_a_run_is_compared_with_a_saved_one_by_its_pictures(
    url: str, saved: Path, tmp_path: Path
) -> None:
    """Prevents: a profile that is called as good without one frame compared."""
    arguments = ["--url", url, "--out", str(tmp_path), *TINY, "--repeats", "2"]
    assert bench.main([*arguments, "--against", str(saved / "bench.json")]) == 0
    compared = json.loads((tmp_path / "bench.json").read_text())["comparison"]
    assert compared["seeds"] == [1001, 1002]
    assert compared["quality"]["frames"] == 10
    # the same seed is drawn the same: the comparison has nothing to find
    assert compared["equal"] is True
    assert compared["quality"]["ssim"] == pytest.approx(1.0)
    assert compared["seconds_ratio"] is None


def _other_profile(found: dict[str, object], _: Path) -> None:
    found["profile"] = "fast"


def _real(found: dict[str, object], _: Path) -> None:
    found["simulated"] = False


def _other_size(found: dict[str, object], _: Path) -> None:
    found["workflow"] = {**found["workflow"], "steps": 4}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("change", "words"),
    [(_other_profile, "profile fast"), (_real, "is simulated"), (_other_size, "differ in steps")],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    url: str,
    saved: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    change: Callable[[dict[str, object], Path], None],
    words: str,
) -> None:
    """Prevents: a difference of two settings under the name of a profile's."""
    found = json.loads((saved / "bench.json").read_text())
    change(found, saved)
    other = tmp_path / "bench.json"
    other.write_text(json.dumps(found))
    out = tmp_path / "out"
    assert bench.main(["--url", url, "--out", str(out), *TINY, "--against", str(other)]) == 1
    assert words in capsys.readouterr().err
    assert list(out.glob("*.mp4")) == []


def test_a_run_does_not_overwrite_what_it_is_compared_with(
    url: str, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents: a comparison of a run with itself, which always finds them equal."""
    before = {path: path.stat().st_mtime_ns for path in saved.iterdir()}
    against = str(saved / "bench.json")
    assert bench.main(["--url", url, "--out", str(saved), *TINY, "--against", against]) == 1
    assert "would be overwritten" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in saved.iterdir()} == before


def test_a_saved_video_that_was_changed_is_noticed(
    url: str, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents: a comparison with some other file of that name."""
    copy = tmp_path / "copy"
    shutil.copytree(saved, copy)
    for video in copy.glob("bench_warm_*"):
        video.write_bytes(b"something else")
    arguments = ["--url", url, "--out", str(tmp_path / "out"), *TINY, "--repeats", "1"]
    assert bench.main([*arguments, "--against", str(copy / "bench.json")]) == 1
    assert "not the video that the saved run made" in capsys.readouterr().err


def test_a_result_from_the_cache_is_no_measurement(url: str, tmp_path: Path) -> None:
    """Prevents: the speed of a memory under the name of a GPU's."""
    with ComfyClient(Target.of(url)) as client:
        workflow = upload(client, "reference", RECIPES["reference"].workflow(), tmp_path)
        tiny = workflow.with_inputs(width=64, height=48, frames=5, steps=2)

        def make(scenario: str) -> measure.Run:
            return measure.one(
                client, tiny, tmp_path, scenario=scenario, number=1, seed=77, timeout_s=60
            )

        assert make("first").cached_nodes < len(tiny.graph)
        with pytest.raises(BenchError, match="did not sample for seed 77"):
            make("second")


def test_a_workflow_with_video_and_mask_is_measured_with_drawn_inputs(
    url: str, tmp_path: Path
) -> None:
    """Prevents: a benchmark of the reference workflow alone."""
    arguments = ["--url", url, "--out", str(tmp_path), *TINY, "--repeats", "1", "--no-cold"]
    assert bench.main([*arguments, "--workflow", "object"]) == 0
    assert json.loads((tmp_path / "bench.json").read_text())["workflow"]["name"] == "object"


def test_clients_that_are_interrupted_take_their_jobs_along(url: str, tmp_path: Path) -> None:
    """Prevents: Ctrl-C that leaves N long videos on the GPU of others."""
    told: list[str] = []

    def interrupt(label: str, _: Progress) -> None:
        told.append(label)
        raise KeyboardInterrupt

    with ComfyClient(Target.of(url)) as client:
        workflow = upload(client, "reference", RECIPES["reference"].workflow(), tmp_path)
        plan = scenarios.Plan(
            target=Target.of(url),
            workflow=workflow.with_inputs(width=64, height=48, frames=5, steps=2000),
            folder=tmp_path,
            seed=300,
            timeout_s=60,
            tell=interrupt,
        )
        with pytest.raises(KeyboardInterrupt):
            scenarios.concurrent(plan, 3, 1, used=0)
        queue = client.queue()
    assert told
    assert queue["queue_running"] == queue["queue_pending"] == []
    assert list(tmp_path.glob("*.mp4")) == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 4, "benchmark needs a service"),
        (["--url", "http://127.0.0.1:9", "--repeats", "0"], 4, "--repeats is 0"),
        (["--url", "ftp://x"], 4, "--url"),
        (["--url", "http://127.0.0.1:9", "--outputs", "-"], 4, "Use --stack NAME"),
    ],
)
def test_nothing_is_run_without_a_service_or_with_wrong_options(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    """Prevents: an empty report with status 0."""
    assert bench.main(arguments) == status
    assert words in capsys.readouterr().err


def test_a_believed_profile_that_the_service_has_not_stops_the_run(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents: figures of safe under the name of fast."""
    arguments = ["--url", url, "--out", str(tmp_path), *TINY, "--profile", "fast"]
    assert bench.main(arguments) == 1
    assert "the service runs with safe" in capsys.readouterr().err
