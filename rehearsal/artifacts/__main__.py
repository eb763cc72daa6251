"""``python -m rehearsal.artifacts build [NAME ...] | list | clean [--all]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from rehearsal.artifacts import ArtifactError, Artifacts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    artifacts = Artifacts(progress=lambda line: print(line, file=sys.stderr, flush=True))
    try:
        if options.command == "build":
            _build(artifacts, options.names)
        elif options.command == "list":
            _list(artifacts)
        else:
            _clean(artifacts, everything=options.all)
    except ArtifactError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal.artifacts",
        description="Builds and keeps what a rehearsal is made of.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build what is missing")
    build.add_argument("names", nargs="*", help="machine-root or an image; default: all")
    commands.add_parser("list", help="show what is in the cache")
    clean = commands.add_parser("clean", help="remove builds that no longer match the sources")
    clean.add_argument("--all", action="store_true", help="remove the current ones, too")
    return parser


def _build(artifacts: Artifacts, names: Sequence[str]) -> None:
    for name in names or ["machine-root", *artifacts.images]:
        if name == "machine-root":
            print(f"machine-root\t{artifacts.machine_root()}")
        else:
            print(f"{name}\t{artifacts.image(name).reference}")


def _list(artifacts: Artifacts) -> None:
    for entry in artifacts.cache.entries():
        days = (time.time() - entry.built_at) / 86400
        state = "current" if artifacts.is_current(entry) else "stale"
        print(f"{entry.name}\t{entry.key}\t{state}\t{days:.1f} days old\t{entry.path}")


def _clean(artifacts: Artifacts, *, everything: bool) -> None:
    for entry in artifacts.cache.entries():
        if everything or not artifacts.is_current(entry):
            artifacts.cache.remove(entry)
            print(f"removed {entry.name} {entry.key}")
    artifacts.tidy_registry()


if __name__ == "__main__":
    sys.exit(main())
