"""Command line: ``python -m vace_comfyui``."""

from __future__ import annotations

import sys

from vace_comfyui.cli import main

if __name__ == "__main__":
    sys.exit(main())
