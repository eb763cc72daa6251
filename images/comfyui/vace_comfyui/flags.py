"""ComfyUI's command line: each flag with its reason, the memory flags by what the machine has."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vace_comfyui import profiles
from vace_comfyui.settings import Settings

GIB = 1024**3
LARGE_GPU_GIB = 40
SMALL_HOST_GIB = 24
MODEL_PATHS = "model-paths.yaml"
SEVERAL_VALUES = ("--fast",)


@dataclass(frozen=True)
class Flag:
    """One flag with its value ("" when it takes none, words for several) and why it is there."""

    name: str
    value: str
    reason: str

    @property
    def words(self) -> list[str]:
        """As words of a command line."""
        return [self.name, *self.values]

    @property
    def values(self) -> list[str]:
        """Its values: one, none, or the words of a profile's flag, which takes several."""
        if not self.value:
            return []
        return self.value.split() if self.name in SEVERAL_VALUES else [self.value]


def fixed(settings: Settings) -> list[Flag]:
    """Flags that do not depend on the machine."""
    folders = settings.folders
    return [
        Flag("--listen", settings.listen, "loopback: whoever reaches the port can run anything"),
        Flag("--port", str(settings.port), "where gateway and probes expect it"),
        Flag("--input-directory", str(folders["input"]), "uploads: a writable disk"),
        Flag("--output-directory", str(folders["output"]), "results: what the uploader collects"),
        # ComfyUI appends /temp to what it is given, and deletes that folder at every start.
        Flag("--temp-directory", str(settings.base), "previews: <base>/temp, emptied at a start"),
        Flag("--user-directory", str(folders["user"]), "the source tree is read-only"),
        Flag("--database-url", f"sqlite:///{folders['user']}/comfyui.db", "the same; one writer"),
        Flag("--extra-model-paths-config", str(settings.state / MODEL_PATHS),
             "weights are a read-only layer of their own; --base-directory would move the nodes "
             "along"),
        Flag("--disable-auto-launch", "", "there is no browser in the container"),
        Flag("--disable-metadata", "", "otherwise every file carries the prompt of its maker"),
        Flag("--disable-api-nodes", "", "nodes that send pictures to paid services abroad"),
        Flag("--max-upload-size", str(settings.max_upload_mib),
             "MiB; the gateway in front has the limit that callers meet"),
        Flag("--cache-classic", "", "keeps the results of the last prompt only; the default keeps "
             "all until the host's RAM is short, and does not see the container's limit"),
    ]  # fmt: skip


def memory(*, gpu: bool, vram: int, ram: int) -> list[Flag]:
    """Flags by GPU memory and by the RAM that the container may use, both in bytes.

    The three weights are 9.2 GB; a video of 832x480 and 81 frames needs some 8 GB more.
    """
    if not gpu:
        return [Flag("--cpu", "", "the variant has no CUDA")]
    chosen = []
    if vram >= LARGE_GPU_GIB * GIB:
        # L20 (48), H20 (96) and larger.
        chosen.append(Flag("--highvram", "", "all weights and the largest video fit: nothing "
                           "moves between jobs"))  # fmt: skip
        chosen.append(Flag("--reserve-vram", "2.0", "GiB for workspaces of cuDNN and cuBLAS, "
                           "which the estimate does not know; there is plenty"))  # fmt: skip
    else:
        # T4 (16) and A10 (24): the text encoder makes room for the model, by ComfyUI's own rule.
        chosen.append(Flag("--reserve-vram", "1.0", "GiB; the default of 0.4 leaves no room for "
                           "workspaces when the VAE decodes"))  # fmt: skip
    if ram < SMALL_HOST_GIB * GIB:
        chosen.append(Flag("--disable-pinned-memory", "", "pinned weights cannot be reclaimed, "
                           "and the kernel kills what exceeds the limit"))  # fmt: skip
    return chosen


def speed(profile: str) -> list[Flag]:
    """Flags of a speed profile: each once, with all the values that the profile names."""
    options = profiles.profiles()[profile]
    return [
        Flag(
            name,
            " ".join(option.name for option in options if option.flag == name),
            "; ".join(f"{each.name}: {each.reason}" for each in options if each.flag == name),
        )
        for name in dict.fromkeys(option.flag for option in options)
    ]


def all_names(settings: Settings) -> set[str]:
    """Every flag that could ever be passed; the image's build checks that ComfyUI knows them."""
    found = {flag.name for flag in fixed(settings) + speed(settings.profile)}
    for gpu, vram, ram in ((False, 0, 0), (True, 0, 0), (True, 1 << 50, 1 << 50)):
        found |= {flag.name for flag in memory(gpu=gpu, vram=vram, ram=ram)}
    return found | {word.split("=")[0] for word in settings.extra_args if word.startswith("--")}


def command_line(settings: Settings, flags: Sequence[Flag], python: str) -> list[str]:
    """The whole command."""
    words = [word for flag in flags for word in flag.words]
    return [python, "-s", str(settings.home / "main.py"), *words, *settings.extra_args]


def write_model_paths(settings: Settings) -> None:
    """Tell ComfyUI where the weights are. JSON is YAML, so no library is needed to quote it."""
    folders = {"diffusion_models", "text_encoders", "vae"}
    document = {"vace": {"base_path": str(settings.models), **{name: name for name in folders}}}
    (settings.state / MODEL_PATHS).write_text(json.dumps(document, indent=2) + "\n")


def environment(settings: Settings) -> dict[str, str]:
    """ComfyUI's environment: ours, and caches where something can be written."""
    scratch = settings.state
    return {
        **os.environ,
        # The user has no home; libraries that insist on one get the memory disk.
        "HOME": str(scratch / "home"),
        "TRITON_CACHE_DIR": str(scratch / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "MPLCONFIGDIR": str(scratch / "matplotlib"),
        "XDG_CACHE_HOME": str(scratch / "cache"),
        # Everything is in the image: a library that wants to download has a bug, and shall say so.
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }


def ram_limit() -> int:
    """Bytes of RAM that this container may use: the cgroup's limit, or what the machine has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return min(total, int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return total
