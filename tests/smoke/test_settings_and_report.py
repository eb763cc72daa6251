"""Where a run gets its target from, and what it leaves behind."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from smoke_tests import settings
from smoke_tests.comfy_client import BadTarget, Progress
from smoke_tests.media import Finding, MediaError
from smoke_tests.report import Report, earlier_hashes
from smoke_tests.settings import Settings
from smoke_tests.terminal import ProgressLines


def _resolve(environ: dict[str, str] | None = None, **options: Any) -> Settings | None:
    given: dict[str, Any] = {
        "url": None,
        "token_file": None,
        "ca_file": None,
        "outputs": None,
        "artifacts": None,
        "timeout_s": 60.0,
        "allow_simulated": False,
        "allow_plain_http": False,
    }
    return settings.resolve(**(given | options), environ=environ or {})


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A stack's outputs as Pulumi prints them."""
    path = tmp_path / "outputs.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"url": "https://203.0.113.7", "apiToken": "from-stack"}))
    return path


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A token file."""
    (tmp_path / "token").write_text("from-file")
    return tmp_path / "token"


def test_without_a_service_there_are_no_settings() -> None:
    """Prevents a run against a default that nobody named."""
    assert _resolve() is None


def test_options_go_before_outputs_and_outputs_before_the_environment(
    outputs: Path, token_file: Path
) -> None:
    """Prevents testing another service than the one on the command line."""
    environ = {"VACE_URL": "https://env.example", "VACE_TOKEN_FILE": str(token_file)}
    by_environment = _resolve(environ)
    by_outputs = _resolve(environ, outputs=str(outputs))
    by_option = _resolve(
        environ, outputs=str(outputs), url="https://option.example", token_file=str(token_file)
    )
    assert by_environment
    assert by_outputs
    assert by_option
    assert (by_environment.target.url, by_environment.target.token) == (
        "https://env.example",
        "from-file",
    )
    assert (by_outputs.target.url, by_outputs.target.token) == (
        "https://203.0.113.7",
        "from-stack",
    )
    assert (by_option.target.url, by_option.target.token) == (
        "https://option.example",
        "from-file",
    )


@pytest.mark.parametrize(
    ("content", "mode", "part"),
    [
        ({"url": "https://h", "apiToken": "t"}, 0o644, "chmod 600"),
        ({"url": "https://h", "apiToken": "[secret]"}, 0o600, "--show-secrets"),
        ({"apiToken": "t"}, 0o600, "no text under 'url'"),
        (["url"], 0o600, "no text under 'url'"),
        ({"url": "https://h", "apiToken": "t", "caCertificate": "no PEM"}, 0o600, "PEM form"),
    ],
    ids=["readable by others", "without secrets", "without url", "a list", "bad authority"],
)
def test_an_outputs_file_that_cannot_be_used_is_refused(
    content: Any, mode: int, part: str, tmp_path: Path
) -> None:
    """Prevents a token that others can read, and a 401 that nobody understands."""
    path = tmp_path / "outputs.json"
    path.touch()
    path.chmod(mode)
    path.write_text(json.dumps(content))
    with pytest.raises(BadTarget, match=part):
        _resolve(outputs=str(path))


def test_only_this_machine_may_be_tested_without_a_token() -> None:
    """Prevents a green run on a service that is open to everybody."""
    with pytest.raises(BadTarget, match="without a token"):
        _resolve(url="https://203.0.113.7")
    local = _resolve(url="http://127.0.0.1:8188")
    assert local is not None
    assert not local.guarded


def test_a_timeout_must_leave_time() -> None:
    """Prevents a run that ends before it begins."""
    with pytest.raises(BadTarget, match="more than 0 seconds"):
        _resolve(url="http://127.0.0.1:8188", timeout_s=0.0)


def test_the_report_remembers_the_hashes_of_earlier_videos(tmp_path: Path) -> None:
    """Prevents an old video from passing for new in the next run."""
    assert earlier_hashes(tmp_path) == []
    for sha256 in ("one", "two", "one"):
        report = Report(url="https://h", run_id="r", seen_sha256=earlier_hashes(tmp_path))
        report.video = {"sha256": sha256}
        report.write(tmp_path)
    assert earlier_hashes(tmp_path) == ["two", "one"]
    (tmp_path / "report.json").write_text("{")
    assert earlier_hashes(tmp_path) == []


def test_the_report_keeps_findings_of_every_level(tmp_path: Path) -> None:
    """Prevents a report that shows only what went well."""
    report = Report(url="https://h", run_id="r")
    report.finding(Finding("a", "1", "1", "Fine."))
    report.finding(Finding("b", "2", "3", "Could be better.", level="warning"))
    report.finding(MediaError("c", measured="4", limit="5", reason="Bad."))
    content = json.loads(report.write(tmp_path / "new").read_text())
    assert [finding["level"] for finding in content["findings"]] == ["ok", "warning", "failed"]
    assert content["schema"] == 1
    assert report.warnings() == ["b: 2; better 3"]


def test_progress_shows_the_first_and_last_line_and_no_flood(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a silent minute, and a thousand lines."""
    lines: list[str] = []
    now = iter([0.0, 0.0, *(n / 10 for n in range(1, 100))])
    monkeypatch.setattr("smoke_tests.terminal.time.monotonic", lambda: next(now))
    monkeypatch.setattr("smoke_tests.terminal.announce", lambda _, line: lines.append(line))
    show = ProgressLines(pytestconfig)
    for step in range(41):
        show(Progress("running", 2.5 * step, node_type="KSampler", value=step, maximum=40))
    assert len(lines) == 5
    assert "0 %  KSampler 0/40" in lines[0]
    assert "100 %  KSampler 40/40" in lines[-1]


def test_periods_are_exact() -> None:
    """Prevents a rate such as 29.97 from being rounded into a wrong duration."""
    from smoke_tests.media import Expectation  # noqa: PLC0415

    assert Expectation(16, 16, 30, Fraction(30000, 1001)).seconds == pytest.approx(1.001)
