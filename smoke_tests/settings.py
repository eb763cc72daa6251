"""What a smoke run is pointed at: options first, then a stack's outputs file, then environment."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smoke_tests.comfy_client import BadTarget, Target, is_loopback

DEFAULT_TIMEOUT_S = 1200.0  # a cold start loads 8 GB of models; a warm run takes about a minute

HELP = {
    "url": "service to test, such as https://203.0.113.10 (environment: VACE_URL)",
    "token_file": "file with the API token (environment: VACE_TOKEN_FILE, or the token itself: "
    "VACE_API_TOKEN)",
    "ca_file": "PEM file of the authority to trust instead of the system's (environment: "
    "VACE_CA_FILE)",
    "outputs": "JSON of `pulumi stack output --json --show-secrets`, a file of mode 0600 or - for "
    "a pipe; gives what is not given as an option",
    "artifacts": "folder for the video, its contact sheet and report.json",
    "timeout": f"seconds for the reference workflow (default {DEFAULT_TIMEOUT_S:g})",
    "allow_simulated": "accept a simulated ComfyUI: proves the protocol, not the pictures",
    "allow_plain_http": "allow sending the token over plain http (private networks only)",
}

NO_TARGET = (
    "the smoke tests need a service: --url https://HOST --token-file FILE [--ca-file FILE], "
    "or --outputs FILE, or VACE_URL, VACE_TOKEN_FILE and VACE_CA_FILE; see smoke_tests/README.md"
)


@dataclass(frozen=True)
class Settings:
    """A validated smoke run.

    Attributes:
        target: the service. artifacts: folder for results, or None to keep nothing.
        timeout_s: deadline of the reference workflow in seconds.
    """

    target: Target
    artifacts: Path | None
    timeout_s: float
    allow_simulated: bool

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
) -> Settings | None:
    """Settings from all sources; None when no source names a service.

    Raises:
        BadTarget: something named cannot be used.
    """
    stack = _read_outputs(Path(outputs)) if outputs else {}
    url = url or stack.get("url") or environ.get("VACE_URL")
    if not url:
        return None
    token_path = token_file or ("" if stack.get("apiToken") else environ.get("VACE_TOKEN_FILE"))
    ca_path = ca_file or ("" if stack.get("caCertificate") else environ.get("VACE_CA_FILE"))
    target = Target.of(
        url,
        token=stack.get("apiToken", ""),
        token_file=Path(token_path) if token_path else None,
        ca_pem=stack.get("caCertificate", ""),
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
    return Settings(
        target=target,
        artifacts=Path(artifacts) if artifacts else None,
        timeout_s=timeout_s,
        allow_simulated=allow_simulated,
    )


def _read_outputs(path: Path) -> dict[str, str]:
    """url, apiToken and caCertificate of a stack's outputs, from a file or, with ``-``, a pipe."""
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
    wanted = ("url", "apiToken", "caCertificate")
    return {key: content[key] for key in wanted if isinstance(content.get(key), str)}
