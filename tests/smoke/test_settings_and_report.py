"""Where a run gets its target from, and what it leaves behind."""

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from smoke_tests import levels, settings
from smoke_tests.comfy_client import BadTarget, Progress
from smoke_tests.media import Finding, MediaError
from smoke_tests.phases import PhaseClock, phase_of, totals
from smoke_tests.report import Report, earlier_hashes
from smoke_tests.session import repeat_command
from smoke_tests.settings import Settings
from smoke_tests.terminal import ProgressLines, TimeLeft


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


def test_progress_in_a_log_shows_steps_and_time_left_and_no_flood(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a silent minute, and a thousand lines."""
    lines: list[str] = []
    now = iter([0.0, *map(float, range(41))])
    monkeypatch.setattr("smoke_tests.terminal.time.monotonic", lambda: next(now))
    monkeypatch.setattr("smoke_tests.terminal.announce", lambda _, line: lines.append(line))
    show = ProgressLines(pytestconfig)
    for step in range(41):
        show(Progress("running", 2.5 * step, node_type="KSampler", value=step, maximum=40))
    assert len(lines) == 9
    assert "[....................]   0 %  KSampler 0/40" in lines[0]
    assert "[#####...............]  25 %  KSampler 10/40  about 0:30 left" in lines[2]
    assert "[####################] 100 %  KSampler 40/40" in lines[-1]


def test_nothing_is_said_of_the_rest_of_a_short_wait() -> None:
    """Prevents guesses from the first moments, which jump about, and words about two seconds."""
    left = TimeLeft()
    assert left(0, 100.0) == ""
    assert left(40, 101.0) == ""
    assert left(50, 110.0) == "about 0:10 left"
    assert left(100, 120.0) == ""


def test_levels_choose_what_runs_and_an_unknown_one_is_refused() -> None:
    """Prevents a quick run that makes a big video, and a full one that leaves files out."""
    quick = {stem for stem in levels.FILES if levels.belongs(stem, "quick")}
    assert quick == {"test_health", "test_auth", "test_door", "test_models", "test_tiny_graph"}
    assert levels.belongs("test_reference_workflow", levels.DEFAULT_LEVEL)
    assert not levels.belongs("test_workflows", levels.DEFAULT_LEVEL)
    files = {path.stem for path in Path(levels.__file__).parent.glob("test_*.py")}
    assert files == set(levels.FILES)
    with pytest.raises(BadTarget, match="allowed are quick, reference, full"):
        _resolve(url="http://127.0.0.1:8188", level_name="all")


def test_time_is_told_by_phases() -> None:
    """Prevents a report in which decoding counts as sampling, or a phase that never ends."""
    now = iter([0.0, 0.0, 2.0, 2.0, 3.0, 3.0, 3.0, 5.0, 7.0, 7.0, 7.5, 9.0])
    clock = PhaseClock(clock=lambda: next(now))
    clock(Progress("queued", 0))
    clock(Progress("running", 1, node_type="UNETLoader"))
    clock(Progress("running", 2, node_type="KSampler", value=0, maximum=2))
    clock(Progress("running", 50, node_type="KSampler", value=1, maximum=2))
    clock(Progress("running", 90, node_type="VAEDecode"))
    clock.stop()
    assert list(totals(clock.spans)) == ["queue", "load", "sample", "decode"]
    assert clock.step_s == [2.0]
    assert [phase_of(name) for name in ("CLIPTextEncode", "VHS_VideoCombine", "INTConstant")] == [
        "text", "encode", "prepare",
    ]  # fmt: skip


PULUMI = """#!/bin/sh
echo "$@" > "$ARGUMENTS"
test -z "$SAYS" || { echo "error: $SAYS" >&2; exit 255; }
printf '%s' "$PRINTS"
"""


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name that prints $PRINTS, or fails with $SAYS; where its arguments go."""
    program = tmp_path / "bin" / "pulumi"
    program.parent.mkdir()
    program.write_text(PULUMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("ARGUMENTS", str(tmp_path / "arguments"))
    outputs = {"url": "https://203.0.113.7", "apiToken": "from-pulumi", "zone": "b"}
    monkeypatch.setenv("PRINTS", json.dumps(outputs))
    monkeypatch.setenv("SAYS", "")
    return tmp_path / "arguments"


def test_a_stack_is_read_from_pulumi_and_its_token_is_in_no_command(
    pulumi: Path, tmp_path: Path
) -> None:
    """Prevents copying secrets by hand, and a token that every user of the machine sees."""
    found = _resolve(stack="prod", stack_dir=str(tmp_path))
    assert found
    assert (found.target.url, found.target.token) == ("https://203.0.113.7", "from-pulumi")
    said = pulumi.read_text()
    assert said.startswith("stack output --json --show-secrets --non-interactive --stack prod")
    command = repeat_command(found)
    assert command.startswith("python -m smoke_tests --stack prod --stack-dir ")
    assert "from-pulumi" not in command


@pytest.mark.parametrize(
    ("says", "advice"),
    [
        ("no stack named 'prod' found", "pulumi stack ls"),
        ("PULUMI_ACCESS_TOKEN must be set for login during non-interactive", "Log in"),
        ("passphrase must be set with PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"),
        ("no Pulumi.yaml project file found", "--stack-dir"),
        ("something else", "by hand"),
    ],
)
def test_what_pulumi_says_is_passed_on_with_advice(
    says: str, advice: str, pulumi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a wall of Pulumi's words without what to do."""
    monkeypatch.setenv("SAYS", says)
    with pytest.raises(BadTarget, match="--stack prod could not be read") as caught:
        _resolve(stack="prod")
    assert says in str(caught.value)
    assert advice in caught.value.remedy


def test_a_stack_without_pulumi_or_with_other_sources_is_refused(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a traceback where a program is missing, and a run against the wrong source."""
    with pytest.raises(BadTarget, match="only one of them"):
        _resolve(stack="prod", outputs=str(outputs))
    with pytest.raises(BadTarget, match="without --stack"):
        _resolve(stack_dir=str(tmp_path))
    with pytest.raises(BadTarget, match="take for an option"):
        _resolve(stack="--show-secrets")
    with pytest.raises(BadTarget, match="is no folder"):
        _resolve(stack="prod", stack_dir=str(tmp_path / "away"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadTarget, match="not on the PATH"):
        _resolve(stack="prod")


def test_a_stack_without_url_is_refused(pulumi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents testing a service that an unfinished deployment does not have."""
    monkeypatch.setenv("PRINTS", json.dumps({"zone": "b"}))
    with pytest.raises(BadTarget, match=r"has no output 'url' \(its outputs: zone\)"):
        _resolve(stack="prod")


def test_the_command_that_repeats_a_run_has_its_options_and_no_secret(
    token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a report that cannot be repeated, or one that carries the token."""
    found = _resolve(
        url="https://203.0.113.7", token_file=str(token_file), level_name="full", stall_s=5.0,
        restart_command="systemctl restart 'comfy ui'",
    )  # fmt: skip
    assert found
    assert found.restart_command == ("systemctl", "restart", "comfy ui")
    command = repeat_command(found, keyword="style and en")
    assert command.split()[3:7] == ["--url", "https://203.0.113.7", "--token-file", str(token_file)]
    assert "--level full --timeout 60 --stall-seconds 5" in command
    assert "-k 'style and en'" in command
    assert "from-file" not in command
    monkeypatch.setenv("VACE_API_TOKEN", "from-variable")
    by_variable = _resolve(url="https://203.0.113.7")
    assert by_variable
    assert repeat_command(by_variable).endswith("# with the token in VACE_API_TOKEN")


def test_periods_are_exact() -> None:
    """Prevents a rate such as 29.97 from being rounded into a wrong duration."""
    from smoke_tests.media import Expectation  # noqa: PLC0415

    assert Expectation(16, 16, 30, Fraction(30000, 1001)).seconds == pytest.approx(1.001)


def test_a_warning_that_many_videos_share_is_said_once() -> None:
    """Prevents twenty equal lines in front of the one note that matters."""
    report = Report(url="https://host", run_id="r")
    slow = Finding("faststart", "moov last", "moov first", "", level="warning")
    for video in ("a", "b", "c", "d", "e"):
        if video != "e":
            report.finding(slow, video=video)
        report.finding(Finding("mp4", "fine", "fine", ""), video=video)
    report.finding(Finding("colour_levels", "few", "many", "", level="warning"), video="e")
    assert report.warnings() == [
        "4 of 5 videos: faststart: moov last; better moov first",
        "e: colour_levels: few; better many",
    ]
