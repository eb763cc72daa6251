"""Programs, files, locks, redaction."""

import multiprocessing
import stat
import time
from pathlib import Path

import pytest

from infra.node.vace_node.errors import CommandError, NodeError
from infra.node.vace_node.system import boot_id, exclusive, redact, run, write_file


def test_output_and_status_of_a_program_are_returned() -> None:
    """stderr belongs to it: podman reports its progress there."""
    seen: list[str] = []
    result = run(["sh", "-c", "echo one; echo two >&2; exit 3"], check=False, on_line=seen.append)
    assert result.returncode == 3
    assert sorted(seen) == ["one", "two"]
    assert result.stdout == "one\ntwo\n"


def test_failure_carries_the_end_of_the_output() -> None:
    """The last lines hold the cause."""
    with pytest.raises(CommandError, match="status 4: because") as caught:
        run(["sh", "-c", "echo because; exit 4"])
    assert caught.value.status == 4


def test_missing_program_is_an_error_of_ours() -> None:
    """Not a FileNotFoundError that nobody catches."""
    with pytest.raises(CommandError, match="no-such-program could not be started"):
        run(["no-such-program"])


def test_program_is_ended_at_its_limit() -> None:
    """A hanging mount or pull must not stop the node for ever."""
    with pytest.raises(CommandError, match=r"did not end within 0 s.*(?s:.)*begun"):
        run(["sh", "-c", "echo begun; exec sleep 60"], timeout=0.3)


def test_daemon_that_keeps_the_output_open_is_not_waited_for() -> None:
    """podman's monitor outlives it and inherits its output."""
    started = time.monotonic()
    run(["sh", "-c", "sleep 5 & echo started"])
    assert time.monotonic() - started < 4


def test_file_is_written_once_and_its_mode_kept(tmp_path: Path) -> None:
    """Unchanged content must not count as a change, or services would restart."""
    path = tmp_path / "a" / "b"
    assert write_file(path, "text", mode=0o400)
    assert not write_file(path, "text", mode=0o400)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert write_file(path, "text", mode=0o600)
    assert write_file(path, "other", mode=0o600)
    assert [item.name for item in path.parent.iterdir()] == ["b"]


def _hold(path: Path, held: "multiprocessing.synchronize.Event") -> None:
    with exclusive(path, wait=1):
        held.set()
        time.sleep(60)


def test_lock_is_exclusive_and_freed_by_a_kill(tmp_path: Path) -> None:
    """Timer and Cloud Assistant start runs at the same moment; one may be killed half-way."""
    path = tmp_path / "lock"
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=_hold, args=(path, held))
    process.start()
    try:
        assert held.wait(10)
        with pytest.raises(NodeError, match=f"process {process.pid}"), exclusive(path, wait=0):
            pass
    finally:
        process.kill()
        process.join()
    with exclusive(path, wait=1):
        pass


def test_boot_has_one_id_until_run_is_emptied(tmp_path: Path) -> None:
    """With a new id for each process, no report would ever count as one of this boot."""
    path = tmp_path / "id"
    first = boot_id(path)
    assert boot_id(path) == first
    assert [item.name for item in tmp_path.iterdir()] == ["id"]
    path.unlink()
    assert boot_id(path) != first


@pytest.mark.parametrize(
    "text",
    [
        "key LTAI5tSECRETSECRET used",
        "token=SECRETSECRET",
        '{"AccessKeySecret": "SECRETSECRET", "x": 1}',
        "x-acs: 1, SecurityToken=SECRETSECRET&a=1",
        "Authorization: Bearer SECRETSECRET",
        "a\n-----BEGIN EC PRIVATE KEY-----\nSECRETSECRET\n-----END EC PRIVATE KEY-----\nb",
        "a -----BEGIN PRIVATE KEY-----\nSECRETSECRET cut off",
        "the value known-SECRETSECRET itself",
    ],
)
def test_secrets_are_redacted(text: str) -> None:
    """Log lines travel to the operator's terminal and into CI logs."""
    assert "SECRETSECRET" not in redact(f" {text}", ["known-SECRETSECRET"])


def test_ordinary_lines_are_left_alone() -> None:
    """A log that is all [redacted] tells nothing."""
    text = "GetSecretParameter of vace-dev-token failed: the token must be 32 characters"
    assert redact(text) == text
