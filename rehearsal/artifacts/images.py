"""Recipes of the container images, built by buildah and kept as OCI layouts.

A build context is assembled in a temporary folder: the Containerfile, the Python packages of a
lock file under ``site-packages/``, and the sources. The same inputs give the same digest: every
file gets the time 0 and the same modes.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rehearsal.artifacts.cache import content_key, remove_tree
from rehearsal.artifacts.errors import SourceMissingError
from rehearsal.artifacts.process import require, run_logged
from rehearsal.artifacts.root_filesystem import build_base_tar

BASE_TAG = "localhost/vace-base:latest"
_RECIPE_VERSION = 3
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'
_BASE_CONTAINERFILE = """\
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["/bin/sh"]
"""
# Wheels for Debian 12 (glibc 2.36) and everything older.
_GLIBC = ("2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17")


@dataclass(frozen=True)
class ImageSource:
    """Where an image comes from; paths are relative to the repository's root.

    ``sources`` maps a name in the build context to a file or folder of the repository.
    """

    containerfile: str
    lock: str | None
    sources: Mapping[str, str]


IMAGES: Mapping[str, ImageSource] = {
    "gateway": ImageSource(
        containerfile="images/gateway/Containerfile",
        lock="images/gateway/requirements.lock",
        sources={"vace_gateway": "images/gateway/vace_gateway"},
    ),
    "comfyui": ImageSource(
        containerfile="rehearsal/comfyui/Containerfile",
        lock="rehearsal/comfyui/requirements.lock",
        sources={
            "rehearsal/__init__.py": "rehearsal/__init__.py",
            "rehearsal/comfyui": "rehearsal/comfyui",
        },
    ),
}


def context_files(repository: Path, name: str, source: ImageSource) -> dict[str, Path]:
    """Every file of an image's build context except its Python packages, by name in the context.

    Raises SourceMissingError for the first file of the recipe that does not exist.
    """
    files = {"Containerfile": repository / source.containerfile}
    if source.lock is not None:
        files["requirements.lock"] = repository / source.lock
    for target, origin in source.sources.items():
        path = repository / origin
        if not path.is_dir():
            files[target] = path
            continue
        for file in sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc":
                files[f"{target}/{file.relative_to(path)}"] = file
    for path in files.values():
        if not path.is_file():
            raise SourceMissingError(name, path)
    return files


def image_key(base_key: str, files: Mapping[str, Path]) -> str:
    """Cache key of an image with this base and these context files."""
    recipe = {
        "version": _RECIPE_VERSION,
        "base": base_key,
        "architecture": platform.machine(),
        "platforms": pip_platforms(platform.machine()),
    }
    return content_key(recipe, files)


def pip_platforms(machine: str) -> list[str]:
    """Wheel platform tags that run in the base image, most specific first."""
    tags = [f"manylinux_{version}_{machine}" for version in _GLIBC]
    return [*tags, f"manylinux2014_{machine}", f"linux_{machine}"]


def build_base(folder: Path, log: Path) -> None:
    """Make ``folder/image.tar``: the image that every Containerfile starts from."""
    context = folder / "context"
    context.mkdir()
    (context / "Containerfile").write_text(_BASE_CONTAINERFILE)
    build_base_tar(context / "base.tar", log)
    # An archive, because only that keeps the tag under which Containerfiles name it.
    target = f"oci-archive:{folder / 'image.tar'}:{BASE_TAG}"
    _Builder(folder, log).build(context, {}, target, BASE_TAG)
    remove_tree(context)


def build_image(folder: Path, log: Path, base: Path, files: Mapping[str, Path]) -> None:
    """Make ``folder/oci`` from context files (see ``context_files``) and the base's folder."""
    context = folder / "context"
    for name, file in files.items():
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        target.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
    packages = context / "site-packages"
    packages.mkdir()
    if "requirements.lock" in files:
        _install_packages(context / "requirements.lock", packages, log)
    for path in [*context.rglob("*"), context]:
        if path.is_dir():
            path.chmod(0o755)
        # Byte code that the Containerfile compiles names this time; layers get the same one.
        os.utime(path, (0, 0))
    builder = _Builder(folder, log)
    builder.load(base / "image.tar")
    export = f"oci:{folder / 'oci'}:latest"
    builder.build(context, {"BASE": BASE_TAG}, export, "localhost/vace-result:latest")
    remove_tree(context)


def _install_packages(lock: Path, target: Path, log: Path) -> None:
    platforms = [f"--platform={tag}" for tag in pip_platforms(platform.machine())]
    run_logged(
        f"installing the Python packages of {lock.name}",
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-compile"),
            *("--require-hashes", "--only-binary", ":all:", "--no-deps"),
            *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
            *("--abi", "abi3", "--abi", "none", *platforms),
            *("--target", str(target), "--requirement", str(lock)),
        ],
        log,
    )
    # Scripts name the interpreter of this machine; images start modules instead.
    if (target / "bin").exists():
        remove_tree(target / "bin")


class _Builder:
    """buildah with storage of its own inside the artifact's temporary folder."""

    def __init__(self, folder: Path, log: Path) -> None:
        require("buildah", "buildah", "build container images")
        self._folder = folder
        self._log = log
        (folder / "policy.json").write_text(_POLICY)

    def load(self, archive: Path) -> None:
        """Bring the base image, under its tag, into the builder's storage."""
        self._run("loading the base image", "pull", *self._policy, f"oci-archive:{archive}")

    def build(self, context: Path, arguments: Mapping[str, str], target: str, tag: str) -> None:
        """Build ``context/Containerfile``, export it to ``target`` and drop the storage.

        ``target`` is ``oci:<folder>:<tag>`` or ``oci-archive:<file>:<tag>``.
        """
        build_arguments = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        self._run(
            "building the image",
            *("bud", "--isolation=chroot", "--layers=false", "--timestamp=0", "--pull-never"),
            *("--format=oci", "--network=host", *self._policy, *build_arguments),
            *("--tag", tag, "--file", str(context / "Containerfile"), str(context)),
        )
        # A machine unpacks zstd several times faster than gzip, which is most of a pull here.
        zstd = ("--compression-format", "zstd")
        self._run("exporting the image", "push", *zstd, *self._policy, tag, target)
        # Leaves no overlay mount behind before the storage is deleted.
        self._run("removing containers", "rm", "--all")
        for name in ("storage", "run", "policy.json"):
            path = self._folder / name
            path.unlink() if path.is_file() else remove_tree(path)

    @property
    def _policy(self) -> Sequence[str]:
        return ("--signature-policy", str(self._folder / "policy.json"))

    def _command(self, subcommand: str) -> list[str]:
        storage = [
            *("--root", str(self._folder / "storage"), "--runroot", str(self._folder / "run")),
            *("--storage-driver", "overlay"),
        ]
        # The mount namespace makes the builder's overlay mounts end with the command.
        private = ["unshare", "--mount", "--propagation", "private", "--"]
        return [*private, "buildah", *storage, subcommand]

    def _run(self, step: str, subcommand: str, *arguments: str) -> None:
        # The user's own storage.conf must not decide where this build keeps its layers.
        storage_conf = self._folder / "storage.conf"
        storage_conf.write_text(
            '[storage]\ndriver = "overlay"\n'
            f'graphroot = "{self._folder / "storage"}"\nrunroot = "{self._folder / "run"}"\n'
        )
        run_logged(
            step,
            [*self._command(subcommand), *arguments],
            self._log,
            env={"CONTAINERS_STORAGE_CONF": str(storage_conf), "TMPDIR": _temporary(self._folder)},
        )
        storage_conf.unlink()


def _temporary(folder: Path) -> str:
    path = folder / "run"
    path.mkdir(exist_ok=True)
    return os.fspath(path)
