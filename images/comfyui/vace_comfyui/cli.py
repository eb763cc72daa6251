"""``vace-comfyui``: serve, ready, health, check."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence

from vace_comfyui import flags, gpu, image, preflight, ready, selfcheck, settings
from vace_comfyui.problems import Exit, SettingsError, exit_code, listing, say
from vace_comfyui.state import Board
from vace_comfyui.supervisor import STOPPING, Supervisor

_EPILOG = "Settings come from the environment; images/comfyui/README.md lists them and the codes."


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="vace-comfyui", description="ComfyUI with Wan2.1-VACE in a container.", epilog=_EPILOG
    )
    result.add_argument("--version", action="store_true", help="print variant and lock, and end")
    commands = result.add_subparsers(dest="command")
    commands.add_parser("serve", help="check, start ComfyUI and watch it (the default)")
    for name, text in (
        ("ready", "can it make a video? status 0: yes, 1: no"),
        ("health", "does it answer, and does what runs move? status 0: yes, 1: no"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--json", action="store_true", help="answer as JSON")
    check = commands.add_parser("check", help="run the checks of a start without starting")
    check.add_argument(
        "--build", action="store_true", help="check the image itself: flags, packages, encoders"
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(argv)
    try:
        current = settings.read()
        if options.command in ("ready", "health"):
            return _answer(options.command, current, as_json=options.json)
        description = image.load(current.image)
    except SettingsError as error:
        sys.stderr.write(f"vace-comfyui: {error}\n")
        return Exit.NO if options.command in ("ready", "health") else Exit.USAGE
    if options.version:
        sys.stdout.write(f"vace-comfyui {description.variant}, lock {description.lock_sha256}\n")
        return Exit.OK
    if options.command == "check":
        return _check(current, description, build=options.build)
    return _serve(current, description)


def _answer(command: str, current: settings.Settings, *, as_json: bool) -> int:
    answer = ready.ready(current) if command == "ready" else ready.health(current)
    if as_json:
        text = json.dumps({command: answer.yes, "reasons": list(answer.reasons)})
    else:
        text = f"{command}: {'yes' if answer.yes else 'no'}: {answer}"
    sys.stdout.write(text + "\n")
    return Exit.OK if answer.yes else Exit.NO


def _check(current: settings.Settings, description: image.Image, *, build: bool) -> int:
    if build:
        problems = tuple(selfcheck.run(current, description))
    else:
        problems = preflight.run(current, description, gpu.probe).problems
    if problems:
        sys.stderr.write(f"vace-comfyui: {listing(problems)}\n")
    else:
        say(f"check: variant {description.variant} is as it must be")
    return exit_code(problems)


def _not_started(number: int, _frame: object) -> None:
    """Asked to stop before ComfyUI was started: there is nothing to wait for."""
    say(f"{signal.Signals(number).name}: nothing was started yet; ending")
    # Not sys.exit, which would wait for the threads that hash.
    os._exit(Exit.OK)


def _serve(current: settings.Settings, description: image.Image) -> int:
    # Process 1 ignores what it has no handler for, and hashing gigabytes takes its time.
    for number in STOPPING:
        signal.signal(number, _not_started)
    if description.overrides:
        say(f"a rehearsal's image: {', '.join(description.overrides)} are replaced")
    result = preflight.run(current, description, gpu.probe)
    if result.problems:
        sys.stderr.write(f"vace-comfyui: {listing(result.problems)}\n")
        return exit_code(result.problems)
    for folder in (current.state, current.state / "home"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags.write_model_paths(current)
    board = Board(current.state)
    board.update(encoder=True, models=result.models)
    chosen = flags.fixed(current) + flags.memory(
        gpu=description.has_gpu, vram=result.vram, ram=flags.ram_limit()
    )
    chosen += flags.speed(current.profile)
    say(f"speed profile: {current.profile}")
    for flag in chosen:
        say(f"flag {' '.join(flag.words)}: {flag.reason}")
    probe = gpu.probe if description.has_gpu else None
    return Supervisor(current, board, probe).run(
        flags.command_line(current, chosen, sys.executable)
    )
