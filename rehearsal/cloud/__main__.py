"""Command line of the emulator: ``python -m rehearsal.cloud {serve,coverage}``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from rehearsal.cloud import coverage
from rehearsal.cloud.certificates import Authority
from rehearsal.cloud.emulator import Emulator
from rehearsal.cloud.hypervisor import Hypervisor, NullHypervisor
from rehearsal.cloud.state import Cloud, Settings, StateError
from rehearsal.cloud.vault import VaultError


class UsageError(Exception):
    """The command line asks for something that cannot be."""


class UnavailableError(Exception):
    """This computer cannot run what was asked for; the message says what is missing."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status (0 done, 1 failed, 2 wrong usage)."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "coverage":
            return _coverage(check=options.check)
        return _serve(options)
    except UsageError as error:
        print(f"rehearsal.cloud: {error}", file=sys.stderr)
        return 2
    except (UnavailableError, StateError, VaultError, OSError) as error:
        print(f"rehearsal.cloud: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rehearsal.cloud", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    serve = commands.add_parser("serve", help="run the emulated cloud until SIGTERM or Ctrl-C")
    serve.add_argument("--state", type=Path, required=True, help="directory that holds everything")
    serve.add_argument(
        "--listen", default="127.0.0.1:0", help="HOST:PORT for the API; port 0 picks a free one"
    )
    serve.add_argument(
        "--machines",
        choices=("none", "podman"),
        default="none",
        help="what runs the instances: nothing, or podman",
    )
    serve.add_argument(
        "--slot",
        type=int,
        default=None,
        help="which of the 16 network slots of this host the machines use (0 to 15); left out, "
        "the one that this state directory had, or a free one",
    )
    serve.add_argument(
        "--time-scale",
        type=float,
        default=1.0,
        help="factor on every status change (0.01: a hundred times faster than the default)",
    )
    serve.add_argument("--account", default=Settings.account, help="account id, 16 digits")
    serve.add_argument("--region", default=Settings.region, help="default region")
    serve.add_argument(
        "--destroy-on-exit", action="store_true", help="remove the machines when stopping"
    )

    generate = commands.add_parser("coverage", help="write COVERAGE.md from the registered actions")
    generate.add_argument("--check", action="store_true", help="only say whether it is up to date")
    return parser


def _coverage(*, check: bool) -> int:
    if not check:
        coverage.write()
        return 0
    if coverage.is_current():
        return 0
    print(
        f"{coverage.COVERAGE_FILE} is stale; run: python -m rehearsal.cloud coverage",
        file=sys.stderr,
    )
    return 1


def _serve(options: argparse.Namespace) -> int:
    host, port = _address(options.listen)
    if options.slot is not None and not 0 <= options.slot <= 15:
        raise UsageError(f"--slot is {options.slot}; allowed: 0 to 15, one a running rehearsal")
    if options.time_scale <= 0:
        raise UsageError(f"--time-scale is {options.time_scale}; it must be above 0")
    state_dir = options.state.resolve()
    settings = Settings(
        account=options.account,
        region=options.region,
        time_scale=options.time_scale,
        public_prefix=f"203.0.113.{(options.slot or 0) * 16}/28",
    )
    stopping = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    # Before anything is started, so that a signal during the start is not lost.
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    hypervisor = _hypervisor(options, state_dir)
    emulator = Emulator(Cloud(state_dir, settings, hypervisor))
    try:
        endpoints = emulator.start(host, port)
        print(f"cloud {endpoints.endpoint}, control {endpoints.control}", flush=True)
        stopping.wait()
    finally:
        emulator.stop(destroy=options.destroy_on_exit)
    return 0


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen is {text!r}; expected HOST:PORT, for example 127.0.0.1:0")
    return host, int(port)


def _hypervisor(options: argparse.Namespace, state_dir: Path) -> Hypervisor:
    if options.machines == "none":
        return NullHypervisor()
    # The emulated cloud works without the machines, so these are imported only when asked for.
    try:
        from rehearsal.artifacts.errors import ArtifactError  # noqa: PLC0415
        from rehearsal.machine.errors import MachineError  # noqa: PLC0415
        from rehearsal.machine.hypervisor import PodmanHypervisor  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"--machines podman needs rehearsal.machine, which cannot be imported ({error}). "
            "Install the whole project, or use --machines none."
        ) from error
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = Authority(state_dir)
    try:
        return PodmanHypervisor(state_dir, options.slot, authority.ca_file, authority.key_file)
    except (MachineError, ArtifactError) as error:
        raise UnavailableError(f"--machines podman: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
