"""Source trees of what a rehearsal builds: the simulated ComfyUI and stand-ins for two node packs.

The trees have the shape of the real ones as far as an image build can tell: ``main.py`` and
``comfyui_version.py`` at ComfyUI's root, an ``__init__.py`` in each node pack. What they are not is
said in a README in each of them.
"""

from __future__ import annotations

from pathlib import Path

from rehearsal.comfyui import COMFYUI_VERSION

_PACKAGE = Path(__file__).resolve().parents[1]
_README = """\
# Simulated ComfyUI {version}

A stand-in for ComfyUI's source tree, for rehearsals on machines without a GPU. `main.py` takes
ComfyUI's flags and speaks its protocol; no model runs, and pictures are drawn. See
`rehearsal/comfyui/README.md`.
"""
_NODE_README = """\
# {name}: stand-in

This repository stands for {name} in rehearsals of the image build. It has no code: the simulated
ComfyUI implements the node classes of {name} itself, and lists them only where this folder is
found in `custom_nodes`.
"""
_NODE_INIT = '"""Stand-in for {name}; the simulated ComfyUI implements its node classes."""\n'
_WEBSOCKET_NODE = (
    '"""Stand-in for ComfyUI\'s own node SaveImageWebsocket; it is not simulated."""\n'
)

NODE_PACKS = {"videohelpersuite": "ComfyUI-VideoHelperSuite", "kjnodes": "ComfyUI-KJNodes"}
"""Name in the lock to the name of the pack."""

Tree = dict[str, bytes]
"""Path in the tree to content; no file is executable."""


def comfyui_tree() -> Tree:
    """The simulated ComfyUI as a source tree, made from the package ``rehearsal.comfyui``."""
    package = _PACKAGE / "comfyui"
    tree = {
        f"rehearsal/comfyui/{path.relative_to(package)}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and _belongs(path)
    }
    tree["rehearsal/__init__.py"] = (_PACKAGE / "__init__.py").read_bytes()
    tree["main.py"] = (package / "main.py").read_bytes()
    tree["comfyui_version.py"] = f'__version__ = "{COMFYUI_VERSION}"\n'.encode()
    tree["custom_nodes/websocket_image_save.py"] = _WEBSOCKET_NODE.encode()
    tree["README.md"] = _README.format(version=COMFYUI_VERSION).encode()
    return tree


def node_tree(name: str) -> Tree:
    """The stand-in for a node pack; ``name`` as in ``NODE_PACKS``."""
    pack = NODE_PACKS[name]
    return {
        "README.md": _NODE_README.format(name=pack).encode(),
        "__init__.py": _NODE_INIT.format(name=pack).encode(),
    }


def _belongs(path: Path) -> bool:
    # How the package is built as an image of its own is of no use inside another image.
    return path.suffix in {".py", ".md", ".gz", ".js"} and path.name != "main.py"
