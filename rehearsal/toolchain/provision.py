"""Provides the Pulumi engine, its Python language host and the alicloud provider.

    python3 rehearsal/toolchain/provision.py               have everything, say what was done
    python3 rehearsal/toolchain/provision.py --print-env   and print where it is, as JSON
    python3 rehearsal/toolchain/provision.py --kubernetes  and what a cluster on this machine takes

For each tool the first of these that works is taken, and said on standard error:

    path       the right version is on PATH
    download   the release of its makers (of Pulumi, Kubernetes and Helm)
    build      compiled from Go modules, for networks that reach only package registries

The Kubernetes provider is not in any registry; without PATH and download a stand-in is installed.
Results are kept in ${XDG_CACHE_HOME:-~/.cache}/wan-vace/toolchain; a second run changes nothing and
says nothing. The user's own ~/.pulumi is neither read nor written.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

if __package__ in (None, ""):
    # Started as a file: make the package importable without installing anything.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from rehearsal.toolchain import pins
from rehearsal.toolchain.commands import Commands
from rehearsal.toolchain.errors import ToolchainError
from rehearsal.toolchain.kubernetes import ClusterProvisioner, ClusterTools
from rehearsal.toolchain.progress import Progress
from rehearsal.toolchain.result import Toolchain
from rehearsal.toolchain.store import Store, cache_root
from rehearsal.toolchain.tools import ORIGINS, VARIANTS, Provisioner


def default_python() -> Path:
    """The interpreter of `.venv`, or the running one where there is none yet."""
    python = pins.REPOSITORY / ".venv" / "bin" / "python"
    return python if python.exists() else Path(sys.executable)


def provision(
    *,
    variant: str = "plain",
    origins: Sequence[str] = ORIGINS,
    python: Path | None = None,
    cache: Path | None = None,
    kubernetes: bool = False,
) -> Toolchain:
    """Makes sure that every tool is there; see `Toolchain` for where.

    Args:
        variant: "plain" is the provider as it is; "fast" lets WAN_VACE_TIME_SCALE (such as 0.05)
            shorten the provider's fixed waits, for tests.
        origins: which ways to look for a tool are allowed, of "path", "download" and "build".
        python: the interpreter of the environment that has the Pulumi SDK; `.venv` by default.
        cache: the folder of the cache; see `store.cache_root`.
        kubernetes: also have a provider for Helm releases installed in `pulumi_home`.

    Raises:
        ToolchainError: a tool can be had in none of the ways; the message has the reason of each.
    """
    commands = Commands()
    with Progress(sys.stderr, live=sys.stderr.isatty()) as progress:
        provisioner = Provisioner(
            store=Store(cache or cache_root()),
            commands=commands,
            progress=progress,
            origins=tuple(origins),
            python=python or default_python(),
        )
        try:
            return provisioner.provide(variant, kubernetes=kubernetes)
        except BaseException:
            commands.stop()
            raise


def provision_cluster(
    *, origins: Sequence[str] = ORIGINS, cache: Path | None = None
) -> ClusterTools:
    """Makes sure that every program of a cluster is there; ToolchainError as for `provision`."""
    commands = Commands()
    with Progress(sys.stderr, live=sys.stderr.isatty()) as progress:
        provisioner = ClusterProvisioner(
            store=Store(cache or cache_root()),
            commands=commands,
            progress=progress,
            origins=tuple(origins),
        )
        try:
            return provisioner.provide()
        except BaseException:
            commands.stop()
            raise


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="provision.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--print-env", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--kubernetes",
        action="store_true",
        help="also the programs of a cluster, Helm, and a Pulumi provider for Helm releases",
    )
    parser.add_argument(
        "--variant",
        choices=VARIANTS,
        default="plain",
        help="fast: a provider whose fixed waits WAN_VACE_TIME_SCALE shortens (always built)",
    )
    parser.add_argument(
        "--origins",
        default=",".join(ORIGINS),
        help="ways to look for a tool, separated by commas (default: %(default)s)",
    )
    parser.add_argument(
        "--home",
        type=Path,
        help="also make this folder a private PULUMI_HOME with the provider installed",
    )
    parser.add_argument(
        "--python", type=Path, help="interpreter with the Pulumi SDK (default: .venv/bin/python)"
    )
    arguments = parser.parse_args(argv)
    arguments.origins = tuple(part for part in arguments.origins.split(",") if part)
    unknown = sorted(set(arguments.origins) - set(ORIGINS))
    if unknown or not arguments.origins:
        parser.error(
            f"--origins {','.join(unknown) or 'is empty'}: allowed are {', '.join(ORIGINS)}"
        )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = _arguments(argv)
    # A job runner stops with SIGTERM: end the compilers then too.
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        cluster = provision_cluster(origins=arguments.origins) if arguments.kubernetes else None
        toolchain = provision(
            variant=arguments.variant,
            origins=arguments.origins,
            python=arguments.python,
            kubernetes=arguments.kubernetes,
        )
        if arguments.home:
            toolchain.make_home(arguments.home)
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the next run continues from what Go has compiled so far", file=sys.stderr)
        return 130
    if arguments.print_env:
        described = toolchain.describe()
        if cluster:
            described |= cluster.describe()
            described["origin"] = {**toolchain.origin, **cluster.origin}
        if arguments.home:
            described["pulumi_home"] = str(arguments.home.resolve())
        json.dump(described, sys.stdout, indent=2)
        print()
    return 0


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
