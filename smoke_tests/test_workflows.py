"""Every workflow that the service ships, in both languages, from files of every format."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from smoke_tests import inputs, reference
from smoke_tests.comfy_client import ComfyClient
from smoke_tests.making import judge, look_at, make_video, provenance
from smoke_tests.media import CHECKS, Clip, Expectation, Source, edit_checks, read_clip
from smoke_tests.session import Run
from smoke_tests.workflows import RECIPES, Language, Recipe

LANGUAGES: tuple[Language, ...] = ("en", "zh")
#: In turn, so that all are used and none decides alone; see `_format`.
TURNS = tuple(inputs.FORMATS)


def _format(recipe: Recipe, language: Language) -> str:
    """The source's format: another one for each workflow, and for the other language again."""
    place = list(RECIPES).index(recipe.name)
    return TURNS[(place + 2 * LANGUAGES.index(language)) % len(TURNS)]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_the_server_can_run_the_workflow(recipe: Recipe, client: ComfyClient) -> None:
    """Every node class and every model file of it is on the server."""
    graph, info = recipe.workflow(), client.object_info()
    faults = [f"node class {name} is missing" for name in reference.missing_nodes(graph, info)]
    faults += reference.missing_models(graph, info)
    assert not faults, "; ".join(faults)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_the_workflow_makes_its_video(
    recipe: Recipe, language: Language, run: Run, pytestconfig: pytest.Config
) -> None:
    """It makes the video that it promises, and keeps of its source what it promises."""
    kind = _format(recipe, language)
    files, source = _inputs(recipe, kind, run.folder)
    prompt = recipe.prompts[language]
    expected = Expectation(
        recipe.width,
        recipe.height,
        recipe.frames,
        recipe.fps,
        audio=recipe.audio,
        # only the reference graph embeds itself, for callers that have always had it so
        metadata_allowed=recipe.name == "reference",
        submitted=datetime.now(UTC),
    )
    video = make_video(
        run,
        pytestconfig,
        f"{recipe.name}_{language}",
        recipe.workflow(),
        files,
        title={language: recipe.title[language]},
        prompt=prompt.positive,
        negative_prompt=prompt.negative,
    )
    look_at(run, video, source.clip)
    provenance(run, video, embeds_graph=recipe.name == "reference")
    failed = judge(run, video, expected, CHECKS, source=source, edits=edit_checks(recipe.kept))
    assert not failed, "\n".join(map(str, failed))


def _inputs(recipe: Recipe, kind: str, folder: Path) -> tuple[dict[str, Path], Source]:
    """The files that a workflow takes, and what its result is compared with."""
    files: dict[str, Path] = {}
    mask = None
    if "image" in recipe.inputs:
        files["image"] = reference.write_example_image(folder)
    if "video" in recipe.inputs:
        files["video"] = inputs.write_video(folder, kind)
    if "mask" in recipe.inputs:
        around = recipe.name == "background"
        files["mask"], mask = inputs.write_mask(folder, kind, inverse=around)
    clip: Clip | None = read_clip(files["video"]) if "video" in files else None
    source = Source(
        clip=clip,
        mask=mask,
        reference=files.get("image"),
        first_frames=recipe.first_frames,
        inner=recipe.inner,
        fit=recipe.fit,
    )
    return files, source
