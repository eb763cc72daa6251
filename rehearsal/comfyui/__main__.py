"""Command line: ``python -m rehearsal.comfyui``."""

from __future__ import annotations

import asyncio
import logging
import sys

from rehearsal.comfyui.settings import SettingsError, read


def main() -> int:
    """Run the server; returns the exit status (2: a setting or the folder cannot be used)."""
    try:
        settings = read(sys.argv[1:])
    except SettingsError as error:
        print(f"vace-comfyui-sim: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s simulated-comfyui %(levelname)s %(message)s",
    )
    # Imported only now, so that --help and wrong settings answer at once.
    from rehearsal.comfyui import faults, server  # noqa: PLC0415

    try:
        asyncio.run(server.serve(settings))
    except faults.FaultError as error:
        print(f"vace-comfyui-sim: SIM_FAULT: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"vace-comfyui-sim: cannot start on {settings.listen}:{settings.port} with the folder "
            f"{settings.base}: {error}. The folder must be writable for this user and the port "
            "free; choose others with COMFYUI_BASE and COMFYUI_PORT.",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
