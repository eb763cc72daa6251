"""ComfyUI's own browser interface in front of the simulated server, in a real browser."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from vace_gateway.server import GatewayServer
from vace_gateway.settings import PREFIX
from vace_gateway.settings import Settings as GatewaySettings

from smoke_tests.conformance import files
from tests.comfyui.browser import Seen, chromium
from tests.comfyui.conftest import Sim, StartSim, eventually
from tests.gateway.pki import Authority

WORKFLOWS = Path(__file__).parents[2] / "smoke_tests" / "workflows"
READY = (
    "window.app?.vueAppReady && app.extensionManager && app.canvas"
    " && document.querySelector('canvas#graph-canvas')"
)
#: What a new user does not have yet; a real server answers 404, too, and the page goes on.
NOT_YET = (
    "/user.css",
    "/api/userdata/user.css",
    "/api/userdata/comfy.templates.json",
    "/api/userdata?dir=workflows&",
    "/api/userdata?dir=subgraphs&",
)
#: What the console says about those answers and about the interface's wish to ask its makers for
#: news, which the gateway's Content-Security-Policy and this test both keep it from.
HARMLESS = (
    "Failed to load resource: ",
    "user.css' because its MIME type",
    "api.comfy.org",
    # The test's own question whether the interface has started.
    "ComfyApp graph accessed before initialization",
)


async def open_page(page: Any, sim: Sim) -> None:
    """Wait until the interface has started; the tour for newcomers stays away."""
    await page.wait_for_function(READY)
    assert await sim.get("/settings") != {}, "the page stored nothing: it did not start"


def assert_nothing_went_wrong(seen: Seen) -> None:
    """No error of the page, and every answer that it got was one it can live with."""
    failed = [line for line in seen.failed if not line.split()[2].startswith(NOT_YET)]
    errors = [line for line in seen.errors if not any(part in line for part in HARMLESS)]
    assert (failed, errors) == ([], [])


async def load_workflow(page: Any, name: str) -> dict[str, Any]:
    """Open a workflow as a dropped file does; returns the prompt that the page makes of it."""
    graph = json.loads((WORKFLOWS / f"{name}.ui.json").read_text(encoding="utf-8"))
    await page.evaluate(
        "async ([graph, name]) => { await app.loadGraphData(graph, true, true, name) }",
        [graph, name],
    )
    prompt: dict[str, Any] = await page.evaluate("async () => (await app.graphToPrompt()).output")
    return prompt


async def make_tiny(page: Any) -> None:
    """Turn every size and step count down, in the widgets, so that the job ends at once."""
    await page.evaluate(
        """() => {
          for (const node of app.graph.nodes)
            for (const widget of node.widgets ?? []) {
              if (widget.name === 'width' || widget.name === 'height') widget.value = 64
              if (widget.name === 'steps') widget.value = 2
              if (node.type === 'INTConstant' && widget.value > 5) widget.value = 5
            }
        }"""
    )


async def queue_from_page(page: Any, sim: Sim) -> dict[str, Any]:
    """Press Run; returns the history entry of the job that this made."""
    before = set(await sim.get("/history"))
    await page.locator("[data-testid=queue-button]").first.click()

    async def ended() -> Any:
        return next((e for k, e in (await sim.get("/history")).items() if k not in before), None)

    entry: dict[str, Any] = await eventually(ended, "the job that the page queued")
    return entry


async def prepared(start_sim: StartSim) -> Sim:
    """A server with the reference's picture and a user who has seen the newcomers' tour."""
    sim = await start_sim()
    await sim.upload("example.png", files.content("example.png"))
    await sim.post("/settings", {"Comfy.TutorialCompleted": True})
    return sim


async def test_the_interface_opens_the_reference_workflow_and_runs_it(
    start_sim: StartSim, tmp_path: Path
) -> None:
    """Prevents: a workflow file that only programs can load, and a page that does not start."""
    sim = await prepared(start_sim)
    home = str(sim.session._base_url).rstrip("/")
    async with chromium(home) as (page, seen):
        await page.goto(home)
        await open_page(page, sim)
        prompt = await load_workflow(page, "reference")
        classes = {node["class_type"] for node in prompt.values()}
        assert {"WanVaceToVideo", "VHS_VideoCombine"} <= classes
        assert await page.locator("[role=dialog]").count() == 0, "a dialog about missing parts"
        await make_tiny(page)
        entry = await queue_from_page(page, sim)
        await page.screenshot(path=tmp_path / "reference.png")
        assert_nothing_went_wrong(seen)
    assert entry["status"]["status_str"] == "success"
    assert any("gifs" in output for output in entry["outputs"].values()), entry


async def test_the_interface_makes_of_every_workflow_file_what_programs_send(
    start_sim: StartSim,
) -> None:
    """Prevents: a UI file that opens, but runs something else than its API file."""
    sim = await prepared(start_sim)
    await upload_inputs(sim)
    home = str(sim.session._base_url).rstrip("/")
    names = sorted(path.name.removesuffix(".ui.json") for path in WORKFLOWS.glob("*.ui.json"))
    assert "reference" in names
    different = []
    async with chromium(home) as (page, seen):
        await page.goto(home)
        await open_page(page, sim)
        for name in names:
            made = await load_workflow(page, name)
            api = json.loads((WORKFLOWS / f"{name}.api.json").read_text(encoding="utf-8"))
            different += [
                f"{name}: node {key}: the page makes {essence(made.get(key))}, "
                f"{name}.api.json has {essence(api.get(key))}"
                for key in sorted(made.keys() | api.keys())
                if essence(made.get(key)) != essence(api.get(key))
            ]
        assert_nothing_went_wrong(seen)
    assert different == []


async def upload_inputs(sim: Sim) -> None:
    """Everything that the workflow files name, so that the page finds it."""
    readers = ("LoadImage", "LoadImageMask", "VHS_LoadVideo", "LoadVideo")
    for path in WORKFLOWS.glob("*.api.json"):
        for node in json.loads(path.read_text(encoding="utf-8")).values():
            inputs = node["inputs"]
            name = inputs.get("image") or inputs.get("video") or inputs.get("file")
            if node["class_type"] in readers and isinstance(name, str):
                content = files.content("clip.mp4" if "." + name.rpartition(".")[2] in
                                        (".mp4", ".mov", ".avi") else "example.png")  # fmt: skip
                await sim.upload(name, content)


def essence(node: dict[str, Any] | None) -> Any:
    """What of a node decides how it runs.

    LoadImage's ``upload`` is the old interface's button, which its API files named as an input; no
    server takes it for one.
    """
    if node is None:
        return None
    inputs = dict(node["inputs"])
    if node["class_type"] == "LoadImage":
        inputs.pop("upload", None)
    return node["class_type"], inputs


async def test_the_interface_works_through_the_gateway_after_a_login(
    start_sim: StartSim, tmp_path: Path
) -> None:
    """Prevents: a door that closes a route which the page needs to start, load or run a graph."""
    sim = await prepared(start_sim)
    Authority(tmp_path).issue(tmp_path / "tls.crt", tmp_path / "tls.key")
    token = secrets.token_urlsafe(32)
    (tmp_path / "token").write_text(token, encoding="ascii")
    values = {
        "TLS_LISTEN": "127.0.0.1:0",
        "TLS_CERT": str(tmp_path / "tls.crt"),
        "TLS_KEY": str(tmp_path / "tls.key"),
        "TOKEN_FILE": str(tmp_path / "token"),
        "UPSTREAM": str(sim.session._base_url).rstrip("/"),
        "METRICS_LISTEN": "",
        "ALLOWED_HOSTS": "127.0.0.1",
        "REQUIRED_NODES": "WanVaceToVideo,VHS_VideoCombine",
    }
    settings = GatewaySettings.from_environment({PREFIX + k: v for k, v in values.items()})
    async with GatewayServer(settings) as gateway:
        home = f"https://127.0.0.1:{gateway.port('TLS_LISTEN')}"
        async with chromium(home) as (page, seen):
            await page.goto(home)
            await page.fill("input[name=token]", token)
            await page.press("input[name=token]", "Enter")
            await open_page(page, sim)
            await load_workflow(page, "reference")
            await make_tiny(page)
            entry = await queue_from_page(page, sim)
            assert await page.locator("[role=dialog]").count() == 0
            await page.screenshot(path=tmp_path / "gateway.png")
            assert_nothing_went_wrong(seen)
    assert entry["status"]["status_str"] == "success"


async def test_static_files_have_the_types_that_browsers_insist_on(sim: Sim) -> None:
    """Prevents: module scripts that a browser refuses, and files outside the interface's folder."""
    pytest.importorskip("comfyui_frontend_package", reason="FRONTEND PACKAGE MISSING")
    root = sim.simulation.interface
    assert root is not None
    script = next((root / "assets").glob("index-*.js")).name
    for path, kind in ((f"/assets/{script}", "text/javascript"), ("/", "text/html")):
        async with sim.session.get(path) as answer:
            assert (answer.status, answer.content_type) == (200, kind)
            assert answer.headers["Cache-Control"] == "no-cache"
            assert answer.headers["X-Simulated"] == "comfyui"
    for path in ("/assets/none.js", "/..%2F__init__.py", "/assets/%2E%2E/%2E%2E/__init__.py"):
        async with sim.session.get(path) as answer:
            assert answer.status == 404, path
    async with sim.session.post("/no-such-route") as refused:
        assert refused.status == 405
    listed = await sim.get("/extensions")
    assert "/extensions/core/editAttention.js" in listed


async def test_several_jobs_are_cancelled_together_or_not_at_all(start_sim: StartSim) -> None:
    """Prevents: a click on "clear" in the page that stops half of the jobs."""
    from tests.comfyui.graphs import generate  # noqa: PLC0415 - only this test makes jobs

    sim = await start_sim(step_seconds=60)
    ids = [await sim.submit(generate(seed=seed)) for seed in range(3)]
    await sim.post("/api/jobs/cancel", {"job_ids": [ids[1], "unknown"]}, status=404)
    assert len((await sim.get("/queue"))["queue_pending"]) >= 1
    await sim.post("/api/jobs/cancel", {"job_ids": []}, status=400)
    answer = await sim.post("/api/jobs/cancel", {"job_ids": ids[1:]})
    assert answer == {"cancelled": ids[1:]}
    await sim.post("/api/jobs/cancel", {"job_ids": ids[:1]})
    assert (await sim.ended(ids[0]))["status"]["status_str"] == "error"


async def test_the_page_gets_models_with_the_folders_that_feed_them(sim: Sim) -> None:
    """Prevents: an empty model library in the page, although graphs can name the models."""
    folders = await sim.get("/api/experiment/models")
    assert {"vae", "loras"} <= {folder["name"] for folder in folders}
    (model,) = await sim.get("/api/experiment/models/vae")
    assert model["name"] == "wan21_vace_vae.safetensors"
    async with sim.session.get("/api/experiment/models/none") as answer:
        assert answer.status == 404
