"""The command line's definition, and the target that it names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from smoke_tests.comfy_client.errors import BadTarget
from smoke_tests.comfy_client.target import Target

SHIPPED = "JSON file, or name of a shipped workflow (a wrong name lists them)"

EPILOG = """\
exit status:
  0    done
  1    the job failed, stalled, or took longer than --timeout
  2    an option or a file on this machine cannot be used
  3    the service could not be used (address, certificate, token, not ready, broken download)
  4    the service did not take the graph (rejected, queue full), or lacks what it names
  130  interrupted

A run that ends early, for whatever reason, cancels its job; if that fails, it says so.
The token is never an argument. Put it into a file (mode 0600), into VACE_API_TOKEN, or into the
keyring: keyring set wan-vace HOST.
"""


def parser() -> argparse.ArgumentParser:
    """All subcommands with their options."""
    cli = argparse.ArgumentParser(
        prog="python -m smoke_tests.comfy_client",
        description="Use a ComfyUI service from the command line.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    service = common.add_argument_group("service")
    service.add_argument("--url", help="such as https://203.0.113.10 (environment: VACE_URL)")
    service.add_argument("--token-file", metavar="FILE", help="environment: VACE_TOKEN_FILE")
    service.add_argument("--ca-file", metavar="FILE", help="environment: VACE_CA_FILE")
    service.add_argument(
        "--keyring", action="store_true", help="token from the keyring, if nothing else gives one"
    )
    service.add_argument(
        "--allow-plain-http", action="store_true", help="send the token unencrypted (private nets)"
    )
    common.add_argument("--json", action="store_true", help="the answer as JSON on stdout")
    common.add_argument(
        "--timeout",
        metavar="S",
        type=_positive,
        default=1200.0,
        help="for the whole command; default %(default)g s",
    )
    commands = cli.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[common], help=text, description=text)

    run = add("run", "Upload the inputs, run a workflow, fetch its video.")
    run.add_argument("workflow", metavar="WORKFLOW", help=SHIPPED)
    run.add_argument("--out", metavar="FILE", type=Path, required=True, help="where the video goes")
    run.add_argument("--force", action="store_true", help="overwrite --out")
    run.add_argument("--prompt", metavar="TEXT", help="what to show; else the workflow's own")
    run.add_argument("--negative-prompt", metavar="TEXT", help="what to avoid; else likewise")
    for name, text in (
        ("video", "the video to change"),
        ("mask", "picture; white may be painted"),
        ("image", "reference picture"),
    ):
        run.add_argument(f"--{name}", metavar="FILE", type=Path, help=text)
    run.add_argument("--seed", metavar="N", type=int, help="default: a random one")
    run.add_argument("--size", metavar="WxH", type=_size, help="such as 832x480")
    run.add_argument("--frames", metavar="N", type=int, help="4n+1, such as 81")
    run.add_argument("--steps", metavar="N", type=int, help="of the sampler")
    run.add_argument("--cfg", metavar="X", type=float, help="guidance by the prompt, 0 to 100")
    run.add_argument("--strength", metavar="X", type=float, help="of the control, 1 as shipped")
    run.add_argument("--fps", metavar="X", type=_rate, help="frames a second, such as 16")
    run.add_argument(
        "--stall",
        metavar="S",
        type=_positive,
        default=300.0,
        help="give up when it runs without a step for so long; default %(default)g s",
    )
    upload = add("upload", "Upload files; prints the names that the server gave them.")
    upload.add_argument("files", metavar="FILE", nargs="+", type=Path)
    download = add("download", "Fetch a file that the server keeps.")
    download.add_argument("name", metavar="NAME", help="as in the history: [subfolder/]filename")
    download.add_argument("--type", choices=("output", "temp", "input"), default="output")
    download.add_argument("--out", metavar="FILE", type=Path, required=True)
    download.add_argument("--force", action="store_true", help="overwrite --out")
    add("queue", "Show what runs and what waits.")
    cancel = add("cancel", "Cancel jobs, running or waiting; no others are touched.")
    cancel.add_argument("ids", metavar="PROMPT_ID", nargs="+")
    nodes = add("nodes", "List the server's node classes.")
    nodes.add_argument("pattern", metavar="TEXT", nargs="?", default="", help="part of a name")
    check = add("check", "Say what answers; with a workflow, whether the server has all it names.")
    check.add_argument("workflow", metavar="WORKFLOW", nargs="?", help=SHIPPED)
    return cli


def target(options: argparse.Namespace, environ: Mapping[str, str]) -> Target:
    """The service named by options, else by the environment.

    Raises:
        BadTarget: none is named, or it cannot be used.
    """
    url = options.url or environ.get("VACE_URL")
    if not url:
        raise BadTarget(
            "No service is named; a command needs one.",
            remedy="Give --url https://HOST, or set VACE_URL.",
        )
    token_file = options.token_file or environ.get("VACE_TOKEN_FILE")
    ca_file = options.ca_file or environ.get("VACE_CA_FILE")
    return Target.of(
        url,
        token_file=Path(token_file) if token_file else None,
        ca_file=Path(ca_file) if ca_file else None,
        allow_plain_http=options.allow_plain_http,
        keyring=options.keyring,
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} s is given; it must be more than 0 seconds")
    return value


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r} is given; WIDTHxHEIGHT in pixels is needed, such as 832x480"
        )
    return int(match[1]), int(match[2])


def _rate(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is given; a number of frames a second is needed, such as 16 or 30000/1001"
        ) from error
