"""Installs the Python language host where Pulumi's release did not bring one.

No registry serves the host itself, but the Go module of Pulumi's SDK carries the two scripts that
it needs: `pulumi-language-python-exec` runs a program, `pulumi-resource-pulumi-python` serves
dynamic providers. They are taken from there; only the server between them is ours.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from rehearsal.toolchain import gobuild, pins
from rehearsal.toolchain.commands import Commands
from rehearsal.toolchain.errors import CommandError, ToolchainError
from rehearsal.toolchain.store import content_key

PROGRAM = "pulumi-language-python"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
FROM_SDK = ("python/cmd/pulumi-language-python-exec", "python/dist/pulumi-resource-pulumi-python")


def key(python: Path) -> str:
    """Changes with the host's source, the SDK's version and the interpreter that runs it."""
    return content_key(
        {
            "host": pins.LANGUAGE_HOST.read_bytes(),
            "installer": Path(__file__).read_bytes(),
            "sdk": pins.PULUMI_VERSION,
            "python": str(python),
        }
    )


def install(commands: Commands, python: Path, target: Path) -> None:
    """Fills `target`/bin with the three programs.

    Raises ToolchainError if `python` lacks the Pulumi SDK or Go cannot fetch the module.
    """
    try:
        commands.run([str(python), "-c", "import grpc, pulumi.runtime.proto"], timeout=60)
    except CommandError as error:
        raise ToolchainError(
            f"{python} has no Pulumi SDK, which the language host runs on; "
            f"run `make setup` first or name another interpreter with --python\n{error}"
        ) from error
    gobuild.go_version(commands, pins.PULUMI_MODULE)
    sdk = gobuild.module_folder(commands, pins.PULUMI_MODULE, SDK_MODULE)
    programs = target / "bin"
    programs.mkdir()
    for relative in FROM_SDK:
        program = programs / Path(relative).name
        shutil.copyfile(sdk / relative, program)
        program.chmod(0o755)
    shutil.copyfile(pins.LANGUAGE_HOST, target / "language_host.py")
    launcher = programs / PROGRAM
    # exec keeps the process that the engine started, so its signals and its end are seen.
    launcher.write_text(
        "#!/bin/sh\n"
        'here=$(dirname -- "$(readlink -f -- "$0")")\n'
        f'exec {shlex.quote(str(python))} "$here/../language_host.py" "$@"\n'
    )
    launcher.chmod(0o755)
