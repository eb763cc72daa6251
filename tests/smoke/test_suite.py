"""The suite itself: against a simulated ComfyUI, behind the real gateway, and against nothing."""

import json
import os
import socket
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from smoke_tests import reference, settings
from smoke_tests.__main__ import parser
from smoke_tests.comfy_client import (
    ComfyClient,
    Deadline,
    NoOutput,
    OutOfMemory,
    Stalled,
    Target,
)
from tests.smoke.conftest import Authority
from tests.smoke.processes import REPOSITORY, running

TOKEN = "token-of-the-gateway-in-front-of-it"


@dataclass(frozen=True)
class Simulation:
    """A simulated ComfyUI: where it is, the file that asks it for a fault, its control socket."""

    url: str
    fault: Path
    control: Path


RESTART = """
import socket, sys
with socket.socket(socket.AF_UNIX) as control:
    control.connect(sys.argv[1])
    control.sendall(b'{"restart": true}\\n')
    assert b'"ok": true' in control.recv(65536)
"""


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    """A simulated ComfyUI in its own process."""
    if not (REPOSITORY / "rehearsal" / "comfyui" / "__main__.py").is_file():
        pytest.skip("SIMULATION MISSING: rehearsal/comfyui is not there; the suite was not run")
    folder = tmp_path_factory.mktemp("simulation")
    port, fault, control = folder / "port", folder / "fault", folder / "control"
    fault.touch()
    environment = {
        "COMFYUI_PORT": "0",
        "COMFYUI_BASE": str(folder),
        "SIM_STEP_SECONDS": "0.005",
        "SIM_PORT_FILE": str(port),
        "SIM_FAULT_FILE": str(fault),
        "SIM_CONTROL": str(control),
    }
    with running(
        "rehearsal.comfyui",
        environment,
        folder / "log",
        lambda: port.is_file() and bool(port.read_text().strip()),
    ):
        yield Simulation(f"http://127.0.0.1:{port.read_text().strip()}", fault, control)


@dataclass(frozen=True)
class Gateway:
    """A gateway in front of the simulation."""

    url: str
    token_file: Path
    ca_file: Path


@pytest.fixture(scope="module")
def gateway(
    simulation: Simulation,
    make_authority: Callable[..., Authority],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    """The real gateway with TLS and a token, in its own process."""
    package = REPOSITORY / "images" / "gateway"
    if not (package / "vace_gateway" / "__main__.py").is_file():
        pytest.skip("GATEWAY MISSING: images/gateway is not there; the suite was not run")
    folder = tmp_path_factory.mktemp("gateway")
    authority = make_authority()
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"https://127.0.0.1:{port}"
    environment = {
        "PYTHONPATH": str(package),
        "VACE_GATEWAY_TLS_LISTEN": f"127.0.0.1:{port}",
        "VACE_GATEWAY_TLS_CERT": str(authority.chain),
        "VACE_GATEWAY_TLS_KEY": str(authority.chain),
        "VACE_GATEWAY_TOKEN_FILE": str(token_file),
        "VACE_GATEWAY_UPSTREAM": simulation.url,
        "VACE_GATEWAY_METRICS_LISTEN": "",
        "VACE_GATEWAY_ALLOWED_HOSTS": "127.0.0.1",
    }
    trusted = Target.of(url, ca_file=authority.ca_file).ssl_context()
    assert trusted is not None

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/readyz", verify=trusted, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    with running("vace_gateway", environment, folder / "log", ready):
        yield Gateway(url, token_file, authority.ca_file)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if "VACE" not in key}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_whole_run_through_the_gateway_passes_and_leaves_its_results(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Prevents a suite that fails on a good service, or leaves nothing to look at."""
    ended = _run(
        "-m",
        "smoke_tests",
        f"--url={gateway.url}",
        f"--token-file={gateway.token_file}",
        f"--ca-file={gateway.ca_file}",
        f"--artifacts={tmp_path}",
        "--allow-simulated",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "PASSED (simulated)" in ended.stdout
    assert "SIMULATED: this ComfyUI runs no model" in ended.stdout
    assert " %  " in ended.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"]
    assert report["simulated"]
    assert report["job"]["progress"] == "websocket"
    assert {finding["check"] for finding in report["findings"]} >= {"mp4", "not_frozen"}
    assert {"upload", "queue_wait", "execution", "download", "checks", "total"} == set(
        report["timings_s"]
    )
    assert (tmp_path / report["video"]["file"]).stat().st_size == report["video"]["bytes"]
    assert (tmp_path / report["video"]["contact_sheet"]).is_file()
    phases = report["results"][0]["phases_s"]
    assert {"upload", "queue", "sample", "decode", "encode", "download"} <= set(phases)
    page = (tmp_path / "report.html").read_text()
    assert "<h1>PASSED (simulated)</h1>" in page
    assert "data:video/mp4;base64," in page
    suite = next(ET.parse(tmp_path / "junit.xml").iter("testsuite"))
    assert int(suite.attrib["tests"]) == len(report["tests"])
    assert int(suite.attrib["failures"]) == 0
    everything = ended.stdout + ended.stderr + json.dumps(report) + page
    assert TOKEN not in everything + (tmp_path / "junit.xml").read_text()


def test_a_quick_run_through_the_gateway_knocks_at_every_door(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Prevents a quick level that leaves out the door, or takes as long as the reference."""
    ended = _run(
        "-m",
        "smoke_tests",
        "--level=quick",
        f"--url={gateway.url}",
        f"--token-file={gateway.token_file}",
        f"--ca-file={gateway.ca_file}",
        f"--artifacts={tmp_path}",
        "--allow-simulated",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    passed = {test["name"] for test in report["tests"] if test["outcome"] == "passed"}
    assert passed >= {
        "test_plain_http_on_the_same_port_gets_nothing",
        "test_an_oversized_upload_is_refused_before_it_is_read",
        "test_a_websocket_without_token_is_refused",
        "test_another_sites_page_cannot_use_a_signed_in_browser",
        "test_a_tiny_graph_makes_a_video",
    }
    assert report["level"] == "quick"
    assert [video["name"] for video in report["results"]] == ["tiny"]


def test_a_full_run_stands_several_clients_cancelling_and_a_restart(
    gateway: Gateway, simulation: Simulation, tmp_path: Path
) -> None:
    """Prevents a full level whose tests of the queue, of cancelling or of a restart never pass."""
    restart = tmp_path / "restart.py"
    restart.write_text(RESTART)
    ended = _run(
        "-m",
        "smoke_tests",
        "--level=full",
        f"--url={gateway.url}",
        f"--token-file={gateway.token_file}",
        f"--ca-file={gateway.ca_file}",
        f"--artifacts={tmp_path}",
        f"--restart-command={sys.executable} {restart} {simulation.control}",
        "--allow-simulated",
        "-k=test_service or (test_workflows and outpaint-en)",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert {test["outcome"] for test in report["tests"]} == {"passed"}
    assert len(report["tests"]) == 6
    checked = {finding["check"] for finding in report["findings"]}
    assert checked >= {"keeps_inner_area", "audio", "not_noise"}


def test_a_simulated_service_fails_unless_it_is_allowed(simulation: Simulation) -> None:
    """Prevents a simulation from passing for the service."""
    ended = _run("-m", "pytest", "smoke_tests", f"--url={simulation.url}")
    assert ended.returncode == 1, ended.stdout
    assert "says that it is simulated: no model runs there" in ended.stdout
    assert "1 failed, 1 passed" in ended.stdout
    assert "deselected" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_choosing_tests_by_name_does_not_get_around_the_simulation(simulation: Simulation) -> None:
    """Prevents `-k video` from accepting what the whole suite refuses."""
    ended = _run("-m", "pytest", "smoke_tests", f"--url={simulation.url}", "-k", "makes_a_video")
    assert ended.returncode == 1, ended.stdout
    assert "says that it is simulated" in ended.stdout


@pytest.mark.parametrize("module", ["pytest", "smoke_tests"])
def test_without_a_service_one_line_is_said_and_nothing_runs(module: str, tmp_path: Path) -> None:
    """Prevents a run that looks green because it tested nothing."""
    where = ["smoke_tests"] if module == "pytest" else [f"--artifacts={tmp_path}"]
    ended = _run("-m", module, *where)
    said = (ended.stdout + ended.stderr).strip()
    assert ended.returncode == 4
    assert len(said.splitlines()) == 1
    assert "need a service: --url https://HOST" in said


def test_a_service_that_is_away_fails_with_one_reason(tmp_path: Path) -> None:
    """Prevents thirty failures that all say the same."""
    ended = _run("-m", "smoke_tests", "--url=http://127.0.0.1:9", f"--artifacts={tmp_path}")
    assert ended.returncode == 1
    assert ended.stdout.count("FAIL  ") == 1
    assert "Unreachable" in ended.stdout
    assert "not tried since test_comfyui_answers_through_the_url failed" in ended.stdout
    page = (tmp_path / "report.html").read_text()
    assert "<h1>FAILED</h1>" in page
    assert "It told nothing about itself: it was not reached." in page


def test_a_test_run_started_for_other_tests_stays_out_of_the_suite(tmp_path: Path) -> None:
    """Prevents `pytest .` from asking for a service, or testing one by accident."""
    (tmp_path / "smoke_tests").symlink_to(REPOSITORY / "smoke_tests")
    ended = _run("-m", "pytest", str(tmp_path), "-q", "-p", "no:cacheprovider")
    assert "need a service" not in ended.stdout + ended.stderr
    assert ended.returncode == 5, ended.stdout
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert project["tool"]["pytest"]["ini_options"]["testpaths"] == ["tests"]


def test_help_and_readme_name_every_option() -> None:
    """Prevents an option that only its author knows, in the help or in the README."""
    said = parser().format_help()
    readme = (REPOSITORY / "smoke_tests" / "README.md").read_text(encoding="utf-8")
    for name in settings.HELP:
        assert f"--{name.replace('_', '-')}" in said
        assert f"`--{name.replace('_', '-')}`" in readme
    assert "exit status" in said
    assert "VACE_API_TOKEN" in said


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("out_of_memory:times=1", OutOfMemory),
        ("no_output:times=1", NoOutput),
        ("stall:times=1,seconds=60", Stalled),
    ],
)
def test_a_simulated_bad_day_ends_in_its_error(
    fault: str, error: type[Exception], simulation: Simulation
) -> None:
    """Prevents that the client understands recordings, but no live server's faults."""
    simulation.fault.write_text(fault)
    graph = reference.workflow().with_inputs(seed=len(fault), filename_prefix="bad_day").graph
    graph.pop("18"), graph.pop("22"), graph.pop("23")
    try:
        with ComfyClient(Target.of(simulation.url)) as client, pytest.raises(error):
            client.run(graph, Deadline(20), stall_s=1.0)
    finally:
        simulation.fault.write_text("")
