"""The command: results on disk, exit statuses, and no secret or half file left anywhere."""

import io
import json
from pathlib import Path

import pytest

from smoke_tests import reference
from smoke_tests.comfy_client import BadTarget, Target
from smoke_tests.comfy_client.command import main
from smoke_tests.comfy_client.progress import Progress
from smoke_tests.comfy_client.progress_line import ProgressLine
from tests.smoke.conftest import Server
from tests.smoke.scripted_comfyui import RECORDINGS, Reply, ScriptedComfyUI

WORKFLOW = str(reference.WORKFLOW_FILE)
VIDEO = bytes(range(256)) * 40


@pytest.fixture
def service(server: ScriptedComfyUI, monkeypatch: pytest.MonkeyPatch) -> ScriptedComfyUI:
    """A scripted server with one job whose video can be fetched, named by the environment."""
    server.job(RECORDINGS["reference_history"], RECORDINGS["reference_events"])
    server.replies["GET /view"] = [Reply(body=VIDEO)]
    server.replies["POST /upload/image"] = [Reply(json={"name": "up (1).png", "subfolder": ""})]
    monkeypatch.setenv("VACE_URL", server.url)
    return server


def test_run_uploads_submits_and_writes_the_video(
    service: ScriptedComfyUI, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents options that do not reach the graph, and a name that the server had changed."""
    picture, out = tmp_path / "r.png", tmp_path / "out.mp4"
    picture.write_bytes(reference.example_image())
    numbers = "--seed 9 --size 832x480 --frames 81 --steps 4 --cfg 5 --strength 0.5 --fps 24"
    files = ["--out", str(out), "--image", str(picture)]
    status = main(["run", WORKFLOW, *files, "--prompt", "a fox", *numbers.split(), "--json"])
    assert status == 0
    assert out.read_bytes() == VIDEO
    told = json.loads(capsys.readouterr().out)
    assert (told["seed"], told["bytes"]) == (9, len(VIDEO))
    (body,) = service.bodies("/prompt")
    graph = body["prompt"]
    assert graph["18"]["inputs"]["image"] == "up (1).png"
    assert graph["15"]["inputs"]["text"] == "a fox"
    assert (
        graph["17"]["inputs"] | {"width": 832, "height": 480, "strength": 0.5}
        == (graph["17"]["inputs"])
    )
    assert graph["24"]["inputs"] | {"seed": 9, "steps": 4, "cfg": 5} == graph["24"]["inputs"]
    assert (graph["21"]["inputs"]["value"], graph["32"]["inputs"]["frame_rate"]) == (81, 24)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "r.png"]


def test_an_earlier_result_is_not_overwritten_without_force(
    service: ScriptedComfyUI, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents losing a video that cost GPU time; nothing may even be submitted."""
    out = tmp_path / "out.mp4"
    out.write_bytes(b"earlier")
    assert main(["run", WORKFLOW, "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == b"earlier"
    assert not service.seen
    assert main(["run", WORKFLOW, "--out", str(out), "--force"]) == 0
    assert out.read_bytes() == VIDEO


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["run", "nowhere.json", "--out", "x.mp4"], 2, "cannot be read as a workflow"),
        (["run", "no_such_recipe", "--out", "x.mp4"], 2, "neither a file nor a shipped workflow"),
        (["run", WORKFLOW, "--out", "x.mp4", "--frames", "10"], 2, "4n+1"),
        (["run", WORKFLOW, "--out", "x.mp4", "--video", "no.mp4"], 2, "--video is no.mp4"),
        (["run", WORKFLOW, "--out", "no/such/folder/x.mp4"], 2, "a folder that exists"),
        (["check", "--url", "http://127.0.0.1:9"], 3, "cannot be reached"),
        (["check", "--url", "ftp://x"], 2, "must look like https"),
    ],
)
def test_a_mistake_has_its_exit_status_and_a_sentence(  # noqa: PLR0917 - fixtures
    arguments: list[str],
    status: int,
    part: str,
    service: ScriptedComfyUI,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Prevents a traceback, and a script that cannot tell its own mistakes from the service's."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == status
    assert part in capsys.readouterr().err
    assert not service.paths("POST")


def test_failures_of_the_service_have_their_exit_statuses(
    service: ScriptedComfyUI, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents retrying a refused graph, or giving up a job that only failed to download."""
    run = ["run", WORKFLOW, "--out", str(tmp_path / "x.mp4")]
    service.replies["GET /view"] = [Reply(body=VIDEO, cut_after=10)]
    assert main(run) == 3
    service.job(RECORDINGS["error_history"])
    assert main(run) == 1
    assert "PIL.UnidentifiedImageError" in capsys.readouterr().err
    body = RECORDINGS["rejected"]["a model file that is not there"]["json"]
    service.replies["POST /prompt"] = [Reply(status=400, json=body)]
    assert main(run) == 4
    assert list(tmp_path.iterdir()) == []


def test_the_small_commands_answer(
    service: ScriptedComfyUI, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a command that parses but does nothing."""
    service.queue = {
        "queue_running": [[1, "first", {}, {}, []]],
        "queue_pending": [[5, "third", {}, {}, []], [2, "second", {}, {}, []]],
    }
    assert main(["queue", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "running": ["first"],
        "pending": ["second", "third"],
    }
    assert main(["cancel", "second", "unknown"]) == 0
    assert "second  cancelled\nunknown  was not queued" in capsys.readouterr().out
    assert service.bodies("/queue") == [{"delete": ["second"]}, {"delete": ["unknown"]}]
    service.replies["GET /object_info"] = [Reply(json={"KSampler": {}, "LoadImage": {}})]
    assert main(["nodes", "sampl"]) == 0
    assert capsys.readouterr().out == "KSampler\n"
    assert main(["check"]) == 0
    assert "ComfyUI 0.33.0" in capsys.readouterr().out
    assert main(["check", WORKFLOW]) == 4
    assert "the server has no class WanVaceToVideo" in capsys.readouterr().err
    out = tmp_path / "d.mp4"
    assert main(["download", "sub/a.mp4", "--out", str(out)]) == 0
    assert service.seen[-1].query == "filename=a.mp4&subfolder=sub&type=output"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_few_lines_and_a_terminal_one_that_changes() -> None:
    """Prevents a log of thousands of lines, and a time left that is off by a whole run."""
    for out in (io.StringIO(), _Terminal()):
        ticks = iter([float(second) for second in range(200)])
        line = ProgressLine(out, clock=lambda ticks=ticks: next(ticks))  # type: ignore[misc]
        line(Progress("queued", 0.0, position=2))
        for percent in range(0, 101, 2):
            line(Progress("running", float(percent), node_type="KSampler", value=1, maximum=20))
        line.end()
        text = out.getvalue()
        assert "number 2 in line" in text
        assert "KSampler 1/20" in text
        if isinstance(out, _Terminal):
            assert "\n" not in text
            assert "50 %  KSampler 1/20  about 25 s left" in text
            assert text.endswith("\r\x1b[K")
        else:
            assert 3 <= text.count("\n") <= 6


def test_the_token_can_come_from_the_keyring_and_only_when_asked(
    start: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a secret store that opens unasked, and one that wins over an explicit token."""
    keyring = pytest.importorskip("keyring")
    asked: list[tuple[str, str]] = []

    def password(service: str, user: str) -> str | None:
        asked.append((service, user))
        return "kept-secret" if user == "127.0.0.1" else None

    monkeypatch.setattr(keyring, "get_password", password)
    url = start(token="kept-secret").url
    assert not Target.of(url).token
    assert Target.of(url, token="given", keyring=True).token == "given"
    assert not asked
    made = Target.of(url, keyring=True)
    assert made.token == "kept-secret"
    assert asked == [("wan-vace", "127.0.0.1")]
    assert "kept-secret" not in repr(made)
    assert main(["check", "--url", url, "--keyring"]) == 0
    with pytest.raises(BadTarget, match="keyring set wan-vace host"):
        Target.of("https://host", keyring=True)


def test_a_keyring_that_cannot_be_read_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a D-Bus traceback on a machine without a desktop."""
    keyring = pytest.importorskip("keyring")

    def broken(service: str, user: str) -> str:
        raise RuntimeError("no secret service")

    monkeypatch.setattr(keyring, "get_password", broken)
    with pytest.raises(BadTarget, match=r"no secret service.*--token-file"):
        Target.of("https://host", keyring=True)
