"""Command line of the gateway."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from vace_gateway import __version__, logs
from vace_gateway.errors import SettingsError
from vace_gateway.server import GatewayServer, run
from vace_gateway.settings import KEYS, PREFIX, Settings

EXIT_CONFIGURATION = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gateway; the exit status is 0, or 2 for a configuration that can't work."""
    options = _parser().parse_args(arguments)
    logs.configure(logs.Redactor())
    try:
        settings = Settings.from_environment()
        server = GatewayServer(settings)
        if options.check:
            sys.stdout.write("the configuration is complete: settings, token and certificate\n")
            return 0
        logs.configure(logs.Redactor(lambda: server.credentials.literal_secrets))
        asyncio.run(run(server))
    except SettingsError as error:
        sys.stderr.write(f"vace-gateway: {error}\n")
        return EXIT_CONFIGURATION
    return 0


def _parser() -> argparse.ArgumentParser:
    width = max(len(key.name) for key in KEYS) + len(PREFIX)
    lines = [
        f"  {PREFIX + key.name:<{width}}  {key.meaning}"
        + (f" [{key.default}]" if key.default else "")
        for key in KEYS
    ]
    parser = argparse.ArgumentParser(
        prog="vace-gateway",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="HTTPS gateway in front of ComfyUI: authentication, admission, streaming.",
        epilog="settings (environment variables, [default]):\n"
        + "\n".join(lines)
        + "\n\nsignals: HUP reads token and certificate again; TERM finishes requests and stops.",
    )
    parser.add_argument(
        "--check", action="store_true", help="check settings, token and certificate, then exit"
    )
    parser.add_argument("--version", action="version", version=f"vace-gateway {__version__}")
    return parser
