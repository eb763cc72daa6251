"""``python -m rehearsal.images``: build every image and verify it, without the outside world.

The builder, the Containerfiles and the checks are those of ``python -m images``; the base image,
the sources and the weights come from this machine, and the images say so (images/README.md, "What
is proven, and how").
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from images.builder.build import build
from images.builder.cache import default_cache_folder
from images.builder.oci import LayoutSource, load_image
from images.builder.report import BuiltImage
from images.builder.request import IMAGES, VARIANTS, BuildRequest
from images.builder.verify import verify
from images.builder.wheels import WheelCache
from images.errors import ImagesError
from images.lock import load
from rehearsal.images import supply


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status: 0, 1 when a check failed, 2 when a build did."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.images", description=__doc__)
    parser.add_argument("--variant", choices=VARIANTS, default="cpu")
    parser.add_argument("image", nargs="*", help=f"{', '.join(IMAGES)}; default: all")
    options = parser.parse_args(argv)
    cache = default_cache_folder()
    passed = True
    try:
        with supply(cache, _tell) as world:
            for name in options.image or IMAGES:
                request = BuildRequest(
                    name,
                    variant=options.variant,
                    weights=world.weights_folder,
                    overrides=world.overrides,
                    cache=cache,
                )
                built = build(request, _tell)
                print(built.text())
                passed = _verified(built) and passed
    except ImagesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if passed else 1


def _verified(built: BuiltImage) -> bool:
    cache = default_cache_folder()
    report = verify(
        load_image(LayoutSource(built.layout)),
        load(),
        allow_overrides=True,
        find_wheel=WheelCache(cache / "wheels").find,
        git_cache=cache / "git",
        progress=_tell,
    )
    print(report.text())
    return report.ok


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
