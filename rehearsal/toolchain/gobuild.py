"""Builds tools from Go modules whose content go.sum pins."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from rehearsal.toolchain import pins
from rehearsal.toolchain.commands import Commands
from rehearsal.toolchain.errors import CommandError, ToolchainError
from rehearsal.toolchain.store import content_key, folder_parts

SOURCES = ("go.mod", "go.sum", "*.go", "*.json")
# readonly: go.mod and go.sum are the truth and are not rewritten while building.
# buildvcs=false: the result depends on the sources alone, not on the state of this checkout.
FLAGS = "-mod=readonly -trimpath -buildvcs=false"

SDK_MODULE = "github.com/hashicorp/terraform-plugin-sdk"
SDK_STATE_SHA256 = "9fadd8026f5a89f0ef902293b920746983f4eb2af7b2b8cd132e8d7ccc48a410"


@dataclass(frozen=True)
class GoBuild:
    """One program to build: `package` as seen from the module in `directory`."""

    name: str
    directory: Path
    package: str
    output: str
    ldflags: str
    fast_waits: bool = False


PULUMI = GoBuild(
    name="pulumi",
    directory=pins.PULUMI_MODULE,
    package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
    output="bin/pulumi",
    ldflags="-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version="
    + pins.PULUMI_VERSION,
)
ALICLOUD = GoBuild(
    name="alicloud",
    directory=pins.ALICLOUD_MODULE,
    package=".",
    output="pulumi-resource-alicloud",
    ldflags="-s -w",
)
ALICLOUD_FAST = GoBuild(
    name="alicloud-fast",
    directory=pins.ALICLOUD_MODULE,
    package=".",
    output="pulumi-resource-alicloud",
    ldflags="-s -w",
    fast_waits=True,
)


def go_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The caller's environment with the settings that decide what is built."""
    # Without cgo no C compiler is needed, and the programs run on any Linux.
    return {**environ, "GOFLAGS": FLAGS, "GOWORK": "off", "CGO_ENABLED": "0"}


def required_go(go_mod: str) -> tuple[int, ...]:
    """The oldest Go version that a go.mod accepts, from its `go` line."""
    found = re.search(r"^go\s+(\d+(?:\.\d+)*)", go_mod, re.MULTILINE)
    if not found:
        raise ToolchainError("go.mod has no `go` line; restore it from version control")
    return tuple(int(part) for part in found[1].split("."))


def go_version(commands: Commands, directory: Path) -> str:
    """What `go env GOVERSION` says for the module in `directory`, such as "go1.26.8".

    Raises ToolchainError if Go is missing or too old.
    """
    required = required_go((directory / "go.mod").read_text())
    wanted = ".".join(str(part) for part in required)
    remedy = (
        f"Go {wanted} or newer is needed to build the tools from their modules; install it from "
        "https://go.dev/dl/ and put its bin folder on PATH"
    )
    if shutil.which("go") is None:
        raise ToolchainError(f"no `go` on PATH. {remedy}")
    try:
        found = commands.run(["go", "env", "GOVERSION"], cwd=directory).strip()
    except CommandError as error:
        raise ToolchainError(f"{error}\n{remedy}") from error
    numbers = re.match(r"go(\d+(?:\.\d+)*)", found)
    if not numbers or tuple(int(part) for part in numbers[1].split(".")) < required:
        raise ToolchainError(f"`go` on PATH is {found or 'of an unknown version'}. {remedy}")
    return found


def build_key(build: GoBuild, version: str) -> str:
    """Changes with everything that the program is made from."""
    parts: dict[str, bytes | str] = dict(folder_parts(build.directory, SOURCES))
    if build.fast_waits:
        parts |= folder_parts(pins.FAST_WAITS, ("*.go",))
        parts["sdk state"] = SDK_STATE_SHA256
    parts["flags"] = f"{FLAGS} {build.ldflags} {build.package}"
    parts["go"] = version
    parts["machine"] = f"{platform.system()} {platform.machine()}"
    return content_key(parts)


def download_modules(commands: Commands, directory: Path) -> None:
    """Fills Go's module cache; go.sum decides whether the content is right."""
    commands.run(["go", "mod", "download"], cwd=directory, environ=go_environment())


def module_folder(commands: Commands, directory: Path, module: str) -> Path:
    """Where Go keeps the source of a module which the one in `directory` requires."""
    download_modules(commands, directory)
    listed = commands.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", module], cwd=directory, environ=go_environment()
    ).strip()
    folder = Path(listed)
    if not listed or not folder.is_dir():
        raise ToolchainError(
            f"Go has no source of {module} after downloading it; run `go clean -modcache`, "
            "then try again"
        )
    return folder


def build(commands: Commands, wanted: GoBuild, target: Path) -> None:
    """Builds into the folder `target`. Go's own caches make an interrupted build continue."""
    command = ["go", "build", f"-ldflags={wanted.ldflags}", "-o", str(target / wanted.output)]
    scratch = target / "scratch"
    if wanted.fast_waits:
        command.append(f"-modfile={_with_fast_waits(commands, wanted.directory, scratch)}")
    try:
        commands.run([*command, wanted.package], cwd=wanted.directory, environ=go_environment())
    except CommandError as error:
        raise ToolchainError(
            f"{error}\nIf modules could not be downloaded, check `go env GOPROXY` and the network; "
            "what was already fetched or compiled is kept for the next try."
        ) from error
    finally:
        if scratch.exists():
            shutil.rmtree(scratch)


def _with_fast_waits(commands: Commands, directory: Path, scratch: Path) -> Path:
    """A go.mod that uses a copy of the Terraform SDK whose waits can be scaled.

    The provider waits fixed times (5 s for a VPC, 10 s for an instance) that no setting shortens,
    and Go refuses overlays on its module cache, so the SDK is copied and one file changed.
    """
    sdk = scratch / "terraform-plugin-sdk"
    shutil.copytree(module_folder(commands, directory, SDK_MODULE), sdk)
    for path in [sdk, *sdk.rglob("*")]:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    state = sdk / "helper" / "resource" / "state.go"
    source = state.read_bytes()
    if sha256(source).hexdigest() != SDK_STATE_SHA256:
        raise ToolchainError(
            f"{SDK_MODULE} has another helper/resource/state.go than the one whose waits are "
            "scaled here; read its changes, then update `scale_waits` and SDK_STATE_SHA256"
        )
    state.write_text(scale_waits(source.decode()))
    shutil.copyfile(pins.FAST_WAITS / "scale.go", state.with_name("scale.go"))
    go_mod = scratch / "go.mod"
    go_mod.write_text((directory / "go.mod").read_text() + f"\nreplace {SDK_MODULE} => {sdk}\n")
    shutil.copyfile(directory / "go.sum", scratch / "go.sum")
    return go_mod


def scale_waits(state_go: str) -> str:
    """The SDK's state.go with each of its waits sent through scale.go."""
    replacements = {
        '\tlog.Printf("[DEBUG] Waiting for state to become': "\tconf = withScaledWaits(conf)\n\n",
        "wait > 10*time.Second {": "wait > scaled(10*time.Second) {",
        "wait = 10 * time.Second": "wait = scaled(10 * time.Second)",
    }
    for old, new in replacements.items():
        if state_go.count(old) != 1:
            raise ToolchainError(
                f"state.go has {state_go.count(old)} times {old.strip()!r}, not once"
            )
        state_go = state_go.replace(old, new if not old.startswith("\tlog") else new + old)
    return state_go
