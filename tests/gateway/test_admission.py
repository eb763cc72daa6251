"""The queue limit."""

from __future__ import annotations

import asyncio

from tests.gateway.conftest import MakeBench


async def test_a_full_queue_answers_429_with_a_sentence(make_bench: MakeBench) -> None:
    """ComfyUI has no limit: a burst ends in out-of-memory and loses everybody's jobs."""
    async with make_bench(MAX_QUEUE="2") as bench, bench.client() as client:
        statuses = [(await client.post("/prompt", json={})).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]  # one runs, two wait
        full = await client.post("/api/prompt", json={})
        assert full.status_code == 429
        assert int(full.headers["Retry-After"]) > 0
        error = full.json()["error"]
        assert error["type"] == "queue_full"
        assert "2 prompts wait; at most 2 may" in error["details"]
        assert full.json()["node_errors"] == {}
        bench.comfy.queue_pending = 1
        assert (await client.post("/prompt", json={})).status_code == 200
        assert await bench.metric("vace_gateway_queue_refusals_total") == 3
        assert await bench.metric("vace_gateway_queue_pending") == 2


async def test_a_burst_can_not_slip_past_the_limit(make_bench: MakeBench) -> None:
    """Asking and sending are two steps; what enters between them must be counted."""
    async with make_bench(MAX_QUEUE="3") as bench, bench.client() as client:
        answers = await asyncio.gather(*(client.post("/prompt", json={}) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200, 429}
        assert bench.comfy.queue_running + bench.comfy.queue_pending <= 4


async def test_zero_is_no_limit(make_bench: MakeBench) -> None:
    """The operator can leave the limit to something else."""
    async with make_bench(MAX_QUEUE="0") as bench, bench.client() as client:
        bench.comfy.queue_pending = 10_000
        assert (await client.post("/prompt", json={})).status_code == 200


async def test_the_queue_limit_asks_nothing_of_other_routes(make_bench: MakeBench) -> None:
    """A full queue must stay visible and cancellable."""
    async with make_bench(MAX_QUEUE="1") as bench, bench.client() as client:
        bench.comfy.queue_running, bench.comfy.queue_pending = 1, 50
        for method, path in (("GET", "/queue"), ("POST", "/interrupt"), ("POST", "/queue")):
            assert (await client.request(method, path)).status_code == 200


async def test_a_prompt_while_comfyui_is_down_is_503_not_429(make_bench: MakeBench) -> None:
    """429 would tell the caller that its job has a place in a queue that does not exist."""
    async with make_bench() as bench, bench.client() as client:
        await bench.comfy.stop()
        assert (await client.post("/prompt", json={})).status_code == 503


async def test_the_body_of_a_prompt_is_bounded(make_bench: MakeBench) -> None:
    """ComfyUI reads a prompt into memory as a whole."""
    async with make_bench(MAX_PROMPT_MIB="1") as bench, bench.client() as client:
        big = await client.post("/prompt", content=b"x" * (1024 * 1024 + 1))
        assert big.status_code == 413
        settings = await client.post("/settings", content=b"x" * (1024 * 1024 + 1))
        assert settings.status_code == 413
        assert not bench.comfy.requests
