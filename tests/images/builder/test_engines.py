"""Which program builds, with which options, and what is said when none does."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.builder.engines import (
    BuildahEngine,
    BuildJob,
    DockerEngine,
    EngineError,
    choose_engine,
    current_step,
)
from tests.images.builder.handmade import Parts, text


def program(folder: Path, name: str, script: str) -> None:
    """A program on PATH."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but sh and unshare's place; programs are added by the test."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder, "unshare", 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_missing_engines_are_named_with_what_to_install(tools: Path, tmp_path: Path) -> None:
    """ "command not found" in the middle of a build helps nobody."""
    with pytest.raises(EngineError) as caught:
        choose_engine("auto", tmp_path)
    text = str(caught.value)
    for part in ("buildah: is not installed", "apt-get install --no-install-recommends podman"):
        assert part in text
    assert "buildx plugin" in text
    with pytest.raises(EngineError, match="docker does not work on this machine"):
        choose_engine("docker", tmp_path)
    with pytest.raises(EngineError, match="no engine 'kaniko'; there are auto, buildah"):
        choose_engine("kaniko", tmp_path)


def test_an_engine_that_is_there_but_does_not_work_is_passed_over(
    tools: Path, tmp_path: Path
) -> None:
    """Inside containers buildah is often installed and cannot mount anything."""
    program(tools, "buildah", "echo mounting overlay: operation not permitted >&2; exit 125")
    program(tools, "podman", "exit 0")
    assert choose_engine("auto", tmp_path).name == "podman"
    with pytest.raises(EngineError, match="buildah: mounting overlay: operation not permitted"):
        choose_engine("buildah", tmp_path)


def test_docker_without_buildx_or_daemon_says_so(tools: Path, tmp_path: Path) -> None:
    """The client alone is on many machines; it cannot build."""
    program(tools, "docker", "echo \"docker: 'buildx' is not a docker command.\" >&2; exit 1")
    with pytest.raises(EngineError, match="'buildx' is not a docker command"):
        choose_engine("docker", tmp_path)
    program(tools, "docker", '[ "$1" = buildx ] || { echo "no daemon" >&2; exit 1; }')
    with pytest.raises(EngineError, match="docker: no daemon"):
        choose_engine("docker", tmp_path)


def job(tmp_path: Path, **options: object) -> BuildJob:
    """A job with labels and arguments."""
    given: dict[str, object] = {
        "step": "building image x",
        "context": tmp_path / "context",
        "target": tmp_path / "oci",
        "arguments": {"DEBIAN_PACKAGES": "a b"},
        "labels": {"z": "1", "a": "2"},
        **options,
    }
    return BuildJob(**given)  # type: ignore[arg-type]


def test_buildah_is_told_to_give_the_same_layers_every_time(tmp_path: Path) -> None:
    """Each of these options was seen to change digests when it is missing."""
    engine = BuildahEngine("buildah", tmp_path)
    command = engine.build_arguments(job(tmp_path), {"DEBIAN_PACKAGES": "a b"}, "name")
    for option in ("--timestamp=0", "--layers=true", "--isolation=chroot", "--format=oci"):
        assert option in command
    assert "--identity-label=false" in command
    assert "--build-arg=DEBIAN_PACKAGES=a b" in command
    labels = [option for option in command if option.startswith("--label")]
    assert labels == ["--label=a=2", "--label=z=1"]
    assert command[-1] == str(tmp_path / "context")
    # The base comes from a registry only when it is named there.
    assert "--pull=never" in command
    registry = {"BASE": "registry.example.com/debian@sha256:0"}
    assert "--pull=false" in engine.build_arguments(job(tmp_path), registry, "name")


def test_compression_is_the_one_asked_for(tmp_path: Path) -> None:
    """Registries and runtimes from before 2021 cannot read zstd."""
    engine = BuildahEngine("buildah", tmp_path)
    push = engine.push_arguments(job(tmp_path, compression="gzip"), "name")
    assert push[push.index("--compression-format") + 1] == "gzip"
    assert push[-1] == f"oci:{tmp_path / 'oci'}:latest"
    command = DockerEngine().build_command(job(tmp_path), tmp_path / "x.tar")
    output = command[command.index("--output") + 1]
    assert "compression=zstd" in output
    assert "rewrite-timestamp=true" in output


def test_docker_takes_images_below_from_layouts(tmp_path: Path) -> None:
    """buildx cannot see buildah's storage; a layout by digest is what both understand."""
    layout = Parts([{"a": text("a")}], {}).write(tmp_path / "base")
    command = DockerEngine().build_command(
        job(tmp_path, layouts={"BASE": layout}), tmp_path / "x.tar"
    )
    assert any(
        option.startswith(f"--build-context=vace-base=oci-layout://{layout}@sha256:")
        for option in command
    )
    assert "--build-arg=BASE=vace-base" in command
    assert "--build-arg=SOURCE_DATE_EPOCH=0" in command
    assert "--provenance=false" in command


def test_current_step_is_read_from_the_logs_of_all_engines(tmp_path: Path) -> None:
    """The name of the step that failed is the first thing one wants to know."""
    log = tmp_path / "log"
    assert current_step(log) == ""
    log.write_text("STEP 1/9: FROM x\nSTEP 2/9: RUN make\nmake: error\n")
    assert current_step(log) == "STEP 2/9: RUN make"
    log.write_text("#5 [stage-0 3/9] RUN make\n#5 1.2 error\n")
    assert current_step(log) == "#5 [stage-0 3/9] RUN make"
