"""Starts the simulated ComfyUI from a source tree: ``python main.py [ComfyUI's flags]``.

In the tree this file lies at the root, as ComfyUI's own does, beside the package ``rehearsal``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rehearsal.comfyui.__main__ import run
from rehearsal.comfyui.flags import read_flags


def main() -> int:
    """Run the server; returns the exit status (2: a flag or a folder cannot be used)."""
    tree = Path(__file__).resolve().parent
    return run("main.py", lambda: read_flags(sys.argv[1:], tree))


if __name__ == "__main__":
    sys.exit(main())
