"""The Debian root file system that takes the place of the locked base image.

It has what the images' first layer would install, so that this layer finds its packages there:
``apt-get`` still runs as shipped, and answers that everything is the newest version.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from images.builder.cache import Cache, content_key
from images.builder.progress import ProgressCallback
from rehearsal.artifacts.root_filesystem import bootstrap

ARCHIVE = "root.tar"
_SUITE = "bookworm"
_PACKAGES = {
    "python3": "3.11, the version that the locks are made for",
    "ca-certificates": "trust store for outgoing TLS",
}
_RECIPE_VERSION = 1
_ESTIMATE_SECONDS = 75.0
# What the official slim image is made of, too.
_OPTIONS = ("--variant=minbase",)
# A machine whose mirror is a snapshot of the past says so here; its images need the same.
_FOLLOWED = ("Acquire::Check-Valid-Until", "Acquire::Check-Date")


def make_base(cache: Cache, packages: Sequence[str], progress: ProgressCallback) -> Path:
    """Tar archive of a Debian root file system with these packages; built once, then cached.

    Raises:
        ToolMissingError: mmdebstrap is not installed.
        BuildFailedError: mmdebstrap failed, for example without root or without Debian packages.
    """
    chosen = sorted({*_PACKAGES, *packages})
    options = [*_OPTIONS, *_apt_options()]

    def build(folder: Path, log: Path) -> None:
        bootstrap(_SUITE, chosen, folder / ARCHIVE, options, log)

    recipe = {
        "version": _RECIPE_VERSION,
        "suite": _SUITE,
        "architecture": platform.machine(),
        "packages": chosen,
        "options": options,
    }
    folder = cache.ensure(
        "rehearsal-base",
        content_key(recipe, {}),
        build,
        what="making the Debian root file system of the images",
        estimate_s=_ESTIMATE_SECONDS,
        progress=progress,
    )
    return folder / ARCHIVE


def _apt_options() -> list[str]:
    options = []
    for name in _FOLLOWED:
        query = ["apt-config", "shell", "VALUE", f"{name}/b"]
        answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
        if answer == "VALUE='false'":
            options.append(f'--aptopt={name} "false"')
    return options
