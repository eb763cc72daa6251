"""A lock of a few kilobytes that has everything a real one has, and what it refers to.

Wheels are made here, git repositories too; only the base and pip are real.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from images.builder.request import BuildRequest, GitOverride, Overrides
from images.lock import load

PIP_FOLDERS = (Path("/usr/share/python-wheels"), Path("/usr/lib/python3.11/ensurepip/_bundled"))
COMFYUI = """\
ARG BASE=debian:bookworm-slim@sha256:{zeros}
FROM ${{BASE}}
RUN find / -xdev -perm /6000 -type f -exec chmod ug-s {{}} +
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN python3 -m venv --without-pip /opt/venv
RUN --mount=type=bind,source=wheels/pip,target=/wheels/pip \\
    --mount=type=bind,source=wheels/python,target=/wheels/python \\
    --mount=type=bind,source=requirements,target=/requirements \\
    : {python} && /opt/venv/bin/python /wheels/pip/{pip}/pip install --no-index --no-cache-dir \\
    --find-links /wheels/python --no-deps --require-hashes --no-compile --quiet \\
    --requirement /requirements/python.txt
COPY git/comfyui/ /opt/comfyui/
COPY vace/ /opt/vace/
{extra}RUN printf '#!/bin/sh\\nexec /opt/venv/bin/python -s -m vace_comfyui "$@"\\n' \\
    > /usr/local/bin/vace-comfyui && chmod 0755 /usr/local/bin/vace-comfyui \\
 && find / -xdev -perm /6000 -type f -exec chmod ug-s {{}} +
USER 10001:10001
RUN /opt/venv/bin/python -s -c 'import tiny'
ENTRYPOINT ["vace-comfyui"]
CMD ["serve"]
"""
WEIGHTS = """\
FROM scratch
COPY --chown=0:0 --chmod=0444 models/vae/vae.safetensors /opt/models/vae/vae.safetensors
COPY --chown=0:0 --chmod=0444 models/manifest.json /opt/models/manifest.json
"""
BUNDLE = """\
ARG COMFYUI
ARG WEIGHTS
FROM ${WEIGHTS} AS weights
FROM ${COMFYUI}
COPY --from=weights /opt/models/vae/vae.safetensors /opt/models/vae/vae.safetensors
COPY --from=weights /opt/models/manifest.json /opt/models/manifest.json
"""


def pip_wheel() -> Path | None:
    """A wheel of pip that this system has, or None."""
    found = [file for folder in PIP_FOLDERS for file in sorted(folder.glob("pip-*.whl"))]
    return found[0] if found else None


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """A pure Python wheel with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={_record_hash(text.encode())},{len(text.encode())}\n"
        for path, text in content.items()
    )
    content[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in content.items():
            archive.writestr(zipfile.ZipInfo(member), text)
    return path


def _record_hash(content: bytes) -> str:
    digest = hashlib.sha256(content).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def write_repository(folder: Path, files: dict[str, str]) -> tuple[str, str]:
    """A git repository with one commit; its commit and tree."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (
        ["init", "--quiet"],
        ["add", "--all"],
        [*identity, "commit", "--quiet", "-m", "x"],
    ):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    command = ["git", "-C", str(folder), "rev-parse", "HEAD", "HEAD^{tree}"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    commit, tree = answer.stdout.split()
    return commit, tree


@dataclass
class Tiny:
    """A folder with lock, pins, Containerfiles, wheels, sources and weights."""

    root: Path
    document: dict[str, Any] = field(default_factory=dict)

    def add_wheel(self, group: str, path: Path) -> None:
        """Put a wheel into the lock, and into the cache as if it had been fetched."""
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        name, version = path.name.split("-")[:2]
        self.document["wheels"][sha256] = {
            "name": name,
            "version": version,
            "filename": path.name,
            "size": len(content),
            "licence": "MIT",
        }
        self.document["groups"].setdefault(group, []).append(sha256)
        shelf = self.root / "cache" / "wheels" / sha256
        shelf.mkdir(parents=True, exist_ok=True)
        (shelf / path.name).write_bytes(content)

    def write_lock(self) -> None:
        """Write the lock as it is now."""
        pins = (self.root / "pins.toml").read_bytes()
        self.document["pins_sha256"] = hashlib.sha256(pins).hexdigest()
        (self.root / "pins.lock.json").write_text(json.dumps(self.document))

    def write_containerfiles(self, extra: str = "") -> None:
        """Write the Containerfiles; ``extra`` is added before the user of ComfyUI's."""
        rendered = self.root / "rendered"
        rendered.mkdir(exist_ok=True)
        pip = pip_wheel()
        python = load(self.root / "pins.lock.json").group_sha256("python")
        text = COMFYUI.format(
            zeros="0" * 64, pip=pip.name if pip else "", python=python, extra=extra
        )
        (rendered / "comfyui-cpu.Containerfile").write_text(text)
        (rendered / "weights.Containerfile").write_text(WEIGHTS)
        (rendered / "comfyui-vace.Containerfile").write_text(BUNDLE)

    def request(self, image: str, base: Path | str | None = None, **options: Any) -> BuildRequest:
        """A request for an image of this folder."""
        given: dict[str, Any] = {
            "variant": "cpu",
            "engine": "buildah",
            "weights": self.root / "weights",
            "lock": self.root / "pins.lock.json",
            "pins": self.root / "pins.toml",
            "rendered": self.root / "rendered",
            "cache": self.root / "cache",
            "git_remotes": {"comfyui": (str(self.root / "comfyui"),)},
            "overrides": Overrides(base=str(base) if base else None),
            **options,
        }
        return BuildRequest(image, **given)

    def commit_of_change(self) -> GitOverride:
        """Another commit of ComfyUI's repository."""
        folder = self.root / "comfyui-next"
        commit, _ = write_repository(folder, {"main.py": "print('next')\n"})
        return GitOverride(str(folder), commit)


def make_tiny(root: Path) -> Tiny:
    """Fill an empty folder."""
    commit, tree = write_repository(
        root / "comfyui", {"main.py": "print('hello')\n", "nodes/a.py": "A = 1\n"}
    )
    weights = root / "weights"
    (weights / "vae").mkdir(parents=True)
    content = b"weights" * 1000
    (weights / "vae" / "vae.safetensors").write_bytes(content)
    row = {
        "name": "vae.safetensors",
        "folder": "vae",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": "Apache-2.0",
        "sources": [{"kind": "folder", "path": "/nowhere"}],
        "derived": None,
    }
    manifest = {"schema": 1, "files": [row]}
    (weights / "manifest.json").write_text(json.dumps(manifest))
    (root / "pins.toml").write_text("# tiny\n")
    tiny = Tiny(
        root,
        {
            "schema": 1,
            "pins_sha256": "",
            "gateway_requirements_sha256": "0" * 64,
            "resolved_at": "2026-11-23",
            "base": {
                "name": "debian:bookworm-slim",
                "digest": f"sha256:{'0' * 64}",
                "source": "test",
            },
            "debian": {"suite": "bookworm", "architecture": "amd64", "packages": []},
            "git": {
                "comfyui": {
                    "url": "https://example.com/comfyui",
                    "mirrors": [],
                    "commit": commit,
                    "version": "0.33.0",
                    "tree": tree,
                    "licence": "GPL-3.0-only",
                    "path": "",
                }
            },
            "wheels": {},
            "groups": {"pip": [], "python": []},
            "variants": {"cpu": {"groups": ["python"]}},
            "omitted": {},
            "weights": manifest,
        },
    )
    tiny.add_wheel(
        "python", write_wheel(root / "made", "tiny", "1.0", {"tiny/__init__.py": "X = 1\n"})
    )
    pip = pip_wheel()
    if pip is not None:
        tiny.add_wheel("pip", pip)
    tiny.write_lock()
    tiny.write_containerfiles()
    return tiny
