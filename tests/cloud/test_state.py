"""What the emulator remembers, and that nothing acknowledged is ever lost."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_oos20190601 import models as oos
from alibabacloud_oos20190601.client import Client as OosClient
from alibabacloud_tea_openapi.models import Config

from rehearsal.cloud.state import Cloud, StateError
from rehearsal.cloud.transitions import GONE, Transition, begin, settle, settled, sweep
from rehearsal.cloud.vault import VaultError

from .conftest import RunningCloud


def put_secret(client: Any, name: str, value: str) -> None:
    """Create a secret parameter."""
    client.create_secret_parameter(oos.CreateSecretParameterRequest(name=name, value=value))


def get_secret(client: Any, name: str) -> str:
    """Read a secret parameter's value."""
    request = oos.GetSecretParameterRequest(name=name, with_decryption=True)
    value: str = client.get_secret_parameter(request).body.parameter.value
    return value


def test_state_and_keys_survive_a_stop(cloud: RunningCloud) -> None:
    """Prevents a rehearsal from losing its cloud when the emulator restarts."""
    put_secret(cloud.client("oos"), "stack-token", "s3cret-value")
    key = cloud.key
    cloud.restart()
    assert cloud.key == key
    assert get_secret(cloud.client("oos"), "stack-token") == "s3cret-value"


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """Prevents lost writes: the answer may only leave after the state is on disk."""
    state = tmp_path / "state"
    command = [sys.executable, "-m", "rehearsal.cloud", "serve", "--state", str(state)]
    names = [f"stack-{number}" for number in range(5)]
    for names_before, name in [(names[:i], name) for i, name in enumerate(names)]:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline().startswith("cloud ")
                facts = json.loads((state / "endpoint.json").read_text())
                client = OosClient(
                    Config(
                        access_key_id=facts["access_key_id"],
                        access_key_secret=Path(facts["access_key_secret_file"]).read_text(),
                        endpoint=facts["endpoint"],
                        region_id=facts["region"],
                        protocol="https",
                        ca=facts["ca"],
                    )
                )
                for earlier in names_before[-1:]:
                    assert get_secret(client, earlier) == earlier
                put_secret(client, name, name)
            finally:
                process.send_signal(signal.SIGKILL)


def test_a_term_signal_ends_it_in_good_order(tmp_path: Path) -> None:
    """Prevents a stop that leaves an endpoint.json pointing at nobody."""
    state = tmp_path / "state"
    command = [sys.executable, "-m", "rehearsal.cloud", "serve", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("cloud ")
        control = json.loads((state / "endpoint.json").read_text())["control"]
        with urllib.request.urlopen(f"{control}/health", timeout=5) as answer:
            assert json.load(answer)["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
    assert not (state / "endpoint.json").exists()


def test_no_secret_lies_readable_in_the_state_directory(cloud: RunningCloud) -> None:
    """Prevents tokens and key secrets from leaking through state files and logs."""
    client = cloud.client("oos")
    put_secret(client, "stack-token", "s3cret-value-that-must-not-leak")
    get_secret(client, "stack-token")
    request = oos.CreateSecretParameterRequest(
        name="again", value="s3cret-value-that-must-not-leak", client_token="token-1"
    )
    client.create_secret_parameter(request)
    secret_file = cloud.state_dir / "access-key-secret"
    for path in cloud.state_dir.iterdir():
        data = path.read_bytes()
        assert b"s3cret-value-that-must-not-leak" not in data, path
        assert path == secret_file or cloud.key.secret.encode() not in data, path
    for name in ("access-key-secret", "ca-key.pem", "server-key.pem", "state.json", "vault.key"):
        assert stat.S_IMODE((cloud.state_dir / name).stat().st_mode) == 0o600, name


def test_one_directory_serves_one_process(cloud: RunningCloud) -> None:
    """Prevents two emulators from overwriting each other's state."""
    with pytest.raises(StateError, match="in use by another emulator"):
        Cloud(cloud.state_dir)


def test_a_broken_state_file_is_named(tmp_path: Path) -> None:
    """Prevents a truncated file from being taken for an empty cloud."""
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StateError, match=r"state\.json is not JSON"):
        Cloud(tmp_path)


def test_a_foreign_vault_key_is_noticed(tmp_path: Path) -> None:
    """Prevents secrets from being answered as garbage after a key file was swapped."""
    cloud = Cloud(tmp_path / "one")
    other = Cloud(tmp_path / "two")
    sealed = cloud.vault.seal("value")
    assert cloud.vault.open(sealed) == "value"
    with pytest.raises(VaultError, match="belong together"):
        other.vault.open(sealed)
    cloud.close()
    other.close()


class TestTransitions:
    """Statuses that change with time."""

    def test_steps_follow_each_other(self) -> None:
        """Prevents a resource from being ready before its time, or never."""
        row: dict[str, Any] = {}
        steps = (Transition("Pending", "Starting", 1), Transition("Starting", "Running", 2))
        begin(row, 100.0, *steps)
        assert [settled(row, at) for at in (100.0, 100.9, 101.0, 102.9, 103.0)] == [
            "Pending",
            "Pending",
            "Starting",
            "Starting",
            "Running",
        ]
        assert settle(row, 102.0) == "Starting"
        assert row["Status"] == "Pending"
        assert settle(row, 103.0) == "Running"
        assert row == {"Status": "Running"}

    def test_the_scale_shortens_them(self) -> None:
        """Prevents tests from waiting as long as the real cloud."""
        row: dict[str, Any] = {}
        begin(row, 0.0, Transition("Pending", "Available", 5), scale=0.01)
        assert settled(row, 0.06) == "Available"

    def test_a_deleted_row_disappears(self) -> None:
        """Prevents a deleted resource from being listed for ever."""
        table: dict[str, dict[str, Any]] = {"vpc-1": {}, "vpc-2": {"Status": "Available"}}
        begin(table["vpc-1"], 0.0, Transition("Deleting", GONE, 2))
        assert sweep(table, 1.0) == []
        assert sweep(table, 2.0) == ["vpc-1"]
        assert list(table) == ["vpc-2"]

    def test_steps_that_do_not_join_are_refused(self) -> None:
        """Prevents a service from describing an impossible life."""
        with pytest.raises(ValueError, match="do not join"):
            begin({}, 0.0, Transition("A", "B", 1), Transition("C", "D", 1))
