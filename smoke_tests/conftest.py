"""Options, fixtures and reporting of the smoke tests.

Without a service to test there is nothing to run: one line says so and pytest exits with 4.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smoke_tests import levels, report_page
from smoke_tests import settings as smoke_settings
from smoke_tests.comfy_client import BadTarget, ComfyClient, ComfyError
from smoke_tests.media import Clip, MediaError
from smoke_tests.report import Report, earlier_hashes
from smoke_tests.session import FATAL, Run, SimulatedService, Video, repeat_command
from smoke_tests.settings import HELP, Settings
from smoke_tests.terminal import NOT_TRIED, PLUGIN, SIMULATED_BANNER, Narrator, title

MARGIN_S = 120.0  # on top of --timeout, before pytest-timeout kills a test that hangs

RUN = pytest.StashKey["Run"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a smoke run; the same as those of `python -m smoke_tests`."""
    group = parser.getgroup("smoke", "smoke tests against a running service")
    group.addoption("--url", metavar="URL", help=HELP["url"])
    group.addoption("--token-file", metavar="FILE", help=HELP["token_file"])
    group.addoption("--ca-file", metavar="FILE", help=HELP["ca_file"])
    group.addoption("--outputs", metavar="FILE", help=HELP["outputs"])
    group.addoption("--stack", metavar="NAME", help=HELP["stack"])
    group.addoption("--stack-dir", metavar="DIR", help=HELP["stack_dir"])
    group.addoption(
        "--level", choices=levels.LEVELS, default=levels.DEFAULT_LEVEL, help=HELP["level"]
    )
    group.addoption("--artifacts", metavar="DIR", help=HELP["artifacts"])
    # not --timeout: pytest-timeout owns that name; __main__ and the hook below translate
    group.addoption(
        "--smoke-timeout",
        metavar="S",
        type=float,
        default=None,
        help=HELP["timeout"] + "; --timeout means the same here",
    )
    group.addoption(
        "--stall-seconds",
        metavar="S",
        type=float,
        default=smoke_settings.DEFAULT_STALL_S,
        help=HELP["stall_seconds"],
    )
    group.addoption("--restart-command", metavar="COMMAND", help=HELP["restart_command"])
    group.addoption("--allow-simulated", action="store_true", help=HELP["allow_simulated"])
    group.addoption("--allow-plain-http", action="store_true", help=HELP["allow_plain_http"])


def _option(config: pytest.Config, name: str, default: Any = None) -> Any:
    return config.getoption(name, default=default)


def _settings(config: pytest.Config) -> Settings | None:
    timeout = _option(config, "smoke_timeout") or _option(config, "timeout")
    return smoke_settings.resolve(
        url=_option(config, "url"),
        token_file=_option(config, "token_file"),
        ca_file=_option(config, "ca_file"),
        outputs=_option(config, "outputs"),
        stack=_option(config, "stack"),
        stack_dir=_option(config, "stack_dir"),
        level_name=_option(config, "level", levels.DEFAULT_LEVEL),
        stall_s=_option(config, "stall_seconds", smoke_settings.DEFAULT_STALL_S),
        restart_command=_option(config, "restart_command"),
        artifacts=_option(config, "artifacts"),
        timeout_s=float(timeout or smoke_settings.DEFAULT_TIMEOUT_S),
        allow_simulated=bool(_option(config, "allow_simulated")),
        allow_plain_http=bool(_option(config, "allow_plain_http")),
        environ=os.environ,
    )


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Stay out of a pytest run that was not started for the smoke tests (`pytest .`)."""
    started = RUN in config.stash or config.option.collectonly
    return None if started else True


def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop before anything is collected when there is no service to test."""
    config = session.config
    if config.option.collectonly:
        return
    try:
        settings = _settings(config)
    except BadTarget as error:
        raise pytest.UsageError(str(error)) from None
    if settings is None:
        raise pytest.UsageError(smoke_settings.NO_TARGET)
    folder = settings.artifacts
    if folder is None:
        factory = pytest.TempPathFactory.from_config(config, _ispytest=True)
        folder = factory.mktemp("smoke")
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(
        url=settings.target.url,
        run_id=secrets.token_hex(4),
        level=settings.level,
        command=repeat_command(settings, _option(config, "keyword", "")),
    )
    report.seen_sha256 = earlier_hashes(settings.artifacts)
    config.stash[RUN] = Run(settings, report, folder, ComfyClient(settings.target))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the level's files, order them, and give tests the time they were promised."""
    run = config.stash.get(RUN, None)
    here = Path(__file__).parent
    mine = [item for item in items if here in item.path.parents]
    others = [item for item in items if here not in item.path.parents]
    if run is not None:
        chosen = run.settings.level
        left_out = [item for item in mine if not levels.belongs(item.path.stem, chosen)]
        mine = [item for item in mine if item not in left_out]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
    mine.sort(key=lambda item: levels.place(item.path.stem))
    items[:] = mine + others
    if run is not None and config.pluginmanager.hasplugin("timeout"):
        for item in mine:
            item.add_marker(pytest.mark.timeout(run.settings.timeout_s + MARGIN_S))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what could only repeat an earlier, fatal failure."""
    run = item.config.stash.get(RUN, None)
    if run is not None and run.fatal:
        pytest.skip(f"{NOT_TRIED}, since {run.fatal}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep our own errors as a sentence, and note what ends the run."""
    report = yield
    run = item.config.stash.get(RUN, None)
    if run is None:
        return report
    error = call.excinfo.value if call.excinfo else None
    message = ""
    if isinstance(error, ComfyError):
        message = f"{error.name}: {error}" + (f"\n{error.detail}" if error.detail else "")
    elif isinstance(error, MediaError | SimulatedService | AssertionError | pytest.fail.Exception):
        # pytest appends the values compared; the sentence in front of them has them already
        message = str(error).partition("\nassert ")[0]
    token = run.settings.target.token
    if token and token in message:
        # a server may answer with what it was sent
        message = message.replace(token, "[hidden]")
    if report.failed and message:
        # the sentence stands in for a traceback through code that works as it should
        report.longrepr = message
    if report.failed and isinstance(error, (*FATAL, SimulatedService)) and not run.fatal:
        run.fatal = f"{item.name} failed"
    if report.when == "call" or not report.passed:
        run.report.tests.append(
            {
                "name": item.nodeid.rpartition("::")[2],
                "file": item.path.stem,
                "title": title(item),
                "outcome": report.outcome,
                "seconds": round(report.duration, 3),
                "message": message or _reason(report),
            }
        )
    return report


def _reason(report: pytest.TestReport) -> str:
    """Why a test did not pass, when no error of ours says so."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return report.longreprtext if report.failed else ""


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write report.json and report.html; a run in which nothing passed is no success."""
    run = session.config.stash.get(RUN, None)
    if run is None:
        return
    run.client.close()
    outcomes = {test["outcome"] for test in run.report.tests}
    run.report.passed = int(exitstatus) == 0 and "passed" in outcomes and "failed" not in outcomes
    run.report.timings_s["total"] = round(time.monotonic() - run.started, 3)
    if run.settings.artifacts is not None:
        hide = (run.settings.target.token,)
        run.report.write(run.settings.artifacts, hide=hide)
        report_page.write(run.report, run.settings.artifacts, hide=hide)
    narrator = session.config.pluginmanager.getplugin(PLUGIN)
    if isinstance(narrator, Narrator):
        narrator.summary(run)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What plain pytest would not mention: simulation, warnings, where the results are."""
    run = config.stash.get(RUN, None)
    if run is None:
        return
    if run.report.simulated:
        terminalreporter.write_line(SIMULATED_BANNER, yellow=True, bold=True)
    for warning in run.report.warnings():
        terminalreporter.write_line(f"note: {warning}")
    if run.settings.artifacts is not None:
        terminalreporter.write_line(f"results: {run.settings.artifacts}")


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config) -> Run:
    """What the tests of this session share."""
    return pytestconfig.stash[RUN]


@pytest.fixture(scope="session")
def client(run: Run) -> ComfyClient:
    """A client with the configured token."""
    return run.client


@pytest.fixture
def guarded(run: Run) -> Run:
    """The run, for tests of what a gateway adds; a bare ComfyUI on this machine has none."""
    if not run.settings.guarded:
        pytest.skip("no token was given: a bare ComfyUI on this machine, without a gateway")
    return run


@pytest.fixture
def stranger(guarded: Run) -> Iterator[ComfyClient]:
    """A client without any token."""
    with ComfyClient(replace(guarded.settings.target, token="")) as anonymous:
        yield anonymous


@pytest.fixture
def video(run: Run) -> Video:
    """The video of this level, downloaded."""
    if run.video is None or run.video.download is None:
        pytest.skip("there is no video: the workflow did not make one")
    return run.video


@pytest.fixture
def clip(video: Video) -> Clip:
    """The decoded video of this level."""
    if video.clip is None:
        pytest.skip("there is no video that could be read")
    return video.clip
