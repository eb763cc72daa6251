"""Start, find and stop the emulated cloud, and talk to its control interface."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 30
STOP_SECONDS = 30
ENDPOINT_PRODUCTS = (
    "CS",
    "ECS",
    "IMS",
    "KMS",
    "LOCATION",
    "OOS",
    "OSS",
    "RAM",
    "SLB",
    "STS",
    "VPC",
)


class EmulatorError(Exception):
    """The emulated cloud did not start, did not answer, or ended; the message shows its log."""


@dataclass(frozen=True)
class Emulator:
    """A running emulated cloud and how to reach it."""

    state: Path
    endpoint: str
    control: str
    ca: Path
    access_key_id: str
    access_key_secret: str
    region: str

    def environment(self) -> dict[str, str]:
        """Return the variables by which the real provider and SDKs find this cloud.

        They are the provider's own documented ones; no program needs to know of a rehearsal.
        """
        return {
            **{f"ALIBABA_CLOUD_ENDPOINT_{name}": self.endpoint for name in ENDPOINT_PRODUCTS},
            "ALIBABA_CLOUD_ACCESS_KEY_ID": self.access_key_id,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": self.access_key_secret,
            "ALICLOUD_REGION": self.region,
            # Otherwise the provider asks the billing service on the internet for it.
            "ALIBABA_CLOUD_ACCOUNT_TYPE": "Domestic",
            "SSL_CERT_FILE": str(self.ca),
        }

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control interface and return its JSON answer.

        Raises:
            EmulatorError: no answer, or an HTTP error.
        """
        request = urllib.request.Request(  # noqa: S310  the address is our own loopback
            f"{self.control}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return json.loads(answer.read() or b"null")
        except (OSError, urllib.error.URLError) as error:
            raise EmulatorError(f"{method} {path} on the emulator failed: {error}") from error

    def stop(self) -> None:
        """End the emulator's process; machines go with it only if they were destroyed."""
        pid_file = self.state / "pid"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            end_process(int(pid_file.read_text()))
        pid_file.unlink(missing_ok=True)


def end_process(pid: int) -> None:
    """End one of our processes: politely, then by force after :data:`STOP_SECONDS`."""
    if not _is_ours(pid):
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if not _is_ours(pid):
            return
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _is_ours(pid: int) -> bool:
    """Whether ``pid`` is an emulator; a number from an old file may belong to anybody by now."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"rehearsal.cloud" in command


def attach(state: Path) -> Emulator:
    """Return the emulator that runs with this state folder.

    Raises:
        EmulatorError: none runs there.
    """
    try:
        facts = json.loads((state / "endpoint.json").read_text())
        emulator = Emulator(
            state=state,
            endpoint=facts["endpoint"],
            control=facts["control"],
            ca=Path(facts["ca"]),
            access_key_id=facts["access_key_id"],
            access_key_secret=Path(facts["access_key_secret_file"]).read_text().strip(),
            region=facts["region"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise EmulatorError(f"no emulator has its state in {state} ({error})") from error
    emulator.call("GET", "/health")
    return emulator


def start(state: Path, *, machines: str, time_scale: float = 1.0) -> Emulator:
    """Start an emulator and wait until its TLS endpoint answers.

    Args:
        machines: "podman" boots real machines, "none" only pretends.
        time_scale: factor on the time that statuses take.

    Raises:
        EmulatorError: it did not come up within :data:`START_SECONDS`; shows its last lines.
    """
    state.mkdir(parents=True, exist_ok=True)
    (state / "endpoint.json").unlink(missing_ok=True)
    log = state / "emulator.log"
    command = [sys.executable, "-m", "rehearsal.cloud", "serve", "--state", str(state)]
    command += ["--listen", "127.0.0.1:0", "--machines", machines]
    command += ["--time-scale", str(time_scale)]
    with log.open("ab") as output:
        # A session of its own: Ctrl-C in the terminal must reach Pulumi before the cloud goes.
        process = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
    (state / "pid").write_text(str(process.pid))
    deadline = time.monotonic() + START_SECONDS
    last = "no answer yet"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last = f"it ended with status {process.returncode}"
            break
        try:
            emulator = attach(state)
            _check_tls(emulator)
        except EmulatorError as error:
            last = str(error)
            time.sleep(0.05)
        else:
            return emulator
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise EmulatorError(f"the emulated cloud did not start: {last}. Its log {log} ends:\n{tail}")


def _check_tls(emulator: Emulator) -> None:
    """Fail at once where the provider would hang: it retries an untrusted certificate forever."""
    context = ssl.create_default_context(cafile=str(emulator.ca))
    try:
        with urllib.request.urlopen(f"https://{emulator.endpoint}/", timeout=5, context=context):
            pass
    except urllib.error.HTTPError:
        return  # an error answer is an answer: TLS works
    except (OSError, urllib.error.URLError) as error:
        raise EmulatorError(f"TLS to {emulator.endpoint} failed: {error}") from error
