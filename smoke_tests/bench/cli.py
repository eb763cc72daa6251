"""Command line: what to run where, what to compare with, and where figures go."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from smoke_tests import settings
from smoke_tests.workflows import RECIPES

EPILOG = """\
exit status:
  0  the figures are there
  1  a video could not be made, or figures would mean nothing; the last line says why
  2  interrupted; the job was cancelled
  4  nothing was run: no service was named, or an option cannot be used

A simulated ComfyUI gives no figures about speed: every line of such a run says SIMULATED.
The token is never an argument. Put it into a file (mode 0600) or into VACE_API_TOKEN.
"""


def parser() -> argparse.ArgumentParser:
    """The command line's definition."""
    cli = argparse.ArgumentParser(
        prog="python -m smoke_tests.bench",
        description="Measure how fast a running service makes videos, and what one costs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    service = cli.add_argument_group("the service")
    service.add_argument("--url", help=settings.HELP["url"])
    service.add_argument("--token-file", metavar="FILE", help=settings.HELP["token_file"])
    service.add_argument("--ca-file", metavar="FILE", help=settings.HELP["ca_file"])
    service.add_argument(
        "--outputs",
        metavar="FILE",
        help="JSON of `pulumi stack output --json --show-secrets`, a file of mode 0600; gives what "
        "is not given as an option, instance type and region for the price among it",
    )
    service.add_argument("--stack", metavar="NAME", help=settings.HELP["stack"])
    service.add_argument("--stack-dir", metavar="DIR", help=settings.HELP["stack_dir"])
    service.add_argument(
        "--allow-plain-http", action="store_true", help=settings.HELP["allow_plain_http"]
    )
    service.add_argument(
        "--profile",
        metavar="NAME",
        help="the profile that the service is believed to have; another one, as its command line "
        "tells, is an error",
    )
    service.add_argument(
        "--gpu",
        metavar="NAME",
        help="row of the GPU table to take the peak from, where the card's own name does not tell",
    )
    _add_work(cli)
    _add_price(cli)
    result = cli.add_argument_group("results")
    result.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="folder for videos, bench.json and the pictures (default reports/bench/PROFILE)",
    )
    result.add_argument(
        "--against",
        metavar="FILE",
        type=Path,
        help="bench.json of a run of the profile safe, with its videos beside it: compare speed, "
        "and pictures by PSNR and SSIM",
    )
    result.add_argument("--plain", action="store_true", help="one `name value` a line, no table")
    result.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return cli


def _add_work(cli: argparse.ArgumentParser) -> None:
    work = cli.add_argument_group("the work")
    work.add_argument(
        "--workflow",
        metavar="NAME",
        default="reference",
        help=f"one of {', '.join(RECIPES)}, or a file in API format (default %(default)s)",
    )
    for name in ("width", "height", "frames", "steps"):
        work.add_argument(f"--{name}", metavar="N", type=int, help="instead of the workflow's own")
    work.add_argument("--cfg", metavar="X", type=float, help="instead of the workflow's own")
    work.add_argument(
        "--seed", metavar="N", type=int, default=1000, help="of the first video (%(default)s)"
    )
    work.add_argument(
        "--repeats", metavar="N", type=int, default=3, help="warm videos (default %(default)s)"
    )
    work.add_argument(
        "--clients",
        metavar="N",
        type=int,
        action="append",
        default=[],
        help="also N clients at once; may be given several times",
    )
    work.add_argument(
        "--client-videos",
        metavar="N",
        type=int,
        default=1,
        help="videos of each of these clients (default %(default)s)",
    )
    work.add_argument("--no-cold", action="store_true", help="do not unload the models first")
    work.add_argument(
        "--timeout",
        metavar="S",
        type=float,
        default=1800.0,
        help="seconds for each video, its wait in the queue included (default %(default)g)",
    )


def _add_price(cli: argparse.ArgumentParser) -> None:
    price = cli.add_argument_group("the price of the machine")
    price.add_argument("--price-per-hour", metavar="X", type=float, help="goes before the list's")
    price.add_argument("--currency", default="CNY", help="of --price-per-hour (%(default)s)")
    price.add_argument("--instance-type", metavar="TYPE", help="looked up in the price list")
    price.add_argument("--region", metavar="ID", help="of the instance type")


def faults(options: argparse.Namespace) -> list[str]:
    """Everything about the numbers that cannot be meant, as sentences."""
    found = []
    for name, least in (("repeats", 1), ("client_videos", 1)):
        if getattr(options, name) < least:
            found.append(
                f"--{name.replace('_', '-')} is {getattr(options, name)}, at least {least}"
            )
    found += [f"--clients is {each}, 2 or more" for each in options.clients if each < 2]
    if options.timeout <= 0:
        found.append(f"--timeout is {options.timeout:g}, more than 0 seconds")
    if options.price_per_hour is not None and not 0 < options.price_per_hour < float("inf"):
        found.append(f"--price-per-hour is {options.price_per_hour:g}, more than 0")
    if options.seed < 0:
        found.append(f"--seed is {options.seed}, 0 or more")
    if (options.instance_type is None) != (options.region is None):
        found.append("--instance-type and --region: a price is known for both together only")
    return found


def complain(text: str) -> None:
    """The last line of a run that failed."""
    print(f"bench: {text}", file=sys.stderr)
