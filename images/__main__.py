"""``python -m images``: resolves, renders, checks, builds and publishes the images.

Exit codes: 0 done, 1 a finding of ``stale``, 2 an error, which is told in one message; ``stale``
also has 3 (see its help).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from images import check, render, resolve, stale, table
from images.builder.cli import add_parsers as add_builder_parsers
from images.errors import ImagesError

ERROR = 2


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every command; each sets ``run``, which returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m images", description="Images: pins, lock, Containerfiles, builds."
    )
    subparsers = parser.add_subparsers(metavar="command", required=True)
    for module in (resolve, stale, check, render, table):
        module.add_parser(subparsers)
    add_builder_parsers(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ImagesError as error:
        print(f"error: {error}", file=sys.stderr)
        return ERROR


if __name__ == "__main__":
    sys.exit(main())
