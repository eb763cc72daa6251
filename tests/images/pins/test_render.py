"""Containerfiles come from templates and the lock, and from nothing else."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from images import lock, render
from images.__main__ import ERROR, main
from images.errors import RenderError, RenderStaleError
from images.lock import FOLDER
from images.pins import load as load_pins

HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    return render.render(lock.load(), load_pins())


def test_the_committed_containerfiles_are_what_the_templates_give(
    rendered: dict[str, str],
) -> None:
    """A template changed without rendering would not be in any image."""
    render.check_rendered(rendered)


def test_a_stale_containerfile_shows_the_difference_and_the_command(
    tmp_path: Path, rendered: dict[str, str]
) -> None:
    """Whoever sees CI fail needs the command, not a search for it."""
    render.write(rendered, tmp_path)
    render.check_rendered(rendered, tmp_path)
    name = "gateway.Containerfile"
    (tmp_path / name).write_text(rendered[name].replace("USER 10002:10002", "USER 0:0"))
    (tmp_path / "old.Containerfile").write_text("FROM scratch\n")
    with pytest.raises(RenderStaleError) as caught:
        render.check_rendered(rendered, tmp_path)
    for part in ("-USER 0:0", "+USER 10002:10002", "no longer rendered", render.COMMAND):
        assert part in str(caught.value)
    assert render.write(rendered, tmp_path) == [name, "old.Containerfile"]
    render.check_rendered(rendered, tmp_path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{{ no_such_thing }}", "no_such_thing"),
        ("{{ lock.no_such_field }}", "no_such_field"),
        ("{{ lock.git.nothing.commit }}", "nothing"),
        ("{% if %}", "cannot be read"),
    ],
)
def test_a_template_variable_that_does_not_exist_is_an_error(
    tmp_path: Path, text: str, named: str
) -> None:
    """An empty string in a RUN line builds an image that lacks something, without a word."""
    shutil.copytree(render.TEMPLATES, tmp_path / "templates")
    with (tmp_path / "templates" / "gateway.j2").open("a") as template:
        template.write(text)
    with pytest.raises(RenderError, match=named) as caught:
        render.render(lock.load(), load_pins(), tmp_path / "templates")
    assert "gateway.j2" in str(caught.value)


def test_hadolint_finds_nothing(tmp_path: Path, rendered: dict[str, str]) -> None:
    """Its ignored rules stand in images/hadolint.yaml, each with a reason."""
    render.write(rendered, tmp_path)
    command = [str(HADOLINT), "--config", str(FOLDER / "hadolint.yaml"), "--no-color"]
    files = [str(tmp_path / name) for name in rendered]
    finished = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_file_says_that_it_is_generated_and_by_what(rendered: dict[str, str]) -> None:
    """Somebody will open one to change it."""
    for text in rendered.values():
        assert text.startswith("# GENERATED from images/templates")
        assert f"`{render.COMMAND}`" in text


def _instructions(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()


def test_no_step_can_hide_a_failure(rendered: dict[str, str]) -> None:
    """Published images swallowed failed wheels this way; OCI images have no pipefail."""
    for name, text in rendered.items():
        for step in _instructions(text):
            if step.startswith("RUN "):
                code = re.sub(r"'[^']*'|\"[^\"]*\"", "", step)
                assert "|" not in code, (name, step)
                # The loop that compares hashes leaves by `exit 1`; the other `if` is an assignment.
                code, loops = re.subn(
                    r"for package in .*?; do .*? \*\) .*?; exit 1 ;; .*? done", "", code
                )
                assert loops == ("DEBIAN_SHA256" in step), step
                assert ";" not in re.sub(r"if [^;]*; then [^;]*; *fi", "", code), step


def test_containers_end_as_a_fixed_user_and_by_running_what_they_hold(
    rendered: dict[str, str],
) -> None:
    """An image that cannot start should fail its build, not its deployment."""
    for name, text in rendered.items():
        if name.startswith("weights"):
            continue
        steps = _instructions(text)
        uid = "10002" if name.startswith("gateway") else "10001"
        assert [step for step in steps if step.startswith("USER")] == [f"USER {uid}:{uid}"]
        assert steps[-1].startswith("RUN ")
        assert re.search(
            r"vace-(comfyui check --build|gateway --version|weights verify)", steps[-1]
        )


def test_layers_go_from_what_changes_seldom_to_what_changes_often(
    rendered: dict[str, str],
) -> None:
    """A new ComfyUI commit must not move the torch layers, nor our own code ComfyUI's."""
    text = rendered["comfyui-cu128.Containerfile"]
    marks = [
        "DEBIAN_PACKAGES", "-m venv", "wheels/cuda-cu128", "wheels/torch-cu128", "wheels/python",
        "wheels/comfy", "COPY git/videohelpersuite", "COPY git/kjnodes", "COPY git/comfyui",
        "COPY vace/", "check --build",
    ]  # fmt: skip
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)


def test_variants_share_all_layers_but_their_own(rendered: dict[str, str]) -> None:
    """One Python group for all variants: a node with both pulls it once."""
    both = [rendered[f"comfyui-{name}.Containerfile"] for name in ("cu128", "cu130")]
    steps = [{each for each in _instructions(text) if each.startswith("RUN")} for text in both]
    assert len(steps[0] - steps[1]) == 2


def test_weights_are_one_layer_a_file_with_the_manifest_last(rendered: dict[str, str]) -> None:
    """A new manifest, or one new file, must not move nine gigabytes."""
    steps = _instructions(rendered["weights.Containerfile"])
    assert steps[0] == "FROM scratch"
    copies = [step.split()[-1] for step in steps[1:]]
    assert len(copies) == 4
    assert copies[-1] == "/opt/models/manifest.json"


def test_every_requested_debian_package_has_its_reason_above_it(rendered: dict[str, str]) -> None:
    """A package without a reason stays forever."""
    for pin in load_pins().debian.packages:
        for image in pin.images:
            name = "gateway" if image == "gateway" else "comfyui-cpu"
            assert f"# {pin.name}: {pin.reason}" in rendered[f"{name}.Containerfile"]


def test_the_command_line_checks_renders_and_prints_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """CI calls exactly these."""
    assert main(["check"]) == 0
    assert main(["render", "--check"]) == 0
    assert main(["variants"]) == 0
    assert "cu130" in capsys.readouterr().out


def test_the_command_line_tells_errors_without_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message is all that an operator gets."""
    assert main(["resolve", "--git-mirror", "nothing"]) == ERROR
    assert "NAME=REPOSITORY" in capsys.readouterr().err
