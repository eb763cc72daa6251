"""What a Go build is made from decides whether it is made again."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rehearsal.toolchain import gobuild
from rehearsal.toolchain.errors import ToolchainError

STATE_GO = """package resource

func (conf *StateChangeConf) WaitForState() (interface{}, error) {
\tlog.Printf("[DEBUG] Waiting for state to become: %s", conf.Target)

\t\tif wait < conf.MinTimeout {
\t\t\twait = conf.MinTimeout
\t\t} else if wait > 10*time.Second {
\t\t\twait = 10 * time.Second
\t\t}
}
"""


@pytest.fixture
def sources(tmp_path: Path) -> gobuild.GoBuild:
    folder = tmp_path / "module"
    shutil.copytree(gobuild.ALICLOUD.directory, folder)
    return replace(gobuild.ALICLOUD, directory=folder)


@pytest.mark.parametrize("changed", ["go.mod", "go.sum", "main.go", "resources.json"])
def test_a_changed_source_makes_another_key(sources: gobuild.GoBuild, changed: str) -> None:
    """Prevents a provider that lacks the resource which was just added to the table."""
    before = gobuild.build_key(sources, "go1.26.8")
    with (sources.directory / changed).open("a") as file:
        file.write("\n")
    assert gobuild.build_key(sources, "go1.26.8") != before


def test_flags_compiler_and_variant_make_another_key(sources: gobuild.GoBuild) -> None:
    """Prevents the fast variant, or a binary of an older compiler, from being mixed up."""
    keys = {
        gobuild.build_key(sources, "go1.26.8"),
        gobuild.build_key(sources, "go1.26.9"),
        gobuild.build_key(replace(sources, ldflags=""), "go1.26.8"),
        gobuild.build_key(replace(sources, fast_waits=True), "go1.26.8"),
    }
    assert len(keys) == 4


def test_the_place_of_the_checkout_does_not_change_the_key(
    sources: gobuild.GoBuild, tmp_path: Path
) -> None:
    """Prevents a build of five minutes for every clone."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(sources.directory, elsewhere)
    assert gobuild.build_key(replace(sources, directory=elsewhere), "go1.26.8") == (
        gobuild.build_key(sources, "go1.26.8")
    )


def test_every_wait_of_the_sdk_is_scaled_once() -> None:
    """Prevents a fast variant that still polls every ten seconds."""
    scaled = gobuild.scale_waits(STATE_GO)
    assert scaled.count("withScaledWaits(conf)") == 1
    assert scaled.index("withScaledWaits(conf)") < scaled.index("log.Printf")
    assert "wait > scaled(10*time.Second)" in scaled
    assert "wait = scaled(10 * time.Second)" in scaled
    assert "conf.MinTimeout" in scaled


def test_an_sdk_with_other_waits_is_refused() -> None:
    """Prevents a newer SDK from being changed halfway."""
    with pytest.raises(ToolchainError, match="0 times 'wait = 10"):
        gobuild.scale_waits(STATE_GO.replace("wait = 10 *", "wait = 20 *"))


def test_the_build_environment_does_not_depend_on_the_users_go_settings() -> None:
    """Prevents a developer's own flags or workspace from changing what is built."""
    environment = gobuild.go_environment({"GOFLAGS": "-race", "GOWORK": "/w/go.work", "HOME": "/h"})
    assert environment["GOFLAGS"] == "-mod=readonly -trimpath -buildvcs=false"
    assert environment["GOWORK"] == "off"
    assert environment["CGO_ENABLED"] == "0"
    assert environment["HOME"] == "/h"
