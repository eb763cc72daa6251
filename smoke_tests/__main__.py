"""Command line: `python -m smoke_tests --url https://HOST --token-file FILE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from smoke_tests import settings
from smoke_tests.levels import DEFAULT_LEVEL, LEVELS
from smoke_tests.report import JUNIT_FILE
from smoke_tests.terminal import PLUGIN, Narrator

EPILOG = """\
exit status:
  0  every check passed
  1  at least one failed; the line says what was measured, what was expected and why
  2  interrupted; the job was cancelled
  4  nothing was tested: no service was named, or an option cannot be used

The token is never an argument. Put it into a file (mode 0600) or into VACE_API_TOKEN.
"""


def parser() -> argparse.ArgumentParser:
    """The command line's definition."""
    cli = argparse.ArgumentParser(
        prog="python -m smoke_tests",
        description="Make videos on a running service and check them and its door.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli.add_argument("--url", help=settings.HELP["url"])
    cli.add_argument("--token-file", metavar="FILE", help=settings.HELP["token_file"])
    cli.add_argument("--ca-file", metavar="FILE", help=settings.HELP["ca_file"])
    cli.add_argument("--outputs", metavar="FILE", help=settings.HELP["outputs"])
    cli.add_argument("--stack", metavar="NAME", help=settings.HELP["stack"])
    cli.add_argument("--stack-dir", metavar="DIR", help=settings.HELP["stack_dir"])
    cli.add_argument("--level", choices=LEVELS, default=DEFAULT_LEVEL, help=settings.HELP["level"])
    cli.add_argument(
        "--artifacts",
        metavar="DIR",
        default="reports/smoke",
        help=settings.HELP["artifacts"] + " and junit.xml (default %(default)s)",
    )
    cli.add_argument(
        "--timeout",
        metavar="S",
        type=float,
        default=settings.DEFAULT_TIMEOUT_S,
        help=settings.HELP["timeout"],
    )
    cli.add_argument(
        "--stall-seconds",
        metavar="S",
        type=float,
        default=settings.DEFAULT_STALL_S,
        help=settings.HELP["stall_seconds"],
    )
    cli.add_argument("--restart-command", metavar="COMMAND", help=settings.HELP["restart_command"])
    cli.add_argument(
        "--allow-simulated", action="store_true", help=settings.HELP["allow_simulated"]
    )
    cli.add_argument(
        "--allow-plain-http", action="store_true", help=settings.HELP["allow_plain_http"]
    )
    cli.add_argument("-x", "--fail-fast", action="store_true", help="stop after the first failure")
    cli.add_argument("-k", metavar="EXPRESSION", help="only tests whose names match, as in pytest")
    return cli


def main(arguments: list[str] | None = None) -> int:
    """Run the suite; the exit status of the process."""
    options = parser().parse_args(arguments)
    passed = [
        str(Path(__file__).parent),
        # this program's own output replaces pytest's, whose options go with it
        "-p",
        "no:terminal",
        "-o",
        "addopts=",
        "--capture=no",
        f"--artifacts={options.artifacts}",
        f"--junitxml={Path(options.artifacts) / JUNIT_FILE}",
        f"--smoke-timeout={options.timeout}",
        f"--stall-seconds={options.stall_seconds}",
        f"--level={options.level}",
    ]
    for name in (
        "url", "token_file", "ca_file", "outputs", "stack", "stack_dir", "restart_command",
    ):  # fmt: skip
        if getattr(options, name):
            passed.append(f"--{name.replace('_', '-')}={getattr(options, name)}")
    for name in ("allow_simulated", "allow_plain_http"):
        if getattr(options, name):
            passed.append(f"--{name.replace('_', '-')}")
    if options.fail_fast:
        passed.append("-x")
    if options.k:
        passed += ["-k", options.k]
    return int(pytest.main(passed, plugins=[_Register()]))


class _Register:
    """Registers the narrator under a name by which the conftest finds it."""

    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(Narrator(), PLUGIN)


if __name__ == "__main__":
    sys.exit(main())
