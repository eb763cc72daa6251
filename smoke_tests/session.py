"""What the tests of one session share, and what ends it early."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path

from smoke_tests.comfy_client import (
    TOKEN_VARIABLE,
    ComfyClient,
    Download,
    JobResult,
    NotComfyUI,
    OutputFile,
    Unreachable,
    Workflow,
    WrongCertificate,
    WrongToken,
)
from smoke_tests.media import Clip
from smoke_tests.report import Report
from smoke_tests.settings import Settings

# After one of these every further test could only repeat it.
FATAL = (Unreachable, WrongCertificate, WrongToken, NotComfyUI)


class SimulatedService(Exception):  # noqa: N818 - says what was found
    """The service is a simulation and this run was not told to accept one."""


@dataclass
class Video:
    """One video as far as it came.

    Attributes:
        name: of its entry in the report.
        submitted: the graph that was sent. The others stay None until there is something.
    """

    name: str
    submitted: Workflow
    result: JobResult | None = None
    file: OutputFile | None = None
    download: Download | None = None
    clip: Clip | None = None


@dataclass
class Run:
    """What the tests of one session share.

    Attributes:
        video: the video that every level makes, once it was submitted.
        fatal: why the remaining tests are pointless, or empty.
    """

    settings: Settings
    report: Report
    folder: Path
    client: ComfyClient
    video: Video | None = None
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


def repeat_command(settings: Settings, keyword: str = "") -> str:
    """The shell command that makes the same run again. It holds no secret.

    Args:
        keyword: what `-k` was given, or empty.
    """
    words = ["python", "-m", "smoke_tests", *settings.command]
    if settings.artifacts is not None:
        words += ["--artifacts", str(settings.artifacts)]
    if keyword:
        words += ["-k", keyword]
    command = shlex.join(words)
    if "--outputs" in words and words[words.index("--outputs") + 1] == "-":
        return f"pulumi stack output --json --show-secrets | {command}"
    sources = {"--token-file", "--outputs", "--stack"}
    if settings.target.token and not sources & set(words):
        return f"{command}  # with the token in {TOKEN_VARIABLE}"
    return command
