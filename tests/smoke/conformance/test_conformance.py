"""The conformance suite: the simulated server passes it, and a server that lies does not."""

from __future__ import annotations

import asyncio
import json
import runpy
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vace_gateway.server import GatewayServer
from vace_gateway.settings import PREFIX, Settings

from rehearsal.comfyui.conformance import simulated
from rehearsal.comfyui.routes import all_routes
from smoke_tests.comfy_client import Target
from smoke_tests.conformance import __main__ as suite
from smoke_tests.conformance import compare, recordings, routes
from smoke_tests.conformance.replay import Replay, Report
from tests.gateway.pki import Authority

DATA = Path(recordings.__file__).with_name("data")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a simulated server of our own."""
    with simulated(tmp_path_factory.mktemp("simulated")) as url:
        yield url


def test_the_simulated_server_answers_every_recorded_exchange_as_the_real_one(server: str) -> None:
    """Prevents: callers that work in a rehearsal and fail at the real server."""
    report = suite.run(Target.of(server))
    assert report.differences == []
    assert report.remarks == []
    assert report.compared > 140, "exchanges got lost"


def test_the_same_holds_through_the_gateway_with_a_token_and_its_own_authority(
    server: str, tmp_path: Path
) -> None:
    """Prevents: a door that changes what ComfyUI answers, and a suite that cannot pass a door."""
    ca_file, token_file = tmp_path / "ca.pem", tmp_path / "token"
    Authority(tmp_path).issue(tmp_path / "tls.crt", tmp_path / "tls.key")
    token_file.write_text(secrets.token_urlsafe(32), encoding="ascii")
    values = {
        "TLS_LISTEN": "127.0.0.1:0",
        "TLS_CERT": str(tmp_path / "tls.crt"),
        "TLS_KEY": str(tmp_path / "tls.key"),
        "TOKEN_FILE": str(token_file),
        "UPSTREAM": server,
        "METRICS_LISTEN": "",
        "ALLOWED_HOSTS": "127.0.0.1",
        "REQUIRED_NODES": "WanVaceToVideo",
    }
    settings = Settings.from_environment({PREFIX + k: v for k, v in values.items()})

    async def behind_the_door() -> Report:
        async with GatewayServer(settings) as gateway:
            url = f"https://127.0.0.1:{gateway.port('TLS_LISTEN')}"
            target = Target.of(url, token_file=token_file, ca_file=ca_file)
            return await asyncio.to_thread(replayed, target)

    report = asyncio.run(behind_the_door())
    assert report.differences == []
    assert all("gateway" in line for line in report.remarks), report.remarks


def replayed(target: Target) -> Report:
    """What a first session and the downloads of it give."""
    scenarios = [recordings.load()[name] for name in ("reference_run", "view_and_misc")]
    with Replay(target) as replay:
        replay.begin_session(scenarios)
        for scenario in scenarios:
            replay.play(scenario)
        routes.probe(target, replay.report)
        return replay.report


@pytest.mark.parametrize("fault", ["no_output", "out_of_memory:step=1"])
def test_a_server_that_makes_no_video_is_found_out(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents: a comparison that is satisfied by statuses and never looks at the jobs."""
    monkeypatch.setenv("SIM_FAULT", fault)
    with simulated(tmp_path) as url, Replay(Target.of(url), patience_s=3) as replay:
        scenario = recordings.load()["reference_run"]
        replay.begin_session([scenario])
        replay.play(scenario)
    lines = [line for line in replay.report.differences if "GET /history/" in line]
    assert any("outputs" in line and "recorded" in line for line in lines), lines


def test_a_busy_server_is_left_alone(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    """Prevents: a comparison that empties the queue of somebody else's server."""
    monkeypatch.setattr(Replay, "is_idle", lambda _: False)
    with pytest.raises(suite.BusyError, match="has jobs in its queue"):
        suite.run(Target.of(server))
    assert suite.main(["--url", server]) == 4


def test_a_server_that_cannot_be_reached_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """Prevents: "all as recorded" about a server that was never asked."""
    assert suite.main(["--url", "http://127.0.0.1:1"]) == 4
    assert "nothing was judged" in capsys.readouterr().err


def recorded_submission() -> dict[str, Any]:
    """An answer with ids, a number, options and a folder in it."""
    exchanges = recordings.load()["rejected_prompts"].exchanges
    answer: dict[str, Any] = next(
        x.json for x in exchanges if x.note == "a model file that is not there"
    )
    return answer


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("node_errors", {}, ".node_errors.11: recorded {"),
        ("prompt_id", 7, ".prompt_id: recorded '<id>', seen 7"),
        ("extra", 1, ".extra: recorded nothing, seen 1"),
        ("number", -1, ".number: recorded '<number>', seen '<front>'"),
    ],
)
def test_a_difference_is_a_sentence_with_field_recorded_and_seen(
    field: str, value: Any, sentence: str
) -> None:
    """Prevents: a comparison that is blind, or that says only that something differs."""
    answer = recorded_submission()
    lines = compare.unlike(compare.normal({**answer, field: value}), compare.normal(answer))
    assert any(line.startswith(sentence) for line in lines), lines


def test_ids_times_counters_and_folders_of_another_run_are_no_difference() -> None:
    """Prevents: a suite that only the recording machine could pass."""
    fields = {"prompt_id": "4371cec6-f036-4fac-a608-83670497f08f", "timestamp": 1,
              "fullpath": "/opt/comfyui/output/VACE_video_00001.mp4", "number": 3}  # fmt: skip
    other = {"prompt_id": "ba8ae308-65d8-403a-98e7-85b759df434f", "timestamp": 2,
             "fullpath": "/data/x/output/VACE_video_00017.mp4", "number": 40}  # fmt: skip
    assert compare.unlike(compare.normal(other), compare.normal(fields)) == []


def test_every_documented_route_is_there_or_has_a_reason_why_not() -> None:
    """Prevents: a route that the real server has and nobody noticed here."""
    served = {(method, path) for method, path, _ in all_routes()}
    # Names of parameters differ between description and server; their places do not.
    known = {(method, _places(path)) for method, path in served}
    listed = {(route.method, _places(route.path)): route for route in routes.documented()}
    assert len(listed) == 79
    missing = [key for key, route in listed.items() if not route.absent and key not in known]
    needless = [key for key, route in listed.items() if route.absent and key in known]
    assert (missing, needless) == ([], [])
    unused = [
        prefix
        for prefix, reason in routes.ABSENT.items()
        if not any(route.absent == reason for route in listed.values()) or not reason
    ]
    assert unused == []


def _places(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


def test_the_committed_data_is_what_the_recordings_give() -> None:
    """Prevents: an extract that was changed by hand until something passed."""
    folder = Path(__file__).parents[4] / "shared" / "contract" / "comfyui-0.33.0"
    if not folder.is_dir():
        pytest.skip("RECORDINGS MISSING: the committed extract was NOT compared with them")
    extracted = runpy.run_path(str(DATA / "extract.py"))["extract"](folder)
    for name, text in extracted.items():
        assert json.loads(text) == json.loads((DATA / name).read_text(encoding="utf-8")), (
            f"{name} is not fresh; run smoke_tests/conformance/data/extract.py on {folder.name}"
        )
