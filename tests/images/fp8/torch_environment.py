"""An environment with PyTorch, for the comparison of FP8 casts; made once, only when asked for.

    python -m tests.images.fp8.torch_environment      prints the path of its Python

It is a build result like the rehearsal's others: below `$XDG_CACHE_HOME/wan-vace`, named by the
hash of `torch.lock`, made by one process at a time, and complete or absent. It takes 3.4 GB on
the disk, and a download of about 2 GB the first time.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from rehearsal.artifacts.cache import Cache, content_key, default_cache_folder, free_gib
from rehearsal.artifacts.errors import ArtifactError, BuildFailedError

LOCK = Path(__file__).with_name("torch.lock")
NEEDED_GIB = 6.0
"""Room for the files and, while they are unpacked, the largest archives."""


def ensure() -> Path:
    """The Python of the environment, made now if it is missing.

    Raises ArtifactError when there is no room, no network, or a file does not match its hash.
    """
    root = default_cache_folder()
    key = content_key(
        {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}, {"torch.lock": LOCK}
    )
    cache = Cache(root)
    if cache.find("torch", key) is None and free_gib(root) < NEEDED_GIB:
        raise ArtifactError(
            f"{free_gib(root):.1f} GiB are free below {root}; PyTorch for the comparison needs "
            f"{NEEDED_GIB:.0f}. Free some room, or set XDG_CACHE_HOME to a folder on another disk."
        )
    folder = cache.ensure(
        "torch",
        key,
        _build,
        what="installing PyTorch for the comparison of FP8 casts",
        estimate_s=60,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    return folder / "venv" / "bin" / "python"


def _build(folder: Path, log: Path) -> None:
    place = folder / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    command = [sys.executable, "-m", "uv", "pip", "install", "--no-cache", "--no-deps"]
    command += ["--require-hashes", "--python", str(place / "bin" / "python"), "-r", str(LOCK)]
    _run("installing PyTorch from torch.lock", command, log)
    # An incomplete set of shared libraries shows only when torch is imported.
    _run("importing PyTorch", [str(place / "bin" / "python"), "-c", "import torch"], log)


def _run(step: str, command: list[str], log: Path) -> None:
    with log.open("ab") as output:
        done = subprocess.run(command, stdout=output, stderr=output, timeout=1800, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise BuildFailedError(step, done.returncode, log, tail)


if __name__ == "__main__":
    print(ensure())
