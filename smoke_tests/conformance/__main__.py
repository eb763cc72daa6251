"""Command line: `python -m smoke_tests.conformance --url URL`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from smoke_tests.comfy_client import ComfyError, Target
from smoke_tests.conformance import routes
from smoke_tests.conformance.recordings import Scenario, load
from smoke_tests.conformance.replay import PATIENCE_S, Replay, Report

EPILOG = """\
exit status:
  0  every answer is as recorded
  1  at least one differs; each difference is one sentence
  4  nothing was compared: the server cannot be reached or is busy, or an option cannot be used

The server's cache, queue and history are emptied: use one that nobody else works with.
The token is never an argument. Put it into a file (mode 0600) or into VACE_API_TOKEN.
"""
#: The recordings were made on two servers; a session begins with an empty cache.
SESSIONS = (
    ("reference_run", "identical_resubmit", "rejected_prompts", "execution_error",
     "queue_and_interrupt", "view_and_misc"),
    ("edit_video_run", "input_formats", "shapes", "core_video_nodes", "audio_kept"),
)  # fmt: skip


class BusyError(Exception):
    """The server works for somebody."""


def parser() -> argparse.ArgumentParser:
    """The command line's definition."""
    cli = argparse.ArgumentParser(
        prog="python -m smoke_tests.conformance",
        description="Replay recorded conversations with ComfyUI 0.33.0 and compare the answers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli.add_argument("--url", required=True, help="the server: https://HOST or http://HOST:PORT")
    cli.add_argument("--token-file", metavar="FILE", type=Path, help="file with the token")
    cli.add_argument("--ca-file", metavar="FILE", type=Path, help="authority to trust, PEM")
    cli.add_argument(
        "--allow-plain-http", action="store_true", help="send the token without encryption"
    )
    cli.add_argument(
        "--timeout", metavar="S", type=float, default=PATIENCE_S,
        help="longest wait for one of the tiny jobs (default %(default)g)",
    )  # fmt: skip
    return cli


def run(target: Target, *, patience_s: float = PATIENCE_S) -> Report:
    """Replay everything and ask every documented route.

    Raises:
        BusyError: something runs or waits on the server.
        ComfyError: the server cannot be reached, or ended in the middle.
    """
    recorded = load()
    with Replay(target, patience_s=patience_s) as replay:
        if not replay.is_idle():
            raise BusyError(
                f"{target.url} has jobs in its queue; it must be idle, because this empties its "
                "cache, queue and history. Use a server of your own, or wait."
            )
        for names in SESSIONS:
            session: list[Scenario] = [recorded[name] for name in names]
            replay.begin_session(session)
            for scenario in session:
                replay.play(scenario)
        routes.probe(target, replay.report)
        return replay.report


def main(arguments: list[str] | None = None) -> int:
    """Run the suite; the exit status of the process."""
    options = parser().parse_args(arguments)
    try:
        target = Target.of(
            options.url,
            token_file=options.token_file,
            ca_file=options.ca_file,
            allow_plain_http=options.allow_plain_http,
        )
        report = run(target, patience_s=options.timeout)
    except (ComfyError, BusyError) as error:
        print(f"conformance: nothing was judged: {error}", file=sys.stderr)
        return 4
    for line in report.remarks:
        print(f"note: {line}")
    for line in report.differences:
        print(f"DIFFERENT: {line}")
    verdict = f"{len(report.differences)} differences" if report.differences else "all as recorded"
    print(f"{report.compared} exchanges and message streams compared: {verdict}")
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
