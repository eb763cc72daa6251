"""Checks that nothing lies in an image where the build puts nothing.

Layers are, from below: the base, Debian's packages, and what is ours. Only the first two may touch
the system; ours fill ``/opt`` and put start scripts into ``/usr/local/bin``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from images.builder.context import package_files
from images.builder.tree import WRAPPERS, File, Tree

BASE_LAYERS = 1
SYSTEM_LAYERS = 2
"""The base and Debian's packages."""
_CUSTOMIZE = ("sitecustomize", "usercustomize")
_DEBIAN_CUSTOMIZE = {
    "etc/python3.11/sitecustomize.py",
    "usr/lib/python3.11/sitecustomize.py",
    "usr/lib/python3.11/__pycache__/sitecustomize.cpython-311.pyc",
}
_DEBIAN_CUSTOMIZE_SHA256 = "43d81125d92376b1a69d53a71126a041cc9a18d8080e92dea0a2ae23be138b1e"
"""Debian's own, of libpython3.11-minimal 3.11.2: it asks for a crash reporter, if there is one."""
_VENV = "opt/venv/"
_VENV_LINKS = {
    "opt/venv/bin/python": ("python3", "/usr/bin/python3"),
    "opt/venv/bin/python3": ("/usr/bin/python3",),
    "opt/venv/bin/python3.11": ("python3",),
    "opt/venv/lib64": ("lib",),
}
_VENV_FILES = {
    "opt/venv/pyvenv.cfg",
    "opt/venv/bin/Activate.ps1",
    "opt/venv/bin/activate",
    "opt/venv/bin/activate.csh",
    "opt/venv/bin/activate.fish",
}
_OPT = {
    "comfyui": ("opt/venv/", "opt/comfyui/", "opt/vace/", "opt/models/"),
    "comfyui-vace": ("opt/venv/", "opt/comfyui/", "opt/vace/", "opt/models/"),
    "gateway": ("opt/venv/", "opt/vace/"),
    "weights": ("opt/models/",),
}


def system_problems(tree: Tree, image: str, wrappers: Mapping[str, str]) -> list[str]:
    """Files outside of what an image's own layers fill, and what every program would load."""
    system = SYSTEM_LAYERS if image != "weights" else 0
    problems = []
    for path, file in tree.files.items():
        if path == "etc/ld.so.preload":
            problems.append(f"{path} would be loaded into every program")
        elif _customizes(tree, path, file):
            problems.append(f"{path} would run with every Python")
        elif file.kind == "folder" or file.layer < system:
            continue
        elif path not in wrappers and not path.startswith(_OPT.get(image, ())):
            problems.append(f"{path} comes from layer {file.layer}, which is not the system's")
    return sorted(problems)


def _customizes(tree: Tree, path: str, file: File) -> bool:
    name = path.rpartition("/")[2].partition(".")[0]
    if name not in _CUSTOMIZE:
        return False
    if path not in _DEBIAN_CUSTOMIZE or file.layer >= SYSTEM_LAYERS:
        return True
    found = tree.resolve("usr/lib/python3.11/sitecustomize.py")
    return found is None or found.sha256 != _DEBIAN_CUSTOMIZE_SHA256


def venv_problems(tree: Tree, named: frozenset[str]) -> list[str]:
    """What lies in the virtual environment outside of ``site-packages`` and is in no record.

    ``named`` has the paths that the packages' records name.
    """
    problems = []
    for path, file in tree.files.items():
        if not path.startswith(_VENV) or "/site-packages/" in path or file.kind == "folder":
            continue
        if path in _VENV_LINKS:
            if file.kind != "link" or file.link not in _VENV_LINKS[path]:
                problems.append(f"{path} is not the link to the system's Python")
        elif path not in named and path not in _VENV_FILES:
            problems.append(f"{path} belongs to no package")
        elif f"{WRAPPERS}{path.rpartition('/')[2]}" in tree.files:
            problems.append(f"{path} hides the start script of this name")
    return sorted(problems)


def package_problems(tree: Tree, packages: Sequence[str]) -> list[str]:
    """Ways in which ``/opt/vace`` is not this checkout's packages and ``image.json``.

    Raises SourceMissingError when a package is not in the checkout.
    """
    wanted: dict[str, Path] = {}
    for name in packages:
        wanted.update(package_files(name))
    problems = []
    for path, file in tree.below("opt/vace/"):
        if file.kind == "folder" or path == "image.json" or _is_byte_code(path):
            continue
        source = wanted.pop(path, None)
        if source is None:
            problems.append(f"opt/vace/{path} is not in this checkout")
        elif file.sha256 != hashlib.sha256(source.read_bytes()).hexdigest():
            problems.append(f"opt/vace/{path} is not this checkout's")
    problems += [f"opt/vace/{path} is missing" for path in wanted]
    return sorted(problems)


def _is_byte_code(path: str) -> bool:
    return path.endswith(".pyc") and path.split("/")[-2:-1] == ["__pycache__"]


def wrapper_problems(tree: Tree, wrappers: Mapping[str, str]) -> list[str]:
    """Start scripts that are not what the Containerfile writes."""
    problems = []
    for path, content in wrappers.items():
        file = tree.files.get(path)
        if file is None:
            problems.append(f"{path} is missing")
        elif file.kind != "file" or file.content != content.encode() or not file.mode & 0o111:
            problems.append(f"{path} is not the script that the Containerfile writes")
    return sorted(problems)
