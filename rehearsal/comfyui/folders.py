"""ComfyUI's folders: input, output, temp, user and the models that the service uses."""

from __future__ import annotations

import mimetypes
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Folder names in the order in which a stock ComfyUI lists them at /models.
MODEL_FOLDERS = (
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision",
    "style_models", "embeddings", "diffusers", "vae_approx", "controlnet", "gligen",
    "upscale_models", "latent_upscale_models", "custom_nodes", "hypernetworks", "photomaker",
    "classifiers", "model_patches", "audio_encoders",
)  # fmt: skip

#: File names that existing graphs of the service name; they are listed without being on disk.
SERVICE_MODELS = {
    "diffusion_models": ("wan21_vace_1_3_b.safetensors",),
    "text_encoders": ("umt5_xxl_fp8_e4m3fn.safetensors",),
    "vae": ("wan21_vace_vae.safetensors",),
}
MODEL_SUFFIXES = frozenset({".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl"})


class OutsideFolderError(ValueError):
    """A name that would leave its folder."""


@dataclass(frozen=True, kw_only=True)
class FolderSettings:
    """Folders of a server that was started from a source tree, one by one.

    Attributes:
        models: one folder a kind of model lies below it.
        more_models: further folders by kind of model.
        custom_nodes: node packs, one folder each; the classes of a pack exist only with it.
        loaded_nodes: names of the packs that may load, or None for all.
    """

    input: Path
    output: Path
    temp: Path
    user: Path
    models: Path
    more_models: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    custom_nodes: Path
    loaded_nodes: frozenset[str] | None = None


class Folders:
    """Paths of one server, created on demand.

    Without ``settings`` everything lies below the base folder, all node packs are there, and the
    service's model files are listed without being on disk. With them, models and node packs are
    what the disk holds, as with a real server.
    """

    def __init__(self, base: Path, settings: FolderSettings | None = None) -> None:
        self.base = Path(os.path.realpath(base))
        self._settings = settings
        self.input = settings.input if settings else self.base / "input"
        self.output = settings.output if settings else self.base / "output"
        self.temp = settings.temp if settings else self.base / "temp"
        self.user = settings.user if settings else self.base / "user"
        self.models = settings.models if settings else self.base / "models"

    def create(self) -> None:
        """Make the four folders that the server writes to.

        Raises:
            OSError: the base folder is not writable.
        """
        for folder in (self.input, self.output, self.temp, self.user):
            folder.mkdir(parents=True, exist_ok=True)

    def by_type(self, kind: str) -> Path | None:
        """The folder behind ``type=`` of /view and /upload, or None when there is no such type."""
        return {"input": self.input, "output": self.output, "temp": self.temp}.get(kind)

    def split_annotation(self, name: str) -> tuple[str, Path | None]:
        """Split ``picture.png [output]`` into name and folder, as ComfyUI's graphs may write it."""
        for kind in ("output", "input", "temp"):
            suffix = f"[{kind}]"
            if name.endswith(suffix):
                return name[: -len(suffix)].rstrip(), self.by_type(kind)
        return name, None

    def input_file(self, name: str) -> Path:
        """Where a graph's file name points to; the file need not exist.

        Raises:
            OutsideFolderError: the name climbs out of its folder.
        """
        plain, folder = self.split_annotation(name)
        return inside(folder or self.input, plain)

    def server_file(self, name: str) -> Path:
        """Where a node's path on the server points to: absolute, or relative to the base folder.

        Raises:
            OutsideFolderError: it lies outside the server's folders (a real server would read it).
        """
        path = self.base / name.strip().strip('"')
        for root in (self.input, self.output, self.temp):
            if root in path.parents:
                return inside(root, str(path))
        return inside(self.base, str(path))

    def inputs(self, kind: str) -> list[str]:
        """Names of the files directly in ``input``, sorted.

        Args:
            kind: ``image``, ``video`` or ``audio`` for files of that content type, or ``any``.
        """
        try:
            names = sorted(entry.name for entry in os.scandir(self.input) if entry.is_file())
        except FileNotFoundError:
            return []
        if kind == "any":
            return names
        return [n for n in names if (mimetypes.guess_type(n)[0] or "").startswith(f"{kind}/")]

    def model_folders(self, folder: str) -> tuple[Path, ...]:
        """Where model files of one kind may lie."""
        more = self._settings.more_models.get(folder, ()) if self._settings else ()
        return (self.models / folder, *more)

    def model_facts(self, folder: str, name: str) -> dict[str, float]:
        """Size in bytes and times of a model file; zeros for one that is only listed."""
        for root in self.model_folders(folder):
            try:
                facts = (root / name).stat()
            except OSError:
                continue
            return {
                "modified": facts.st_mtime,
                "created": facts.st_ctime,
                "size": facts.st_size,
            }
        return {"modified": 0.0, "created": 0.0, "size": 0}

    def model_names(self, folder: str) -> list[str]:
        """Names of the model files of one kind, sorted."""
        found = set() if self._settings else set(SERVICE_MODELS.get(folder, ()))
        for root in self.model_folders(folder):
            if root.is_dir():
                found.update(
                    str(path.relative_to(root))
                    for path in root.rglob("*")
                    if path.is_file() and path.suffix.lower() in MODEL_SUFFIXES
                )
        return sorted(found)

    def has_nodes(self, module: str) -> bool:
        """Whether a Python module's node classes exist on this server.

        Args:
            module: as /object_info names it, for example ``custom_nodes.ComfyUI-KJNodes``.
        """
        package, _, name = module.partition(".")
        if self._settings is None or package != "custom_nodes":
            return True
        loaded = self._settings.loaded_nodes
        pack = self._settings.custom_nodes / name
        there = (pack / "__init__.py").is_file() or pack.with_name(f"{name}.py").is_file()
        return there and (loaded is None or name in loaded)

    def save_place(
        self, prefix: str, root: Path, *, width: int = 0, height: int = 0
    ) -> tuple[Path, str, str]:
        """Where an output node writes.

        Args:
            prefix: ``filename_prefix`` of the node; may hold a subfolder and %date% parts.
            root: output or temp folder.
            width: picture width in pixels, for %width%.
            height: picture height in pixels, for %height%.

        Returns:
            the folder (created), the file name's stem without counter, and the subfolder.

        Raises:
            OutsideFolderError: the prefix climbs out of the root.
        """
        now = time.localtime()
        for key, value in {
            "%width%": str(width),
            "%height%": str(height),
            "%year%": str(now.tm_year),
            "%month%": f"{now.tm_mon:02}",
            "%day%": f"{now.tm_mday:02}",
            "%hour%": f"{now.tm_hour:02}",
            "%minute%": f"{now.tm_min:02}",
            "%second%": f"{now.tm_sec:02}",
        }.items():
            prefix = prefix.replace(key, value)
        normal = os.path.normpath(prefix)
        subfolder, stem = os.path.split(normal)
        folder = inside(root, subfolder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder, stem, subfolder


def inside(root: Path, name: str) -> Path:
    """``root/name`` as an absolute path.

    Raises:
        OutsideFolderError: the result is not below ``root``.
    """
    path = Path(os.path.abspath(root / name))  # noqa: PTH100 - must not follow links
    if path != root and root not in path.parents:
        raise OutsideFolderError(
            f"{name!r} lies outside {root.name!r}. Give a name below that folder, without '..'."
        )
    return path
