"""The gateway as its own process: command line, signals, settings."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import sys
from pathlib import Path

import httpx
import pytest
from vace_gateway.errors import SettingsError
from vace_gateway.settings import KEYS, PREFIX, Settings
from vace_gateway.tls import certificate_expiry

from tests.gateway.pki import Authority
from tests.gateway.recorder import Recorder

REPOSITORY = Path(__file__).parents[2]
GATEWAY = REPOSITORY / "images" / "gateway"


async def start(
    environment: dict[str, str], *arguments: str, module: str = "vace_gateway"
) -> asyncio.subprocess.Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        env=clean | environment | {"PYTHONPATH": str(GATEWAY)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def probe_status(environment: dict[str, str]) -> int:
    """Exit status of the container's health check."""
    process = await start(environment, module="vace_gateway.probe")
    await process.communicate()
    assert process.returncode is not None
    return process.returncode


async def line_with(process: asyncio.subprocess.Process, message: str) -> dict[str, object]:
    assert process.stderr is not None
    async with asyncio.timeout(15):
        while line := await process.stderr.readline():
            entry: dict[str, object] = json.loads(line)
            if entry["message"] == message:
                return entry
    raise AssertionError(f"the process ended without saying {message!r}")


async def test_the_process_serves_reloads_on_hup_and_leaves_on_term(
    environment: dict[str, str], comfy: Recorder, authority: Authority, tmp_path: Path
) -> None:
    """What systemd does to it: start, reload on rotation, stop with status 0."""
    process = await start(environment | {PREFIX + "UPSTREAM": comfy.url})
    try:
        ports = (await line_with(process, "started"))["ports"]
        assert isinstance(ports, dict)
        trust = ssl.create_default_context(cafile=str(authority.file))
        url = f"https://127.0.0.1:{ports['TLS_LISTEN']}"
        async with httpx.AsyncClient(base_url=url, verify=trust, trust_env=False) as client:
            assert (await client.get("/readyz")).json() == {"ready": True}
            (tmp_path / "token").write_text("n" * 43, encoding="ascii")
            process.send_signal(signal.SIGHUP)
            assert (await line_with(process, "token read again"))["changed"] is True
            headers = {"Authorization": "Bearer " + "n" * 43}
            assert (await client.get("/queue", headers=headers)).status_code == 200
        probe = {PREFIX + "TLS_LISTEN": f"0.0.0.0:{ports['TLS_LISTEN']}"}
        assert await probe_status(environment | probe) == 0
        process.send_signal(signal.SIGTERM)
        await line_with(process, "stopped")
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert await probe_status(environment | probe) == 1
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_check_says_yes_to_a_complete_configuration(environment: dict[str, str]) -> None:
    """A deployment can ask before it replaces a running gateway."""
    process = await start(environment, "--check")
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"complete" in out


async def test_check_names_every_problem_and_no_secret(environment: dict[str, str]) -> None:
    """One round of corrections instead of five."""
    secret = "s3cret-but-too-short"
    Path(environment[PREFIX + "TOKEN_FILE"]).write_text(secret, encoding="ascii")
    process = await start(environment, "--check")
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"TOKEN_FILE" in err
    assert secret.encode() not in err
    broken = environment | {PREFIX + "MAX_QUEUE": "many", PREFIX + "TLS_LISTEN": "here"}
    process = await start(broken, "--check")
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"VACE_GATEWAY_MAX_QUEUE" in err
    assert b"VACE_GATEWAY_TLS_LISTEN" in err
    assert b"Traceback" not in err


async def test_a_port_in_use_is_a_sentence_not_a_traceback(
    environment: dict[str, str], comfy: Recorder
) -> None:
    """The most common reason why a service does not start."""
    taken = environment | {PREFIX + "TLS_LISTEN": f"127.0.0.1:{comfy.port}"}
    process = await start(taken)
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"VACE_GATEWAY_TLS_LISTEN" in err
    assert b"free the port" in err
    assert b"Traceback" not in err


def test_all_mistakes_are_reported_at_once_in_four_parts(environment: dict[str, str]) -> None:
    """Each says what was given, what is allowed, why, and what to do."""
    changes = {
        "TLS_LISTEN": "443",
        "TLS_CERT": "",
        "TOKEN_FILE": "",
        "UPSTREAM": "https://user:pw@h/x?y",
        "PLAIN_LISTEN": "host:80",
        "METRICS_LISTEN": "127.0.0.1:99999",
        "ALLOWED_HOSTS": "ok.example, *.example, a:80",
        "REQUIRED_NODES": "a/b",
        "MAX_UPLOAD_MIB": "0",
        "MAX_QUEUE": "-1",
        "SESSION_HOURS": "1e3",
        "IDLE_SECONDS": "nan",
        "DRAIN_SECONDS": "٣",
        "MAX_UPLAOD_MIB": "1",
    }
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(environment | {PREFIX + k: v for k, v in changes.items()})
    problems = {problem.key.removeprefix(PREFIX): problem for problem in refused.value.problems}
    assert set(changes) - {"TLS_CERT"} <= set(problems)
    for problem in refused.value.problems:
        text = str(problem)
        for part in ("got ", "allowed: ", "because ", "to fix it: "):
            assert part in text
    assert "*.example" in problems["ALLOWED_HOSTS"].remedy


@pytest.mark.parametrize("missing", ["TLS_CERT", "TLS_KEY"])
def test_tls_without_its_files_is_refused(environment: dict[str, str], missing: str) -> None:
    """Prevents a start that fails only at the first handshake."""
    with pytest.raises(SettingsError, match=missing):
        Settings.from_environment(environment | {PREFIX + missing: ""})


def test_a_gateway_without_any_listener_is_refused(environment: dict[str, str]) -> None:
    """A process that nobody can reach looks healthy to systemd."""
    with pytest.raises(SettingsError, match="at least one of"):
        Settings.from_environment(environment | {PREFIX + "TLS_LISTEN": ""})


def test_defaults_are_safe(environment: dict[str, str]) -> None:
    """TLS on, plain off, metrics on loopback, limits on."""
    only = {
        name: value
        for name, value in environment.items()
        if name.removeprefix(PREFIX) in {"TLS_CERT", "TLS_KEY", "TOKEN_FILE"}
    }
    settings = Settings.from_environment(only)
    assert str(settings.tls_listen) == "0.0.0.0:443"
    assert settings.plain_listen is None
    assert str(settings.metrics_listen) == "127.0.0.1:9464"
    assert settings.max_queue == 32
    assert settings.drain_seconds == 25
    assert settings.max_upload_bytes == 512 * 1024 * 1024
    assert "WanVaceToVideo" in settings.required_nodes


def test_the_readme_lists_every_setting_with_its_default() -> None:
    """Prevents documentation that drifts from the program."""
    text = (GATEWAY / "README.md").read_text(encoding="utf-8")
    for key in KEYS:
        row = re.search(rf"^\| `{PREFIX}{key.name}` \| (.*?) \|", text, re.MULTILINE)
        assert row is not None, f"README.md has no row for {PREFIX}{key.name}"
        assert row[1] == (f"`{key.default}`" if key.default else "–"), key.name


def test_the_lock_pins_what_the_image_needs_and_agrees_with_the_repository() -> None:
    """One aiohttp in tests and in the image; hashes on everything."""
    own = _pins(GATEWAY / "requirements.lock")
    repository = _pins(REPOSITORY / "requirements.lock")
    assert {"aiohttp", "prometheus-client"} <= set(own)
    assert own == {name: repository[name] for name in own}
    lines = (GATEWAY / "requirements.lock").read_text("utf-8").splitlines()
    assert len([line for line in lines if "--hash=sha256:" in line]) >= len(own)
    wanted = (GATEWAY / "requirements.in").read_text("utf-8")
    for name in ("aiohttp", "prometheus-client"):
        assert f"{name}=={own[name]}" in wanted


def _pins(lock: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^ \\;]+)", lock.read_text("utf-8"), re.MULTILINE)
    return dict(found)


def test_the_expiry_of_a_certificate_is_read_without_a_connection(
    authority: Authority, tmp_path: Path
) -> None:
    """The alert "certificate ends in 14 days" rests on this number."""
    for days in (1, 400, 20_000):  # UTCTime, UTCTime, GeneralizedTime (after 2049)
        issued = authority.issue(tmp_path / "c", tmp_path / "k", days=days)
        assert certificate_expiry(tmp_path / "c") == issued.not_valid_after_utc
    (tmp_path / "c").write_text("nothing", encoding="ascii")
    with pytest.raises(ValueError, match="no PEM certificate"):
        certificate_expiry(tmp_path / "c")


def test_the_package_uses_nothing_but_its_two_requirements() -> None:
    """The image holds aiohttp and prometheus-client only; an import too many fails at start."""
    allowed = {"aiohttp", "multidict", "prometheus_client", "vace_gateway", "yarl"}
    for file in (GATEWAY / "vace_gateway").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        for name in re.findall(r"^(?:from|import) ([a-z0-9_]+)", text, re.MULTILINE):
            assert name in allowed or name in sys.stdlib_module_names, f"{file.name}: {name}"
