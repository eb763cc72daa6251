"""Container images: login to the registry, pull by digest, removal of old ones."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from .errors import CommandError, NodeError, SettingsError
from .system import log, run, write_file

# Where root's podman looks by itself; on a tmpfs, so the password never reaches a disk.
AUTH_FILE = Path("/run/containers/0/auth.json")
_HINTS = {
    "unauthorized": "The registry's login is missing or wrong: set it in the deployment.",
    "authentication required": "The registry's login is missing: set it in the deployment.",
    "manifest unknown": "The registry has no such digest: was the image pushed?",
    "no such host": "The name does not resolve here: use the registry's address for this VPC.",
    "no space left": "The system disk is full: make it larger in the deployment.",
    "x509": "The registry's certificate is not trusted by this machine.",
    "i/o timeout": "The registry is not reachable: use its VPC address, or check the routes.",
}


def auth_document(secret: str, source: str) -> str:
    """auth.json out of the registry secret: {"<registry host>": {"username", "password"}}.

    Raises SettingsError without any value in the message.
    """
    try:
        document: Any = json.loads(secret)
    except ValueError as error:
        raise SettingsError(source, ["it is not JSON"]) from error
    auths: dict[str, dict[str, str]] = {}
    problems = [] if isinstance(document, dict) and document else ["it names no registry host"]
    for host, login in document.items() if isinstance(document, dict) else ():
        pair = [login.get(key) if isinstance(login, dict) else None for key in _LOGIN]
        if all(isinstance(value, str) and value for value in pair):
            auths[host] = {"auth": base64.b64encode(f"{pair[0]}:{pair[1]}".encode()).decode()}
        else:
            problems.append(f"{host} needs the texts username and password")
    if problems:
        raise SettingsError(source, problems)
    return json.dumps({"auths": auths})


_LOGIN = ("username", "password")


def write_auth(document: str, path: Path = AUTH_FILE) -> None:
    """Put the login where podman reads it, for root only."""
    write_file(path, document, mode=0o600)


def hint(output: str) -> str:
    """What to do about a failed pull, out of podman's own words."""
    lower = output.lower()
    return next((text for sign, text in _HINTS.items() if sign in lower), "")


def pull(image: str, progress: Callable[[str], None], *, attempts: int = 3) -> bool:
    """Have an image on the node; False when it was there. Raises NodeError."""
    if not run(["podman", "image", "exists", image], check=False).returncode:
        return False
    layers = {"begun": 0}

    def on_line(line: str) -> None:
        if line.startswith(("Copying blob", "Copying config")):
            layers["begun"] += 1
            progress(f"pulling {_short(image)}: layer {layers['begun']}")

    for attempt in range(1, attempts + 1):
        layers["begun"] = 0
        progress(f"pulling {_short(image)}" + (f", attempt {attempt}" if attempt > 1 else ""))
        started = time.monotonic()
        try:
            run(["podman", "pull", image], timeout=5400, on_line=on_line)
        except CommandError as error:
            advice = hint(error.output)
            final = "no space left" in error.output or "manifest unknown" in error.output.lower()
            if attempt == attempts or final:
                raise NodeError(
                    f"{image} could not be pulled: {error} {advice}", permanent=final
                ) from error
            log(f"pull failed: {error} {advice}")
            time.sleep(5 * attempt)
        else:
            log(f"pulled {_short(image)} in {time.monotonic() - started:.0f} s")
            return True
    raise AssertionError("unreachable")


def _short(image: str) -> str:
    name, _, digest = image.partition("@sha256:")
    return f"{name}@{digest[:12]}"


def obsolete(rows: Collection[dict[str, Any]], wanted: Collection[str]) -> list[str]:
    """Ids of images to remove: rows of `podman images --format json` that nothing wants or uses."""
    return sorted(
        {row["Id"] for row in rows if row["Id"] not in wanted and not row.get("Containers")}
    )


def remove_old(wanted: Collection[str]) -> int:
    """Remove every image but `wanted` (references) and those in use; returns how many."""
    form = ["--format", "{{.Id}}"]
    keep = {
        run(["podman", "image", "inspect", *form, name]).stdout.strip().removeprefix("sha256:")
        for name in wanted
    }
    rows = json.loads(run(["podman", "images", "--format", "json"]).stdout or "[]") or []
    removed = 0
    for image_id in obsolete(rows, keep):
        removed += not run(["podman", "rmi", image_id], check=False).returncode
    return removed
