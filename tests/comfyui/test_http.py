"""The HTTP contract: refusals, queue, files, jobs, user data; independent of recordings."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.comfyui.clips import picture
from tests.comfyui.conftest import Sim, StartSim, eventually
from tests.comfyui.graphs import generate, node


async def refused(sim: Sim, graph: Any) -> dict[str, Any]:
    """The one problem that a refused prompt is refused for."""
    answer = await sim.post("/prompt", {"prompt": graph}, status=400)
    assert answer["error"]["type"] == "prompt_outputs_failed_validation"
    (entry,) = answer["node_errors"].values()
    assert entry["dependent_outputs"] == ["32"]
    (found,) = entry["errors"]
    return dict(found)


@pytest.mark.parametrize(
    ("place", "value", "kind", "details"),
    [
        ("11.unet_name", "x", "value_not_in_list",
         "unet_name: 'x' not in ['wan21_vace_1_3_b.safetensors']"),
        ("24.sampler_name", "x", "value_not_in_list",
         "sampler_name: 'x' not in (list of length 44)"),
        ("17.width", -5, "value_smaller_than_min", "width"),
        ("24.cfg", 101, "value_bigger_than_max", "cfg"),
        ("24.steps", "many", "invalid_input_type",
         "steps, many, invalid literal for int() with base 10: 'many'"),
        ("30.samples", ["15", 0], "return_type_mismatch",
         "samples, received_type(CONDITIONING) mismatch input_type(LATENT)"),
        ("31.samples", ["99", 0], "exception_during_inner_validation", "'99'"),
        ("31.samples", ["30"], "bad_linked_input", "samples"),
        ("24.model", None, "required_input_missing", "model"),
    ],
)  # fmt: skip
async def test_a_bad_input_is_refused_in_comfyuis_words(
    sim: Sim, place: str, value: Any, kind: str, details: str
) -> None:
    """Prevents: clients that show a useless message because the words differ here."""
    graph = generate()
    node_id, _, name = place.partition(".")
    graph[node_id]["inputs"][name] = value
    if value is None:
        del graph[node_id]["inputs"][name]
    found = await refused(sim, graph)
    assert (found["type"], found["details"]) == (kind, details)


async def test_a_prompt_with_one_good_output_is_accepted_with_errors_for_the_other(
    sim: Sim,
) -> None:
    """Prevents: callers that take status 200 for "everything will run"."""
    graph = generate()
    graph["18"] = node("LoadImage", image="nope.png")
    graph["23"] = node("PreviewImage", images=["18", 0])
    answer = await sim.post("/prompt", {"prompt": graph})
    problem = answer["node_errors"]["18"]["errors"][0]
    assert problem["details"] == "image - Invalid image file: nope.png"
    assert set((await sim.ended(answer["prompt_id"]))["outputs"]) == {"32"}


async def test_an_input_file_outside_the_input_folder_is_not_there(sim: Sim) -> None:
    """Prevents: prompts that read any file of the container."""
    graph = generate(control_video=["40", 0])
    graph["40"] = node("LoadImage", image="../../../../etc/hostname")
    assert (await refused(sim, graph))["type"] == "custom_validation_failed"


async def test_unknown_classes_missing_outputs_and_missing_prompts_have_their_own_errors(
    sim: Sim,
) -> None:
    """Prevents: one error for different mistakes."""
    graph = generate()
    graph["32"]["class_type"] = "VHS_VideoCombineX"
    cases = [
        ({}, "no_prompt"),
        ({"prompt": {}}, "prompt_no_outputs"),
        ({"prompt": graph}, "missing_node_type"),
        ({"prompt": {"1": {"inputs": {}}}}, "missing_node_type"),
    ]
    for body, kind in cases:
        assert (await sim.post("/prompt", body, status=400))["error"]["type"] == kind


async def test_every_answer_says_that_it_is_simulated(sim: Sim) -> None:
    """Prevents: somebody taking the simulation for the real service."""
    for path in ("/", "/queue", "/api/system_stats", "/nowhere", "/view?filename=x.mp4"):
        async with sim.session.get(path) as answer:
            assert answer.headers["X-Simulated"] == "comfyui", path
    assert (await sim.get("/system_stats"))["system"]["simulated"] is True
    sim.simulation.interface = None
    async with sim.session.get("/") as answer:
        assert "Simulated ComfyUI" in await answer.text()


async def test_every_route_is_also_below_api(sim: Sim) -> None:
    """Prevents: the browser's calls, which all begin with /api, ending in 404."""
    for path in ("/queue", "/prompt", "/history", "/object_info/KSampler", "/models/vae"):
        assert await sim.get(f"/api{path}") == await sim.get(path)


async def test_interrupt_stops_the_running_prompt_only(start_sim: StartSim) -> None:
    """Prevents: an interrupt that hits the next prompt, or a prompt of somebody else."""
    sim = await start_sim(step_seconds=60)
    listener = await sim.listen()
    first = await sim.submit(generate(), client_id=listener.client_id)
    second = await sim.submit(generate(seed=2), client_id=listener.client_id)

    async def sampling() -> bool:
        return any(m["data"].get("node") == "24" for m in listener.of(first))

    await eventually(sampling, "the sampler of the first prompt")
    await sim.post("/interrupt", {"prompt_id": second})
    assert (await sim.get("/queue"))["queue_running"][0][1] == first
    await sim.post("/interrupt", {"prompt_id": first})
    message = await listener.until("execution_interrupted", first)
    assert message["data"]["node_type"] == "KSampler"
    assert (await sim.get(f"/api/jobs/{first}"))["status"] == "cancelled"
    await listener.until("execution_start", second)
    assert (await sim.get(f"/api/jobs/{second}"))["status"] == "in_progress"
    await sim.post("/interrupt", {})


async def test_jobs_tell_waiting_running_and_unknown_apart(start_sim: StartSim) -> None:
    """Prevents: a caller that cannot see whether its job was lost."""
    sim = await start_sim(step_seconds=60)
    running = await sim.submit(generate())
    waiting = await sim.submit(generate(seed=2))

    async def status() -> bool:
        return bool((await sim.get(f"/api/jobs/{running}"))["status"] == "in_progress")

    await eventually(status, "first job runs")
    assert (await sim.get(f"/api/jobs/{waiting}"))["status"] == "pending"
    assert (await sim.get("/api/jobs/unknown", status=404))["error"] == "Job not found"
    listing = await sim.get("/api/jobs?status=pending&limit=5")
    assert [job["id"] for job in listing["jobs"]] == [waiting]
    assert listing["pagination"] == {"offset": 0, "limit": 5, "total": 1, "has_more": False}
    assert "Invalid status" in (await sim.get("/api/jobs?status=x", status=400))["error"]
    await sim.post(f"/api/jobs/{waiting}/cancel", {})
    await sim.get(f"/api/jobs/{waiting}", status=404)
    await sim.post(f"/api/jobs/{running}/cancel", {})
    assert (await sim.ended(running))["status"]["status_str"] == "error"


async def test_history_can_be_limited_deleted_and_cleared(sim: Sim) -> None:
    """Prevents: a history that callers cannot page through or that never shrinks."""
    ids = [await sim.submit(generate(seed=seed)) for seed in range(3)]
    for prompt_id in ids:
        await sim.ended(prompt_id)
    assert list(await sim.get("/history?max_items=2")) == ids[1:]
    assert list(await sim.get("/history?max_items=1&offset=0")) == ids[:1]
    await sim.post("/history", {"delete": [ids[0]]})
    assert list(await sim.get("/history")) == ids[1:]
    await sim.post("/history", {"clear": True})
    assert await sim.get("/history") == {}


async def test_a_taken_name_is_changed_unless_the_content_is_the_same(sim: Sim) -> None:
    """Prevents: uploads that overwrite somebody's file, or pile up copies."""
    assert (await sim.upload("a.png", b"one"))["name"] == "a.png"
    assert (await sim.upload("a.png", b"one"))["name"] == "a.png"
    assert (await sim.upload("a.png", b"two"))["name"] == "a (1).png"
    assert (await sim.upload("a.png", b"three", overwrite="true"))["name"] == "a.png"
    folder = sim.simulation.folders.input
    assert (folder / "a.png").read_bytes() == b"three"
    assert (folder / "a (1).png").read_bytes() == b"two"


async def test_uploaded_files_appear_in_the_lists_of_the_nodes(sim: Sim) -> None:
    """Prevents: a browser that cannot choose what was just uploaded."""
    await sim.upload("a.png", picture())
    await sim.upload("b.mp4", b"x")
    info = await sim.get("/object_info/LoadImage")
    assert info["LoadImage"]["input"]["required"]["image"][0] == ["a.png"]
    info = await sim.get("/object_info/VHS_LoadVideo")
    assert info["VHS_LoadVideo"]["input"]["required"]["video"][0] == ["b.mp4"]


async def test_a_mask_upload_becomes_the_alpha_of_the_original(sim: Sim) -> None:
    """Prevents: painted masks that get lost on the way back."""
    await sim.upload("a.png", picture(8, 8))
    form = aiohttp.FormData()
    form.add_field("image", picture(8, 8), filename="mask.png")
    form.add_field("original_ref", '{"filename": "a.png", "type": "input"}')
    async with sim.session.post("/upload/mask", data=form) as answer:
        assert (await answer.json())["name"] == "mask.png"
    for query, kind in (("channel=a", "png"), ("channel=rgb", "png"), ("preview=webp", "webp"),
                        ("preview=jpeg;50", "jpeg")):  # fmt: skip
        async with sim.session.get(f"/view?filename=mask.png&type=input&{query}") as answer:
            assert answer.content_type == f"image/{kind}", query
            await answer.read()


async def test_a_body_above_the_limit_is_refused_with_413(start_sim: StartSim) -> None:
    """Prevents: a gateway whose own limit was never tested against ComfyUI's."""
    sim = await start_sim(max_upload_mib=1)
    form = aiohttp.FormData()
    form.add_field("image", b"x" * (2 * 1024 * 1024), filename="big.mp4")
    async with sim.session.post("/upload/image", data=form) as answer:
        assert answer.status == 413


async def test_a_browser_from_another_site_is_refused(sim: Sim) -> None:
    """Prevents: a proxy that forwards Origin with its own Host, which ComfyUI answers with 403."""
    for origin, status in (("https://evil.example", 403), (None, 200)):
        headers = {"Origin": origin} if origin else {}
        async with sim.session.get("/queue", headers=headers) as answer:
            assert answer.status == status


async def test_settings_and_user_files_can_be_written_listed_moved_and_deleted(sim: Sim) -> None:
    """Prevents: a browser that cannot save a workflow."""
    await sim.post("/settings", {"a": 1})
    await sim.post("/settings/b", 2)
    assert await sim.get("/settings") == {"a": 1, "b": 2}
    assert await sim.get("/settings/c") is None
    name = "workflows%2Fvace.json"
    assert await sim.post(f"/userdata/{name}", {"nodes": []}) == "workflows/vace.json"
    assert await sim.get("/userdata?dir=workflows") == ["vace.json"]
    await sim.post(f"/userdata/{name}/move/workflows%2Fb.json", None)
    async with sim.session.get("/userdata/workflows%2Fb.json") as answer:
        assert await answer.json() == {"nodes": []}
    async with sim.session.delete("/userdata/workflows%2Fb.json") as answer:
        assert answer.status == 204
    async with sim.session.get("/userdata/..%2F..%2F..%2Fetc%2Fhostname") as answer:
        assert answer.status == 403


async def test_a_client_that_comes_back_is_told_which_node_runs(start_sim: StartSim) -> None:
    """Prevents: a reloaded browser page that shows nothing until the next node."""
    sim = await start_sim(step_seconds=60)
    listener = await sim.listen("same-client")
    prompt_id = await sim.submit(generate(), client_id="same-client")

    async def sampling() -> bool:
        return any(m["data"].get("node") == "24" for m in listener.of(prompt_id))

    await eventually(sampling, "the sampler")
    again = await sim.listen("same-client")

    async def told() -> bool:
        return {"type": "executing", "data": {"node": "24"}} in again.messages

    await eventually(told, "the running node")
    await sim.post("/interrupt", {})
