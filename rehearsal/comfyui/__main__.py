"""Command line: ``python -m rehearsal.comfyui``."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable

from rehearsal.comfyui.settings import Settings, SettingsError, read


def main() -> int:
    """Run the server; returns the exit status (2: a setting or the folder cannot be used)."""
    return run("vace-comfyui-sim", lambda: read(sys.argv[1:]))


def run(program: str, read_settings: Callable[[], Settings]) -> int:
    """Run the server with the settings that ``read_settings`` gives; returns the exit status.

    Args:
        program: name at the start of messages about settings that cannot be used.
        read_settings: may raise SettingsError, or SystemExit as argparse does.
    """
    try:
        settings = read_settings()
    except SettingsError as error:
        print(f"{program}: {error}", file=sys.stderr)
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
        print(f"{program}: SIM_FAULT: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"{program}: cannot start on {settings.listen}:{settings.port}: {error}. The folders "
            "input, output, temp and user must be writable for this user, and the port free. "
            f"Choose others; {program} --help lists how.",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
