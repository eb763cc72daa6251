"""Node classes that the editing graphs need beyond the reference workflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.comfyui.clips import picture, write_clip
from tests.comfyui.conftest import Sim
from tests.comfyui.graphs import generate, load_video, node


def saved(sim: Sim, entry: dict[str, object], node_id: str) -> list[np.ndarray]:
    """Pictures that a SaveImage node wrote."""
    outputs = entry["outputs"]
    assert isinstance(outputs, dict), entry
    paths = [sim.output / item["filename"] for item in outputs[node_id]["images"]]
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


async def test_padding_to_a_target_centres_the_picture_and_masks_the_border(sim: Sim) -> None:
    """Prevents: outpainting that paints over the picture, or keeps the border."""
    await sim.upload("a.png", picture(64, 48))
    graph = {
        "1": node("LoadImage", image="a.png"),
        "2": node("RepeatImageBatch", image=["1", 0], amount=2),
        "3": node(
            "ImagePadKJ", image=["2", 0], left=0, right=0, top=0, bottom=0, extra_padding=0,
            pad_mode="color", color="128, 128, 128", target_width=["4", 0], target_height=["5", 0],
        ),
        "4": node("INTConstant", value=96),
        "5": node("INTConstant", value=64),
        "6": node("SaveImage", images=["3", 0], filename_prefix="padded"),
        "7": node("MaskToImage", mask=["3", 1]),
        "8": node("SaveImage", images=["7", 0], filename_prefix="mask"),
    }  # fmt: skip
    entry = await sim.run(graph)
    padded, masks = saved(sim, entry, "6"), saved(sim, entry, "8")
    assert [len(padded), len(masks)] == [2, 2]
    assert padded[0].shape == masks[0].shape == (64, 96, 3)
    inner = (slice(8, 56), slice(16, 80))
    assert (masks[1][inner] == 0).all()
    assert masks[1].sum() == 255 * 3 * (64 * 96 - 64 * 48)
    assert (padded[1][:8] == 128).all()
    assert tuple(padded[1][40, 60]) == (200, 40, 40)


async def test_padding_takes_the_edge_where_it_is_told_to(sim: Sim) -> None:
    """Prevents: pad modes that all give the same border."""
    await sim.upload("a.png", picture(64, 48))
    sides = {"left": 8, "right": 8, "top": 0, "bottom": 0, "extra_padding": 0, "color": "0"}
    graph = {"1": node("LoadImage", image="a.png")}
    for number, mode in enumerate(("edge", "edge_pixel", "color")):
        graph[f"2{number}"] = node("ImagePadKJ", image=["1", 0], pad_mode=mode, **sides)
        graph[f"3{number}"] = node("SaveImage", images=[f"2{number}", 0], filename_prefix=mode)
    entry = await sim.run(graph)
    left = [saved(sim, entry, f"3{number}")[0][:, 4] for number in range(3)]
    assert (left[0][0] == left[0][-1]).all()
    assert tuple(left[1][0]) == (250, 250, 250)
    assert tuple(left[1][-1]) == (200, 40, 40)
    assert (left[2] == 0).all()


async def test_light_is_taken_out_of_a_picture_as_grey(sim: Sim) -> None:
    """Prevents: grey control videos that carry the old colours along."""
    await sim.upload("a.png", picture(64, 48))
    graph = {
        "1": node("LoadImage", image="a.png"),
        "2": node("ImageRGBToYUV", image=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix="y"),
    }
    (light,) = saved(sim, await sim.run(graph), "3")
    expected = round(0.299 * 200 + 0.587 * 40 + 0.114 * 40)
    assert np.abs(light[40, 60].astype(int) - expected).max() <= 1


async def test_a_latent_of_another_length_than_the_control_fails_in_the_sampler(
    sim: Sim, tmp_path: Path
) -> None:
    """Prevents: graphs whose encoded source and control differ, which the real model refuses."""
    write_clip(tmp_path / "clip.mp4", frames=5)
    await sim.upload("clip.mp4", (tmp_path / "clip.mp4").read_bytes())
    graph = generate(length=9)
    graph["40"] = load_video("clip.mp4")
    graph["41"] = node("VAEEncode", pixels=["40", 0], vae=["14", 0])
    graph["24"]["inputs"] |= {"latent_image": ["41", 0], "denoise": 0.5}
    entry = await sim.run(graph)
    error = dict(entry["status"]["messages"])["execution_error"]
    assert error["exception_message"] == (
        "The size of tensor a (48) must match the size of tensor b (32) at non-singleton "
        "dimension 1\n"
    )
