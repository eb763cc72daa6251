"""What the emulated cloud remembers: tables of rows, by account and region, in one JSON file.

The file is replaced atomically and before a client hears that its change was made, so a killed
emulator comes back with everything that it acknowledged.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import string
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rehearsal.cloud.clusters import ClusterEngine, NullClusters
from rehearsal.cloud.credentials import CredentialStore
from rehearsal.cloud.hypervisor import Hypervisor, NullHypervisor
from rehearsal.cloud.transitions import is_gone
from rehearsal.cloud.vault import Vault, write_private

SCHEMA = 1

# Resource ids carry a code of their region; these are the ones seen in Alibaba's documentation.
_REGION_CODES = {
    "cn-hangzhou": "bp1",
    "cn-shanghai": "uf6",
    "cn-beijing": "2ze",
    "cn-shenzhen": "wz9",
    "cn-zhangjiakou": "8vb",
    "cn-wulanchabu": "0jl",
    "cn-hongkong": "j6c",
    "ap-southeast-1": "t4n",
}
_ID_ALPHABET = string.ascii_lowercase + string.digits

Tables = dict[str, dict[str, dict[str, Any]]]


class StateError(RuntimeError):
    """The state directory cannot be used."""


@dataclass
class Settings:
    """How this emulator was started.

    ``time_scale`` multiplies the duration of every status change (0.01 makes a five second step
    last 50 ms). ``public_prefix`` is the network that elastic addresses come from.
    """

    account: str = "1234567890123456"
    region: str = "cn-hangzhou"
    time_scale: float = 1.0
    public_prefix: str = "203.0.113.0/28"


class RegionState:
    """The tables of one region of one account.

    Tables whose name starts with an underscore are bookkeeping: they do not count as resources
    when somebody asks whether the cloud is empty.
    """

    def __init__(self, account: str, name: str, tables: Tables) -> None:
        self.account = account
        self.name = name
        self._tables = tables

    def table(self, name: str) -> dict[str, dict[str, Any]]:
        """The table of this name; made empty when it does not exist. Rows must be JSON-able."""
        return self._tables.setdefault(name, {})


class AccountState:
    """The tables of one account that belong to no region (RAM, OSS bucket names ...)."""

    def __init__(self, name: str, tables: Tables, regions: dict[str, Tables]) -> None:
        self.name = name
        self._tables = tables
        self._regions = regions

    def table(self, name: str) -> dict[str, dict[str, Any]]:
        """The table of this name; made empty when it does not exist. Rows must be JSON-able."""
        return self._tables.setdefault(name, {})

    def region(self, name: str) -> RegionState:
        """The tables of one region of this account."""
        return RegionState(self.name, name, self._regions.setdefault(name, {}))

    def regions(self) -> list[RegionState]:
        """Every region that has had a table."""
        return [self.region(name) for name in list(self._regions)]


class Cloud:
    """Everything that a service needs besides the request.

    Attributes:
        lock: re-entrant; held by the dispatcher while an action runs. Hold it when touching rows
            from anywhere else (a background thread, the metadata service).
        settings: how the emulator was started.
        hypervisor: runs the machines.
        clusters: runs the Kubernetes clusters.
        credentials: access keys and role sessions.
        vault: encrypts values that must not lie readable in the state file.
        stock_overrides: ``"zone/instance_type"`` to in stock or not, set through the control
            interface; read-only for services.
        state_dir: folder for anything a service keeps outside the tables (object bodies).
    """

    def __init__(
        self,
        state_dir: Path,
        settings: Settings | None = None,
        hypervisor: Hypervisor | None = None,
        clock: Callable[[], float] = time.time,
        clusters: ClusterEngine | None = None,
    ) -> None:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.state_dir = state_dir
        self.settings = settings or Settings()
        self.hypervisor: Hypervisor = hypervisor or NullHypervisor()
        self.clusters: ClusterEngine = clusters or NullClusters()
        self.lock = threading.RLock()
        self._clock = clock
        self._path = state_dir / "state.json"
        self._lock_file = _take_directory(state_dir)
        self.vault = Vault(state_dir / "vault.key")
        self.stock_overrides: dict[str, bool] = {}
        self._accounts: dict[str, dict[str, Any]] = {}
        self._background: list[threading.Thread] = []
        self.closing = threading.Event()
        self._load()
        self.credentials = CredentialStore(self)

    # ---- tables

    def account(self, account: str) -> AccountState:
        """The account-wide tables of ``account``."""
        raw = self._accounts.setdefault(account, {"tables": {}, "regions": {}})
        return AccountState(account, raw["tables"], raw["regions"])

    def region(self, account: str, region: str) -> RegionState:
        """The tables of ``region`` in ``account``."""
        return self.account(account).region(region)

    def accounts(self) -> list[AccountState]:
        """Every account that has had a table."""
        return [self.account(name) for name in list(self._accounts)]

    def rows(self, table: str) -> Iterator[tuple[RegionState, str, dict[str, Any]]]:
        """Every row of a regional table in all accounts and regions: (region, key, row)."""
        for account in self.accounts():
            for region in account.regions():
                for key, row in list(region.table(table).items()):
                    yield region, key, row

    def instance_by_private_ip(self, address: str) -> dict[str, Any] | None:
        """A copy of the row of the instance with this private address, with ``Account`` added."""
        with self.lock:
            for region, _, row in self.rows("instances"):
                # A released instance keeps its row for a while; its address may have a new owner.
                if row.get("PrivateIp") == address and not is_gone(row, self.clock()):
                    return {**row, "Account": region.account, "RegionId": region.name}
        return None

    # ---- identifiers and time

    def clock(self) -> float:
        """Seconds since the epoch; a test may have replaced it."""
        return self._clock()

    def timestamp(self, at: float | None = None) -> str:
        """A moment (now when left out) as ``2026-01-31T08:00:00Z``."""
        moment = datetime.fromtimestamp(self.clock() if at is None else at, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def new_id(self, prefix: str, region: str | None = None) -> str:
        """A fresh resource id as the real cloud forms them: ``vpc-bp1`` and 17 characters."""
        code = _REGION_CODES.get(region or self.settings.region, "bp1")
        tail = "".join(secrets.choice(_ID_ALPHABET) for _ in range(17))
        return f"{prefix}-{code}{tail}"

    def request_id(self) -> str:
        """A fresh request id (an upper-case UUID)."""
        return str(uuid.uuid4()).upper()

    # ---- persistence

    def save(self) -> None:
        """Write the state to disk; when this returns, a killed process does not lose it."""
        with self.lock:
            document = {
                "schema": SCHEMA,
                "accounts": self._accounts,
                "stock_overrides": self.stock_overrides,
            }
            write_private(self._path, json.dumps(document, separators=(",", ":")).encode())

    def dump(self) -> dict[str, Any]:
        """A deep copy of all tables, for the control interface and for tests."""
        with self.lock:
            copy: dict[str, Any] = json.loads(json.dumps(self._accounts))
            return copy

    def reset(self) -> None:
        """Forget everything except the access keys."""
        with self.lock:
            keys = {a.name: dict(a.table("_access_keys")) for a in self.accounts()}
            self._accounts.clear()
            self.stock_overrides.clear()
            for name, rows in keys.items():
                self.account(name).table("_access_keys").update(rows)
            self.save()

    def _load(self) -> None:
        if not self._path.exists():
            return
        try:
            document = json.loads(self._path.read_text())
        except ValueError as error:
            raise StateError(
                f"{self._path} is not JSON ({error}). Restore it from a copy, or move the "
                "directory away to start with an empty cloud."
            ) from error
        if document.get("schema") != SCHEMA:
            raise StateError(
                f"{self._path} has schema {document.get('schema')!r}; this emulator reads "
                f"{SCHEMA}. Move the directory away to start with an empty cloud."
            )
        self._accounts = document["accounts"]
        self.stock_overrides = document["stock_overrides"]

    # ---- work beside requests

    def background(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Run ``work`` in a thread of its own; :meth:`close` waits for it.

        ``work`` takes ``lock`` itself around the parts that touch rows, calls :meth:`save` after
        a change, and ends soon after ``closing`` is set.
        """
        thread = threading.Thread(target=work, name=name, daemon=True)
        with self.lock:
            self._background = [t for t in self._background if t.is_alive()]
            self._background.append(thread)
        thread.start()
        return thread

    def close(self, timeout_s: float = 10.0) -> None:
        """Stop background work, save, and let go of the directory."""
        self.closing.set()
        deadline = time.monotonic() + timeout_s
        for thread in list(self._background):
            thread.join(max(0.0, deadline - time.monotonic()))
        self.save()
        self._lock_file.close()


def _take_directory(state_dir: Path) -> Any:
    """Make sure that one process at a time uses the directory."""
    stream = (state_dir / "lock").open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise StateError(
            f"{state_dir} is in use by another emulator; one directory serves one process. Stop "
            "the other one, or give another directory with --state."
        ) from None
    return stream
