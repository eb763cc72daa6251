"""The files say what the definitions say, and what the service promises."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from typing import Any

import pytest

from smoke_tests.comfy_client.ui_graph import differences, to_api
from smoke_tests.workflows import RECIPES, Recipe, classes, cost, render
from smoke_tests.workflows.definitions import DEFINITIONS
from smoke_tests.workflows.graph import CLASSES_FILE, Graph, GraphError
from smoke_tests.workflows.wording import MASK_NOTE

#: sha256 of the graph as the service's first callers have it.
REFERENCE_SHA256 = "bda0934d036949f757f63ec091a35b3cfaceba78047f0419dd3242329ac5231e"
PROMISED = (
    "reference",
    "text_to_video",
    "picture_to_video",
    "style",
    "colour",
    "background",
    "object",
    "effect",
    "enhance",
    "extend",
    "outpaint",
)
EDITS = PROMISED[3:]
PACKS = ("nodes", "comfy_extras.", "custom_nodes.ComfyUI-KJNodes", "custom_nodes.ComfyUI-VideoHel")


def _nodes(recipe: Recipe, class_type: str) -> list[dict[str, Any]]:
    graph = recipe.workflow().graph
    return [node["inputs"] for node in graph.values() if node["class_type"] == class_type]


def _resolved(recipe: Recipe, value: Any) -> Any:
    return recipe.workflow().graph[value[0]] if isinstance(value, list) else value


def test_all_promised_workflows_exist_in_the_order_of_the_page() -> None:
    """Prevents that a promised kind of editing is forgotten or renamed."""
    assert tuple(RECIPES) == PROMISED
    assert set(DEFINITIONS) == set(PROMISED)


def test_every_generated_file_is_fresh() -> None:
    """Prevents that users open something else than the definitions say."""
    old = [path.name for path in render.stale()]
    assert not old, f"{old} are stale; run: {render.COMMAND}"


def test_the_reference_graph_is_unchanged() -> None:
    """Prevents that existing callers' graph is edited along with ours."""
    content = RECIPES["reference"].api_path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == REFERENCE_SHA256


def test_the_reference_definition_makes_the_reference_graph(object_info: dict[str, Any]) -> None:
    """Prevents that the reference's UI file, which is made from it, is another graph."""
    reference = RECIPES["reference"]
    made = DEFINITIONS["reference"](reference).api(titles=False)
    assert differences(made, reference.workflow().graph, object_info) == []


def test_both_files_of_a_workflow_are_the_same_graph(
    recipe: Recipe, object_info: dict[str, Any]
) -> None:
    """Prevents that the browser runs another graph than programs do."""
    ui = json.loads(recipe.ui_path.read_text(encoding="utf-8"))
    converted = to_api(ui, object_info, source=recipe.ui_path.name)
    assert differences(converted, recipe.workflow().graph, object_info) == []


def test_only_nodes_of_the_pinned_packs_are_used(
    recipe: Recipe, object_info: dict[str, Any]
) -> None:
    """Prevents a workflow that asks the user to install something."""
    for name in recipe.workflow().classes():
        assert object_info[name]["python_module"].startswith(PACKS), name


def test_the_extract_of_node_classes_is_that_of_the_recording(object_info: dict[str, Any]) -> None:
    """Prevents widgets in an order that the pinned versions no longer have."""
    kept = json.loads(CLASSES_FILE.read_text(encoding="utf-8"))
    fresh = classes.extract(object_info, kept)
    for name, definition in kept.items():
        # lists of files differ from server to server; names and order of inputs must not
        assert definition["input_order"] == fresh[name]["input_order"], name
        assert definition["output"] == fresh[name]["output"], name
        assert definition["input"].keys() == fresh[name]["input"].keys(), name


def test_what_a_recipe_promises_is_what_its_graph_holds(recipe: Recipe) -> None:
    """Prevents a page and checks that speak of another size, length or rate."""
    graph = recipe.workflow()
    held = {name: graph.value(name) for name in ("width", "height", "steps", "cfg")}
    assert held == {
        "width": recipe.width,
        "height": recipe.height,
        "steps": recipe.steps,
        "cfg": recipe.cfg,
    }
    assert Fraction(graph.value("fps")) == recipe.fps
    [sampler] = _nodes(recipe, "KSampler")
    assert sampler["denoise"] == recipe.denoise
    [saver] = _nodes(recipe, "VHS_VideoCombine")
    assert ("audio" in saver) == recipe.audio


def test_the_model_can_make_each_size_and_length(recipe: Recipe) -> None:
    """Prevents the sampler's error about tensor sizes, and frames that are dropped silently."""
    assert recipe.width % 16 == 0
    assert recipe.height % 16 == 0
    assert recipe.frames % 4 == 1
    assert recipe.first_frames == 0 or recipe.first_frames % 4 == 1


def test_inputs_can_be_set_by_their_meaning(recipe: Recipe) -> None:
    """Prevents that a caller must know node ids."""
    names: dict[str, Any] = {role: f"{role}.bin" for role in recipe.inputs}
    changed = recipe.workflow().with_inputs(prompt="a fox", seed=5, **names)
    for role, name in names.items():
        assert changed.value(role) == name
    assert changed.value("prompt") == "a fox"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_language_has_its_own_texts(recipe: Recipe, language: Any) -> None:
    """Prevents a page, note or prompt that is in the other language."""
    texts = [
        recipe.title[language],
        recipe.summary[language],
        recipe.prompts[language].positive,
        recipe.prompts[language].negative,
        *recipe.notes[language],
    ]
    for text in texts:
        chinese = any("\u4e00" <= letter <= "\u9fff" for letter in text)
        assert chinese == (language == "zh"), text


def test_the_shipped_prompt_is_the_recipes(recipe: Recipe) -> None:
    """Prevents a page that shows another prompt than the file holds."""
    shipped = recipe.prompts["zh" if recipe.name == "reference" else "en"]
    assert recipe.workflow().value("prompt") == shipped.positive
    assert recipe.workflow().value("negative_prompt") == shipped.negative


@pytest.mark.parametrize("name", PROMISED[1:])
def test_no_file_carries_the_graph_inside(name: str) -> None:
    """Prevents that prompts and file names leave the service within a video."""
    [saver] = _nodes(RECIPES[name], "VHS_VideoCombine")
    assert saver["save_metadata"] is False


@pytest.mark.parametrize("name", EDITS)
def test_a_source_is_brought_to_size_by_cropping_and_never_stretched(name: str) -> None:
    """Prevents distorted people when a phone clip is edited."""
    recipe = RECIPES[name]
    resizes = _nodes(recipe, "ImageResizeKJv2")
    assert {node["keep_proportion"] for node in resizes} == {recipe.fit}
    [source] = _nodes(recipe, "VHS_LoadVideo")
    assert (source["custom_width"], source["custom_height"]) == (0, 0)


def test_a_reference_picture_is_padded_without_being_squeezed() -> None:
    """Prevents a subject that is up to 15 pixels narrower than in its picture.

    ImageResizeKJv2 rounds the scaled picture down to `divisible_by` before it adds the bars.
    """
    recipe = RECIPES["picture_to_video"]
    [resize] = _nodes(recipe, "ImageResizeKJv2")
    assert (resize["keep_proportion"], resize["divisible_by"]) == (recipe.fit, 1)


@pytest.mark.parametrize("name", EDITS)
def test_the_source_is_read_at_the_results_rate(name: str) -> None:
    """Prevents a result that runs slower than its sound."""
    [source] = _nodes(RECIPES[name], "VHS_LoadVideo")
    [saver] = _nodes(RECIPES[name], "VHS_VideoCombine")
    assert source["force_rate"] == saver["frame_rate"]
    assert _resolved(RECIPES[name], source["force_rate"])["inputs"]["value"] == 16


@pytest.mark.parametrize("name", ["background", "object"])
def test_a_mask_picture_is_repeated_for_each_frame_of_the_source(name: str) -> None:
    """Prevents that one mask holds for one frame only and all others are painted over."""
    recipe = RECIPES[name]
    [repeat] = _nodes(recipe, "RepeatImageBatch")
    assert _resolved(recipe, repeat["amount"])["class_type"] == "VHS_LoadVideo"
    assert MASK_NOTE["en"] in recipe.notes["en"]


@pytest.mark.parametrize("name", ["background", "object"])
def test_what_is_painted_over_is_grey_before(name: str) -> None:
    """Prevents that the old object shows through, as the model sees it under the mask."""
    recipe = RECIPES[name]
    [vace] = _nodes(recipe, "WanVaceToVideo")
    composite = _resolved(recipe, vace["control_video"])
    assert composite["class_type"] == "ImageCompositeMasked"
    assert composite["inputs"]["mask"] == vace["control_masks"]
    assert _nodes(recipe, "EmptyImage")[0]["color"] == 0x808080


def test_the_cost_is_relative_to_the_reference_and_follows_the_tokens() -> None:
    """Prevents a cost that ignores size, steps or guidance."""
    assert RECIPES["reference"].cost == 1
    assert 5 < RECIPES["text_to_video"].cost < 5.2
    assert RECIPES["picture_to_video"].cost > RECIPES["text_to_video"].cost
    work = cost.sampling_work(480, 480, 49, steps=20, cfg=4)
    assert work == pytest.approx(3.35e15, rel=0.02)  # the figure known for the reference
    assert cost.sampling_work(480, 480, 49, steps=10, cfg=1) == pytest.approx(work / 4)


def test_a_graph_refuses_what_a_server_would_refuse() -> None:
    """Prevents a definition with a wrong link that only a server would find."""
    graph = Graph()
    vae = graph.add("VAELoader", group="g", vae_name="x")
    with pytest.raises(GraphError, match="takes IMAGE, not VAE"):
        graph.add("ImageInvert", group="g", image=vae[0])
    with pytest.raises(GraphError, match="needs image"):
        graph.add("ImageInvert", group="g")
    with pytest.raises(GraphError, match="has no input 'picture'"):
        graph.add("ImageInvert", group="g", image=1, picture=2)
    with pytest.raises(GraphError, match=r"not in node_classes\.json"):
        graph.add("NoSuchNode", group="g")
    with pytest.raises(GraphError, match="has no output number 3"):
        _ = vae[3]
