"""How many bytes a machine pulls after a change, of a machine that has the images of before.

    python benchmarks/images/pull.py [--variant cu130] [--comfyui URL@COMMIT --next URL@COMMIT]

Each image is really built twice, before and after the change, and the layers that are new are
added up as a registry would send them. Result lines are `name value`, lines for people begin with
`#`; a share is of the whole deployment, bundle and gateway:

    pull_share_code      another commit of ComfyUI (below 0.02 is wanted)
    pull_share_release   another release of ComfyUI, with the wheels whose versions follow it
    pull_share_gateway   another gateway (below 0.01 is wanted)
    pull_share_weights   another diffusion model
    pull_bundle_mb       the whole deployment, MB

The weights of a benchmark are small and generated; their layers are counted with the sizes that the
lock gives for the real files; the FP8 file's, unknown to the lock until it was made once, is that
of a generated model of full scale.
ComfyUI is the simulated one, a fifth of a megabyte, unless `--comfyui` and `--next` name two real
commits. The first run with a GPU variant downloads its wheels: 2.7 GB for cu130.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from unittest import mock

from images.builder import context
from images.builder.build import build
from images.builder.cache import default_cache_folder
from images.builder.cli import parse_overrides
from images.builder.report import BuiltImage, Layer
from images.builder.request import VARIANTS, BuildRequest, GitOverride, Overrides
from images.lock import load
from rehearsal.images import supply
from rehearsal.images.repositories import make_repository
from rehearsal.images.source_tree import comfyui_tree

WEIGHTS = "weights: "
FP8_BYTES = 2_220_168_408
"""`vace_weights generate --scale full`, then `convert`."""


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--variant", choices=VARIANTS, default="cu130")
    parser.add_argument("--comfyui", metavar="URL@COMMIT", help="a real source")
    parser.add_argument("--next", metavar="URL@COMMIT", help="the commit after it")
    options = parser.parse_args()
    cache = default_cache_folder()
    with supply(cache, _tell) as world, tempfile.TemporaryDirectory() as scratch:

        def make(image: str, overrides: Overrides) -> BuiltImage:
            request = BuildRequest(
                image,
                variant=options.variant,
                weights=world.weights_folder,
                overrides=overrides,
                cache=cache,
            )
            return build(request, _tell)

        before = _with_source(world.overrides, options.comfyui)
        after = _with_source(before, options.next or _next_commit(Path(scratch)))
        bundle = make("comfyui-vace", before)
        code = _new_layers(make("comfyui-vace", after), bundle)
        gateway = make("gateway", before)
        changed = _new_layers(_with_changed_gateway(make, before, Path(scratch)), gateway)

    sizes = _real_sizes()
    # What both have, a machine pulls once.
    total = _bytes(bundle.layers, sizes) + _bytes(_new_layers(gateway, bundle), sizes)
    print(f"# {options.variant}, ComfyUI {'real' if options.comfyui else 'simulated'}:")
    for layer in [*bundle.layers, *gateway.layers]:
        print(f"#   {_bytes([layer], sizes) / 1e6:>10,.1f} MB  {layer.what}")
    for title, layers in (("another commit of ComfyUI", code), ("another gateway", changed)):
        moved = ", ".join(f"{each.what} {each.size / 1e6:.2f} MB" for each in layers)
        print(f"# {title} moves: {moved}")
    comfy = [each for each in bundle.layers if each.what == "wheels: comfy"]
    model = next(each for each in bundle.layers if "diffusion_models/" in each.what)
    print(f"pull_share_code {_bytes(code, sizes) / total:.5f}")
    print(f"pull_share_release {_bytes([*code, *comfy], sizes) / total:.5f}")
    print(f"pull_share_gateway {_bytes(changed, sizes) / total:.5f}")
    print(f"pull_share_weights {_bytes([model], sizes) / total:.5f}")
    print(f"pull_bundle_mb {total / 1e6:.0f}")
    return 0


def _with_source(overrides: Overrides, place: str | GitOverride | None) -> Overrides:
    if place is None:
        return overrides
    if isinstance(place, str):
        place = parse_overrides([f"comfyui={place}"], None, "").git["comfyui"]
    return replace(overrides, git={**overrides.git, "comfyui": place})


def _next_commit(scratch: Path) -> GitOverride:
    tree = dict(comfyui_tree())
    tree["main.py"] += b"# Another commit.\n"
    return GitOverride(f"file://{scratch}/next.git", make_repository(scratch / "next.git", tree))


def _with_changed_gateway(
    make: Callable[[str, Overrides], BuiltImage], overrides: Overrides, scratch: Path
) -> BuiltImage:
    folder = scratch / "vace_gateway"
    shutil.copytree(
        context.PACKAGES["vace_gateway"], folder, ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "changed.py").write_text('"""A change."""\n')
    with mock.patch.dict(context.PACKAGES, vace_gateway=folder):
        return make("gateway", overrides)


def _new_layers(image: BuiltImage, known: BuiltImage) -> list[Layer]:
    have = {layer.digest for layer in known.layers}
    return [layer for layer in image.layers if layer.digest not in have]


def _real_sizes() -> dict[str, int]:
    return {
        f"{WEIGHTS}{row['folder']}/{row['name']}": row["size"] or FP8_BYTES
        for row in load().weights["files"]
    }


def _bytes(layers: Iterable[Layer], sizes: dict[str, int]) -> int:
    return sum(sizes.get(layer.what, layer.size) for layer in layers)


def _tell(line: str) -> None:
    print(f"# {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
