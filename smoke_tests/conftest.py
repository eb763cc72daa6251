"""Options, fixtures and reporting of the smoke tests.

Without a service to test there is nothing to run: one line says so and pytest exits with 4.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from smoke_tests import settings as smoke_settings
from smoke_tests.comfy_client import (
    BadTarget,
    ComfyClient,
    ComfyError,
    Download,
    JobResult,
    NotComfyUI,
    OutputFile,
    Unreachable,
    Workflow,
    WrongCertificate,
    WrongToken,
)
from smoke_tests.media import Clip, MediaError
from smoke_tests.report import Report, earlier_hashes
from smoke_tests.settings import HELP, Settings
from smoke_tests.terminal import NOT_TRIED, PLUGIN, SIMULATED_BANNER, Narrator

# Cheap and telling first: when the service is down, nothing else needs to be said.
ORDER = ("test_health", "test_auth", "test_models", "test_reference_workflow", "test_traps")
# After one of these every further test could only repeat it.
FATAL = (Unreachable, WrongCertificate, WrongToken, NotComfyUI)
MARGIN_S = 120.0  # on top of --timeout, before pytest-timeout kills a test that hangs

RUN = pytest.StashKey["Run"]()


class SimulatedService(Exception):  # noqa: N818 - says what was found
    """The service is a simulation and this run was not told to accept one."""


@dataclass
class Run:
    """What the tests of one session share.

    Attributes:
        submitted, result, file, download, clip: of the reference run, once it was made.
        fatal: why the remaining tests are pointless, or empty.
    """

    settings: Settings
    report: Report
    folder: Path
    client: ComfyClient
    submitted: Workflow | None = None
    result: JobResult | None = None
    file: OutputFile | None = None
    download: Download | None = None
    clip: Clip | None = None
    fatal: str = ""
    started: float = field(default_factory=time.monotonic)

    def identify(self) -> None:
        """Ask the service what it is: versions, and whether it is simulated.

        Raises:
            ConnectionProblem: it does not answer as ComfyUI does.
        """
        stats, self.report.simulated = self.client.system_stats()
        self.report.take_versions(stats)

    def refuse_simulation(self) -> None:
        """Raise SimulatedService for a simulation that was not allowed; asks first if needed.

        Called before a video is made too, so that choosing tests by name cannot go around it.
        """
        if self.report.simulated is None:
            self.identify()
        if self.report.simulated and not self.settings.allow_simulated:
            raise SimulatedService(
                f"{self.report.url} says that it is simulated: no model runs there. "
                "Test a real service, or say --allow-simulated to check the protocol only."
            )


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a smoke run; the same as those of `python -m smoke_tests`."""
    group = parser.getgroup("smoke", "smoke tests against a running service")
    group.addoption("--url", metavar="URL", help=HELP["url"])
    group.addoption("--token-file", metavar="FILE", help=HELP["token_file"])
    group.addoption("--ca-file", metavar="FILE", help=HELP["ca_file"])
    group.addoption("--outputs", metavar="FILE", help=HELP["outputs"])
    group.addoption("--artifacts", metavar="DIR", help=HELP["artifacts"])
    # not --timeout: pytest-timeout owns that name; __main__ and the hook below translate
    group.addoption(
        "--smoke-timeout",
        metavar="S",
        type=float,
        default=None,
        help=HELP["timeout"] + "; --timeout means the same here",
    )
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
    report = Report(url=settings.target.url, run_id=secrets.token_hex(4))
    report.seen_sha256 = earlier_hashes(settings.artifacts)
    config.stash[RUN] = Run(settings, report, folder, ComfyClient(settings.target))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the files, and give tests that wait for a video the time they were promised."""
    run = config.stash.get(RUN, None)
    here = Path(__file__).parent
    mine = [item for item in items if here in item.path.parents]
    mine.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in ORDER else 99)
    items[:] = mine + [item for item in items if here not in item.path.parents]
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
    if report.failed and message:
        # the sentence stands in for a traceback through code that works as it should
        report.longrepr = message
    if report.failed and isinstance(error, (*FATAL, SimulatedService)) and not run.fatal:
        run.fatal = f"{item.name} failed"
    if report.when == "call" or not report.passed:
        run.report.tests.append(
            {
                "name": item.nodeid.rpartition("::")[2],
                "outcome": report.outcome,
                "seconds": round(report.duration, 3),
                "message": message or (report.longreprtext if report.failed else ""),
            }
        )
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write report.json; a run in which nothing passed is no success."""
    run = session.config.stash.get(RUN, None)
    if run is None:
        return
    run.client.close()
    outcomes = {test["outcome"] for test in run.report.tests}
    run.report.passed = int(exitstatus) == 0 and "passed" in outcomes and "failed" not in outcomes
    run.report.timings_s["total"] = round(time.monotonic() - run.started, 3)
    if run.settings.artifacts is not None:
        run.report.write(run.settings.artifacts)
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
def clip(run: Run) -> Clip:
    """The decoded video of the reference run."""
    if run.clip is None:
        pytest.skip("there is no video: the reference workflow did not make one")
    return run.clip
