"""The command `vace-node`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone

from . import converge, credentials, install, readiness, units
from .errors import NodeError
from .status import PATH, SCHEMA, load
from .system import log

EXAMPLES = f"""\
files:
  /etc/vace/node.json        where settings and secrets are (from user data)
  {PATH}  progress of the last run
journal:
  journalctl -t vace-node    what this program did
  journalctl -u {units.COMFYUI_UNIT} -u {units.GATEWAY_UNIT}
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vace-node",
        description="Turns this ECS instance into a ComfyUI node and keeps it one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    command("install", "Put units and configuration into place (called by the bootstrap).")
    command("converge", "Apply the settings: every step from packages to a service that answers.")
    command("credentials", "Fetch the gateway's token and certificate into memory (/run/vace).")
    status = command("status", "Show the last run, the services and whether they answer.")
    status.add_argument("--json", action="store_true", help="as one JSON object")
    wait = command(
        "wait", "Have the settings applied and wait for the service; print what failed otherwise."
    )
    wait.add_argument(
        "--timeout", type=float, default=1800, metavar="S", help="seconds to wait (default 1800)"
    )
    command("results", "Upload new finished files to OSS.")
    return parser


def _status(as_json: bool) -> int:
    report = load()
    states = {unit: units.show(unit) for unit in (units.COMFYUI_UNIT, units.GATEWAY_UNIT)}
    problem = readiness.ask()
    expires = _certificate_expiry()
    if as_json:
        services = {
            unit: {
                "active": state.get("ActiveState", "unknown"),
                "sub": state.get("SubState", ""),
                "result": state.get("Result", ""),
                "restarts": int(state.get("NRestarts") or 0),
            }
            for unit, state in states.items()
        }
        document = {
            "schema": SCHEMA,
            **asdict(report),
            "running": report.running,
            "services": services,
            "certificate_expires": expires.isoformat() if expires else None,
            "ready": not problem,
            "reason": problem,
        }
        print(json.dumps(document, indent=1))
        return 0
    print(f"{report.phase}{', a run is at work' if report.running else ''}")
    for step in report.steps:
        took = f"{(step.finished or time.time()) - step.started:7.1f} s" if step.started else ""
        print(f"  {step.step:<12} {step.state:<8} {took:>9}  {step.message}")
    for unit, state in states.items():
        print(units.explain(unit, state))
    if expires:
        days = (expires - datetime.now(timezone.utc)).days
        left = f"{days} days left" if days >= 0 else "EXPIRED; deploy again to get a new one"
        print(f"certificate valid until {expires:%Y-%m-%d %H:%M} UTC ({left})")
    print(f"readiness: {problem or 'ready'}")
    return 0


def _certificate_expiry() -> datetime | None:
    try:
        return credentials.expiry((credentials.FOLDER / credentials.CERTIFICATE).read_text())
    except (FileNotFoundError, ValueError):
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    options = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("vace-node must run as root: sudo vace-node ...", file=sys.stderr)
        return 1
    try:
        if options.command == "converge":
            converge.converge()
        elif options.command == "install":
            log(install.install_and_start())
        elif options.command == "credentials":
            log(converge.refresh_credentials())
        elif options.command == "results":
            log(converge.upload_results())
        elif options.command == "status":
            return _status(options.json)
        else:
            return readiness.wait(options.timeout, lambda line: print(line, flush=True))
    except NodeError as error:
        log(f"{options.command} failed: {error}")
        return 1
    return 0
