"""What a smoke run is pointed at: options first, then a stack's outputs file, then environment."""

from __future__ import annotations

import json
import shlex
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoke_tests.comfy_client import BadTarget, Target, is_loopback
from smoke_tests.levels import DEFAULT_LEVEL, Level, level
from smoke_tests.stack import read_stack

DEFAULT_STALL_S = 300.0  # the longest honest silence, a first load from a cold disk, is a minute
DEFAULT_TIMEOUT_S = 1200.0  # a cold start loads 8 GB of models; a warm run takes about a minute

HELP = {
    "url": "service to test, such as https://203.0.113.10 (environment: VACE_URL)",
    "token_file": "file with the API token (environment: VACE_TOKEN_FILE, or the token itself: "
    "VACE_API_TOKEN)",
    "ca_file": "PEM file of the authority to trust instead of the system's (environment: "
    "VACE_CA_FILE)",
    "outputs": "JSON of `pulumi stack output --json --show-secrets`, a file of mode 0600 or - for "
    "a pipe; gives what is not given as an option",
    "stack": "name of the Pulumi stack to test; the suite asks Pulumi for the outputs itself",
    "stack_dir": "folder with the stack's Pulumi.yaml (default: the current folder)",
    "level": "quick (health, token, nodes, models, one tiny graph), reference (the reference "
    "workflow at full size; the default) or full (every workflow in both languages, all input "
    "formats, three clients at once, cancelling, the queue's order)",
    "artifacts": "folder for videos, contact sheets, report.json, report.html",
    "timeout": f"seconds for each video (default {DEFAULT_TIMEOUT_S:g})",
    "stall_seconds": "running without any progress for so long is a failure (default "
    f"{DEFAULT_STALL_S:g})",
    "restart_command": "with --level full: a command that restarts ComfyUI while a job runs, to "
    "see that the job is told as lost and that the service comes back; without it that is skipped",
    "allow_simulated": "accept a simulated ComfyUI: proves the protocol, not the pictures",
    "allow_plain_http": "allow sending the token over plain http (private networks only)",
}

NO_TARGET = (
    "the smoke tests need a service: --url https://HOST --token-file FILE [--ca-file FILE], "
    "or --stack NAME, or --outputs FILE, or VACE_URL, VACE_TOKEN_FILE and VACE_CA_FILE; "
    "see smoke_tests/README.md"
)


@dataclass(frozen=True)
class Settings:
    """A validated smoke run.

    Attributes:
        target: the service. artifacts: folder for results, or None to keep nothing.
        timeout_s: deadline of one video in seconds. stall_s: see `ComfyClient.run`.
        restart_command: restarts ComfyUI; empty where nobody asked for that test.
        command: the arguments that repeat this run, without secrets.
    """

    target: Target
    artifacts: Path | None
    timeout_s: float
    allow_simulated: bool
    level: Level = DEFAULT_LEVEL
    stall_s: float = DEFAULT_STALL_S
    restart_command: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    @property
    def guarded(self) -> bool:
        """Whether a gateway that asks for a token is expected in front of ComfyUI."""
        return bool(self.target.token)


def resolve(
    *,
    url: str | None,
    token_file: str | None,
    ca_file: str | None,
    outputs: str | None,
    artifacts: str | None,
    timeout_s: float,
    allow_simulated: bool,
    allow_plain_http: bool,
    environ: Mapping[str, str],
    stack: str | None = None,
    stack_dir: str | None = None,
    level_name: str = DEFAULT_LEVEL,
    stall_s: float = DEFAULT_STALL_S,
    restart_command: str | None = None,
) -> Settings | None:
    """Settings from all sources; None when no source names a service.

    Raises:
        BadTarget: something named cannot be used.
    """
    if stack and outputs:
        raise BadTarget(
            "--stack and --outputs are both given, but only one of them can name the service.",
            remedy="Leave out --outputs: --stack asks Pulumi for the same.",
        )
    if stack_dir and not stack:
        raise BadTarget(
            f"--stack-dir {stack_dir} is given without --stack, so there is nothing to look up.",
            remedy="Add --stack NAME, or leave --stack-dir out.",
        )
    try:
        chosen = level(level_name)
    except ValueError as error:
        raise BadTarget(str(error), remedy="") from error
    told = _taken(outputs, stack, stack_dir)
    url = url or told.get("url") or environ.get("VACE_URL")
    if not url:
        return None
    token_path = token_file or ("" if told.get("apiToken") else environ.get("VACE_TOKEN_FILE"))
    ca_path = ca_file or ("" if told.get("caCertificate") else environ.get("VACE_CA_FILE"))
    target = Target.of(
        url,
        token=told.get("apiToken", ""),
        token_file=Path(token_path) if token_path else None,
        ca_pem=told.get("caCertificate", ""),
        ca_file=Path(ca_path) if ca_path else None,
        allow_plain_http=allow_plain_http,
    )
    if not target.token and not is_loopback(url):
        raise BadTarget(
            f"{url} is to be tested without a token, but a service that anybody on the network "
            "may use is not what this suite accepts.",
            remedy="Give --token-file; only servers on this machine may go without.",
        )
    if timeout_s <= 0:
        raise BadTarget(f"--timeout is {timeout_s:g}; it must be more than 0 seconds.")
    if stall_s <= 0:
        raise BadTarget(f"--stall-seconds is {stall_s:g}; it must be more than 0 seconds.")
    return Settings(
        target=target,
        artifacts=Path(artifacts) if artifacts else None,
        timeout_s=timeout_s,
        allow_simulated=allow_simulated,
        level=chosen,
        stall_s=stall_s,
        restart_command=_words(restart_command),
        command=_repeat(
            url=None if stack or outputs == "-" else target.url,
            stack=stack,
            stack_dir=stack_dir,
            outputs=outputs,
            token_file=token_path,
            ca_file=ca_path,
            level=chosen,
            timeout=timeout_s if timeout_s != DEFAULT_TIMEOUT_S else None,
            stall_seconds=stall_s if stall_s != DEFAULT_STALL_S else None,
            restart_command=restart_command,
            allow_simulated=allow_simulated,
            allow_plain_http=allow_plain_http,
        ),
    )


def _repeat(**options: str | float | bool | None) -> tuple[str, ...]:
    """The options that are set, as words of a command line; paths as they were given."""
    words = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return tuple(words)


def _words(command: str | None) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command or ""))
    except ValueError as error:
        raise BadTarget(
            f"--restart-command {command!r} cannot be split into words ({error}), as it runs "
            "without a shell.",
            remedy="Check its quotation marks.",
        ) from error


def _taken(outputs: str | None, stack: str | None, stack_dir: str | None) -> dict[str, str]:
    """url, apiToken and caCertificate of a stack, where one was named."""
    content: dict[str, Any] = {}
    if stack:
        content = read_stack(stack, Path(stack_dir) if stack_dir else None)
    elif outputs:
        content = _read_outputs(Path(outputs))
    wanted = ("url", "apiToken", "caCertificate")
    return {key: content[key] for key in wanted if isinstance(content.get(key), str)}


def _read_outputs(path: Path) -> dict[str, Any]:
    """A stack's outputs from a file or, with ``-``, from a pipe."""
    try:
        piped = str(path) == "-"
        mode = 0o600 if piped else stat.S_IMODE(path.stat().st_mode)
        content = json.loads(sys.stdin.read() if piped else path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadTarget(f"--outputs {path} cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict) or not isinstance(content.get("url"), str):
        raise BadTarget(
            f"--outputs {path} has no text under 'url'.",
            remedy="Write it with: (umask 077; pulumi stack output --json --show-secrets > FILE)",
        )
    if content.get("apiToken") == "[secret]":  # what Pulumi prints instead
        raise BadTarget(
            f"--outputs {path} hides the token.", remedy="Write it again with --show-secrets."
        )
    if content.get("apiToken") and mode & 0o077:
        raise BadTarget(
            f"--outputs {path} holds a token and has mode {mode:04o}, so that others can read it.",
            remedy=f"Run: chmod 600 {path}",
        )
    return content
