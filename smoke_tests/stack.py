"""The outputs of a Pulumi stack, asked from Pulumi itself: secrets come through a pipe."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from smoke_tests.comfy_client import BadTarget

PULUMI_S = 120.0  # reading a state from a bucket far away takes seconds; more means a hang
SAID = 400  # characters of Pulumi's own words that are passed on

# What Pulumi says, and what to do about it. The first that fits is taken.
REMEDIES = (
    (
        "passphrase",
        "Set PULUMI_CONFIG_PASSPHRASE_FILE (or PULUMI_CONFIG_PASSPHRASE), with which the stack's "
        "secrets were encrypted.",
    ),
    ("no stack named", "List the stacks with `pulumi stack ls`; the name is spelled as there."),
    (
        "no Pulumi.yaml",
        "Name the folder that holds Pulumi.yaml with --stack-dir, or start from there.",
    ),
    ("no Pulumi project", "Name the folder that holds Pulumi.yaml with --stack-dir."),
    (
        "login",
        "Log in to the backend that holds the stack (`pulumi login ...`), or set "
        "PULUMI_BACKEND_URL; then try again.",
    ),
    ("PULUMI_ACCESS_TOKEN", "Log in to the backend that holds the stack (`pulumi login ...`)."),
)


def read_stack(name: str, folder: Path | None = None) -> dict[str, Any]:
    """All outputs of a stack, secrets in the clear. They exist only in this process.

    Args:
        name: as `pulumi stack ls` prints it.
        folder: holds Pulumi.yaml; without it the current folder or one above it.

    Raises:
        BadTarget: Pulumi is missing, or cannot show the stack.
    """
    asked = f"--stack {name}"
    if name.startswith("-"):
        raise BadTarget(
            f"{asked} is no name of a stack: it begins with a dash, which Pulumi would take for an "
            "option.",
            remedy="Name one that `pulumi stack ls` prints.",
        )
    if folder is not None and not folder.is_dir():
        raise BadTarget(
            f"--stack-dir {folder} is no folder; it must be the one with the stack's Pulumi.yaml.",
            remedy="Correct it, or leave it out and start from that folder.",
        )
    program = shutil.which("pulumi")
    if program is None:
        raise BadTarget(
            f"{asked} needs the program pulumi, which is not on the PATH: it alone can read the "
            "stack's state and decrypt the token.",
            remedy="Install it or extend PATH (`make toolchain` builds it here), or use --url "
            "with --token-file, or --outputs.",
        )
    command = [program, "stack", "output", "--json", "--show-secrets", "--non-interactive"]
    command += ["--stack", name]
    if folder is not None:
        command += ["--cwd", str(folder)]
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PULUMI_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadTarget(
            f"{asked} could not be read: {type(error).__name__}, `pulumi stack output` gave no "
            f"answer within {PULUMI_S:g} s.",
            remedy="Run `pulumi stack output` by hand and see where it stops.",
        ) from error
    if ended.returncode != 0:
        said = " ".join(ended.stderr.split())[:SAID]
        remedy = next(
            (advice for words, advice in REMEDIES if words.lower() in said.lower()),
            "Run `pulumi stack output` by hand until it works; the suite runs just that.",
        )
        raise BadTarget(
            f"{asked} could not be read; pulumi ended with {ended.returncode}: {said or 'no word'}",
            remedy=remedy,
        )
    try:
        content = json.loads(ended.stdout)
    except ValueError as error:
        raise BadTarget(f"{asked}: pulumi's answer is no JSON ({error}).") from error
    if not isinstance(content, dict) or not isinstance(content.get("url"), str):
        known = ", ".join(sorted(content)) if isinstance(content, dict) and content else "none"
        raise BadTarget(
            f"{asked} has no output 'url' (its outputs: {known}), which every deployment of this "
            "project has.",
            remedy="Run `pulumi up` to its end first, or name the stack of the service.",
        )
    return content
