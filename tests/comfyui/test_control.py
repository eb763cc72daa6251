"""The control interface, previews, and what a restart or a limit makes the server forget."""

from __future__ import annotations

import asyncio
import io
import json
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from rehearsal.comfyui import settings
from tests.comfyui.conftest import Listener, Sim, StartSim, eventually
from tests.comfyui.graphs import generate

Order = Callable[[Any], Awaitable[dict[str, Any]]]


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "control"


@pytest.fixture
async def controlled(start_sim: StartSim, socket_path: Path) -> Sim:
    """A server with a control socket, whose sampler takes a minute a step."""
    return await start_sim(control=socket_path, step_seconds=60)


@pytest.fixture
async def order(controlled: Sim, socket_path: Path) -> AsyncIterator[Order]:
    """Sends one line (bytes as they are) and gives the answer."""
    assert controlled
    reader, writer = await asyncio.open_unix_connection(str(socket_path))

    async def send(line: Any) -> dict[str, Any]:
        writer.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
        answer: dict[str, Any] = json.loads(await asyncio.wait_for(reader.readline(), 10))
        return answer

    yield send
    writer.close()


async def running(sim: Sim, listener: Listener) -> str:
    """A prompt that is being sampled."""
    prompt_id = await sim.submit(generate(), client_id=listener.client_id)

    async def samples() -> bool:
        return any(m["data"].get("node") == "24" for m in listener.of(prompt_id))

    await eventually(samples, "the sampler")
    return prompt_id


async def test_a_fault_is_switched_on_and_off_and_seen_in_the_state(
    controlled: Sim, order: Order
) -> None:
    """Prevents: a test that believes in a fault that the server never heard of."""
    answer = await order({"fault": "http_500:path=/history,times=1"})
    assert (answer["ok"], answer["hits"]) == (True, 0)
    assert answer["fault"] == "http_500:step=1,seconds=3600,times=1,path=/history"
    async with controlled.session.get("/history") as given:
        assert given.status == 500
    assert (await order({"status": True}))["hits"] == 1
    assert (await order({"fault": None}))["fault"] is None
    assert await controlled.get("/history") == {}


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (b"black", "Allowed is one JSON object a line"),
        ({"fault": "black", "status": True}, "one change"),
        ({"explode": True}, "fault, status, restart"),
        ({"fault": "explode"}, "Unknown fault 'explode'"),
        ({"fault": 3}, "or null"),
        ({"restart": False}, "restart False cannot be used"),
        ({"restart": {"seconds": -1}}, "0 to 3600"),
    ],
)
async def test_a_line_that_cannot_be_obeyed_changes_nothing(
    order: Order, line: Any, part: str
) -> None:
    """Prevents: a typing error that switches a fault off, or ends the connection."""
    await order({"fault": "black"})
    answer = await order(line)
    assert answer["ok"] is False
    assert part in answer["error"]
    assert (await order({"status": True}))["fault"].startswith("black:")


async def test_the_socket_is_for_its_owner_only_and_no_http_route(
    controlled: Sim, socket_path: Path
) -> None:
    """Prevents: a way for whoever reaches the server to break it."""
    facts = socket_path.stat()
    assert stat.S_ISSOCK(facts.st_mode)
    assert stat.S_IMODE(facts.st_mode) == 0o600
    for path in ("/control", "/fault", "/api/fault", "/restart"):
        async with controlled.session.post(path, json={"fault": "black"}) as answer:
            assert answer.status in (404, 405), path


async def test_a_restart_forgets_what_ran_waited_and_had_ended(
    start_sim: StartSim, socket_path: Path, tmp_path: Path
) -> None:
    """Prevents: clients that were never seen to lose their job."""
    file = tmp_path / "fault"
    sim = await start_sim(control=socket_path, fault_file=file)
    ended = await sim.submit(generate(seed=1))
    await sim.ended(ended)
    file.write_text("stall:seconds=600")
    listener = await sim.listen()
    lost = await running(sim, listener)
    waiting = await sim.submit(generate(seed=3))
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    writer.write(b'{"restart": true}\n{"fault": null}\n')
    state = json.loads(await asyncio.wait_for(reader.readline(), 10))
    writer.close()
    assert (state["running"], state["pending"], state["history"]) == ([], [], 0)

    async def cut() -> bool:
        return listener.socket.closed

    await eventually(cut, "the end of the WebSocket")
    entry = await sim.run(generate(seed=4))
    assert dict(entry["status"]["messages"])["execution_cached"]["nodes"] == []
    assert entry["prompt"][0] == 0, "numbers begin again"
    known = await sim.get("/history")
    assert not {ended, lost, waiting} & set(known)
    assert "execution_interrupted" not in listener.kinds(lost)


async def test_a_restart_with_an_outage_cuts_connections_until_it_is_over(
    controlled: Sim, order: Order
) -> None:
    """Prevents: a client that takes a refused connection for the end of the service."""
    await order({"restart": {"seconds": 0.4}})
    with pytest.raises(aiohttp.ClientConnectionError):
        await controlled.get("/queue")

    async def back() -> bool:
        try:
            return bool(await controlled.get("/queue"))
        except aiohttp.ClientConnectionError:
            return False

    await eventually(back, "the server")


async def test_the_history_keeps_only_so_many_entries(start_sim: StartSim) -> None:
    """Prevents: clients that look for an old job and are never told that it is gone."""
    sim = await start_sim(history_limit=2)
    ids = [await sim.submit(generate(seed=seed)) for seed in range(3)]
    await sim.ended(ids[-1])
    assert list(await sim.get("/history")) == ids[1:]


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("SIM_HISTORY_LIMIT", "0", "from 1 to"),
        ("SIM_PREVIEW_METHOD", "best", "none, auto, latent2rgb, taesd"),
        ("SIM_CONTROL", "/no/such/folder/socket", "in a folder that exists"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(
    variable: str, value: str, part: str
) -> None:
    """Prevents: a typing error that is silently taken for the default."""
    with pytest.raises(settings.SettingsError, match=part):
        settings.read([], {variable: value})


async def sampled(sim: Sim, listener: Listener, seed: int = 1, **extra: Any) -> list[bytes]:
    """Binary messages of a whole run."""
    options = {"extra_data": extra} if extra else {}
    prompt_id = await sim.submit(generate(seed=seed), client_id=listener.client_id, **options)
    await listener.until("execution_success", prompt_id)
    return listener.binary


async def test_previews_are_sent_only_when_they_were_asked_for(start_sim: StartSim) -> None:
    """Prevents: clients that count on previews that a real server does not send."""
    sim = await start_sim()
    assert await sampled(sim, await sim.listen()) == []
    bare = await sampled(sim, await sim.listen(), seed=2, preview_method="auto")
    assert len(bare) >= 1
    assert struct.unpack(">II", bare[0][:8]) == (1, 1)
    with Image.open(io.BytesIO(bare[0][8:])) as shown:
        assert (shown.format, shown.size) == ("JPEG", (512, 512))


async def test_a_client_that_asks_for_it_gets_previews_with_their_place(
    start_sim: StartSim,
) -> None:
    """Prevents: previews that a client shows at the wrong node or job."""
    sim = await start_sim(preview_method="latent2rgb", preview_size=64)
    listener = await sim.listen()
    await listener.socket.send_json(
        {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
    )

    async def greeted() -> bool:
        return any(message["type"] == "feature_flags" for message in listener.messages)

    await eventually(greeted, "the server's features")
    message = (await sampled(sim, listener))[0]
    kind, length = struct.unpack(">II", message[:8])
    place = json.loads(message[8 : 8 + length])
    assert (kind, place["node_id"], place["image_type"]) == (4, "24", "image/jpeg")
    assert place["prompt_id"] in await sim.get("/history")
    with Image.open(io.BytesIO(message[8 + length :])) as shown:
        assert shown.format == "JPEG"
