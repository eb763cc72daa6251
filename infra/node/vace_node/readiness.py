"""Is the service there? Asked of the gateway itself, over TLS, with the certificate we gave it."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from . import units
from .cloud import request
from .credentials import CERTIFICATE, FOLDER
from .errors import CloudError, NodeError
from .status import Report, load
from .system import redact, run

URL = "https://127.0.0.1/readyz"
NODE_UNIT = "vace-node.service"
JOURNAL_LINES = 40
# Cloud Assistant keeps 24 KB of a command's output; the end, with the cause, must fit.
MAX_PROGRESS = 6_000
MAX_DIAGNOSIS = 12_000
RESTARTING = 75
"""Exit status of `wait` when the machine restarts itself: ask again after that (EX_TEMPFAIL)."""


def tls_context(certificate: Path) -> ssl.SSLContext:
    """Trust exactly the chain in `certificate`. The name is not checked: we ask by loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the server's own certificate will do
    context.load_verify_locations(certificate)
    return context


def ask(url: str = URL, certificate: Path = FOLDER / CERTIFICATE) -> str:
    """ "" when the service is ready; otherwise why it is not."""
    try:
        answer = request("GET", url, {}, timeout=10, context=tls_context(certificate))
    except FileNotFoundError:
        return f"{certificate} is missing; fetch it with: vace-node credentials"
    except ssl.SSLError as error:
        return f"{certificate} cannot be used: {error}"
    except CloudError as error:
        return str(error)
    try:
        document = json.loads(answer.body)
    except ValueError:
        document = None
    if answer.status == 200 and isinstance(document, dict) and document.get("ready") is True:
        return ""
    reason = document.get("reason") if isinstance(document, dict) else None
    return f"the gateway answers {answer.status}: {reason or 'no reason given'}"


def can_make_videos() -> str:
    """ "" when ComfyUI's own check passes: nodes, weights, encoder, warm-up; otherwise why not."""
    container = units.COMFYUI_UNIT.removesuffix(".service")
    answer = run(["podman", "exec", container, "vace-comfyui", "ready"], timeout=30, check=False)
    return "" if answer.returncode == 0 else f"ComfyUI is not ready: {answer.stdout.strip()}"


def await_ready(progress: Callable[[str], None], *, patience: float = 900) -> str:
    """Wait until the service is ready; raises NodeError when a unit gave up or time is over."""
    deadline = time.monotonic() + patience
    while True:
        reason = ask() or can_make_videos()
        if not reason:
            return "the service answers and can make videos"
        states = {unit: units.show(unit) for unit in (units.COMFYUI_UNIT, units.GATEWAY_UNIT)}
        for unit, state in states.items():
            if state.get("ActiveState") == "failed":
                raise NodeError(f"{units.explain(unit, state)}. Its log: journalctl -u {unit}")
        if time.monotonic() >= deadline:
            lines = "; ".join(units.explain(unit, state) for unit, state in states.items())
            raise NodeError(f"not ready after {patience:.0f} s: {reason}. {lines}")
        restarting = [
            units.explain(unit, state)
            for unit, state in states.items()
            if state.get("NRestarts", "0") not in ("", "0")
        ]
        progress("; ".join([reason, *restarting]))
        time.sleep(1)


def wait(timeout: float, out: Callable[[str], None] = print) -> int:
    """Wait for a run that began after this call, and for the service; the exit status.

    0: ready. 1: not ready; what failed was printed. RESTARTING: the machine restarts itself.

    A run that was already at work may have read the settings before their last change, so a
    new one is asked for when it ends. Prints a line whenever something changes and, on failure,
    what failed with the end of its log.
    """
    called = time.time()
    deadline = time.monotonic() + timeout
    asked = 0.0
    said = ""
    room = MAX_PROGRESS
    while True:
        report = load()
        fresh = report.started >= called
        if not report.running:
            if fresh and report.phase == "ready" and not ask():
                out(f"ready after {time.time() - called:.0f} s")
                return 0
            if report.error and report.error.get("restart"):
                out(summary(report))
                return RESTARTING
            if fresh and report.error and report.error["permanent"]:
                break
            if not fresh and time.monotonic() - asked > 10:
                run(["systemctl", "start", "--no-block", NODE_UNIT], check=False)
                asked = time.monotonic()
        line = summary(report)
        if line != said and room > 0:
            out(line)
            said = line
            room -= len(line)
            if room <= 0:
                out("(no more progress is shown)")
        if time.monotonic() >= deadline:
            out(f"NOT READY after {timeout:.0f} s")
            break
        time.sleep(0.5)
    out(diagnosis())
    return 1


def summary(report: Report) -> str:
    """One line: the phase, and the step that is running or failed."""
    for step in reversed(report.steps):
        if step.state in ("running", "failed"):
            message = f": {step.message}" if step.message else ""
            return f"[{report.phase}] {step.step} {step.state}{message}"[:600]
    return f"[{report.phase}]"


def diagnosis() -> str:
    """Which step and unit failed, with the end of its log; at most MAX_DIAGNOSIS characters."""
    report = load()
    parts = [summary(report)]
    suspects = []
    for unit in (units.COMFYUI_UNIT, units.GATEWAY_UNIT):
        state = units.show(unit)
        parts.append(units.explain(unit, state))
        if state.get("ActiveState") != "active" or state.get("NRestarts", "0") not in ("", "0"):
            suspects.append(unit)
    parts.append(f"readiness: {ask() or 'ready'}")
    began = [s.step for s in report.steps if s.state != "pending"]
    if not suspects or "services" not in began:
        suspects = [NODE_UNIT] if "services" not in began else [units.GATEWAY_UNIT]
    room = (MAX_DIAGNOSIS - sum(map(len, parts))) // len(suspects) - 100
    for unit in suspects:
        parts.append(f"--- last {JOURNAL_LINES} lines of {unit} ---")
        parts.append(journal(unit)[-room:])
    return "\n".join(parts)


def journal(unit: str, lines: int = JOURNAL_LINES) -> str:
    """The end of a unit's log, without secrets. Units' own messages come with it."""
    # The agent also logs when a person runs it; both carry its identifier.
    where = ["-t", "vace-node"] if unit == NODE_UNIT else ["-u", unit]
    options = ["--no-pager", "-o", "short-iso", "-n", str(lines)]
    text = run(["journalctl", *options, *where], check=False).stdout
    secrets = [path.read_text() for path in FOLDER.glob("token")] if FOLDER.exists() else []
    return redact("\n".join(line[:1000] for line in text.splitlines()), secrets)
