"""``vace-comfyui``: serve, ready, health, drain, check."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
from collections.abc import Sequence

from vace_comfyui import drain, flags, gpu, image, preflight, ready, selfcheck, settings
from vace_comfyui.listener import Listener
from vace_comfyui.problems import Exit, SettingsError, exit_code, listing, say
from vace_comfyui.state import Board
from vace_comfyui.status import Status
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
    waits = commands.add_parser(
        "drain", help="want no new prompts and wait for those that are there (preStop hook)"
    )
    waits.add_argument(
        "--seconds", type=_seconds, help="longest wait for prompts (default: VACE_DRAIN_SECONDS)"
    )
    waits.add_argument(
        "--linger",
        type=_seconds,
        default=drain.LINGER_SECONDS,
        help="time in which the last result can be fetched, in seconds (default: %(default)g)",
    )
    waits.add_argument("--cancel", action="store_true", help="want new prompts again, at once")
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
        if options.command == "drain":
            return _drain(current, options)
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
        document = {command: answer.yes, "reasons": list(answer.reasons)}
        if command == "ready":
            document["draining"] = answer.draining
        text = json.dumps(document)
    else:
        text = f"{command}: {'yes' if answer.yes else 'no'}: {answer}"
    sys.stdout.write(text + "\n")
    return Exit.OK if answer.yes else Exit.NO


def _seconds(text: str) -> float:
    """A time on the command line. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(
            f"got {text!r}; allowed: a number from 0 to 86400; because it is a time in seconds"
        )
    return value


def _drain(current: settings.Settings, options: argparse.Namespace) -> int:
    """A hook must not fail for want of anything to wait for: whatever it meets, the code is 0."""
    if options.cancel:
        try:
            told = "cancelled" if drain.unmark(current) else "it was not marked"
        except OSError as error:
            sys.stderr.write(f"vace-comfyui: drain: {error}\n")
            return Exit.NO
    else:
        seconds = current.drain_seconds if options.seconds is None else options.seconds
        told = drain.run(current, seconds, options.linger)
    sys.stdout.write(f"drain: {told}\n")
    return Exit.OK


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
    status = Status(current)
    if current.status_listen is None:
        return _checked(current, description, status)
    listener = Listener(current.status_listen, status.page)
    problem = listener.open()
    if problem is not None:
        sys.stderr.write(f"vace-comfyui: {listing([problem])}\n")
        return exit_code([problem])
    try:
        return _checked(current, description, status)
    finally:
        listener.close()


def _checked(current: settings.Settings, description: image.Image, status: Status) -> int:
    result = preflight.run(current, description, gpu.probe, status.stage)
    if result.problems:
        sys.stderr.write(f"vace-comfyui: {listing(result.problems)}\n")
        return exit_code(result.problems)
    status.stage("")
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
