"""Access keys of root and users, and temporary keys of role sessions."""

from __future__ import annotations

import base64
import secrets
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rehearsal.cloud.registry import Caller

if TYPE_CHECKING:
    from rehearsal.cloud.state import Cloud

_ALNUM = string.ascii_letters + string.digits
_EXPIRED_KEPT_S = 86400.0  # an expired session is answered with "expired" for a day, then unknown


@dataclass(frozen=True)
class Credential:
    """A key that can sign.

    Attributes:
        secret: the signing secret.
        security_token: the token that must accompany a temporary key; None for permanent keys.
        expiry: seconds since the epoch; None for permanent keys.
        policy: for a user key, the policy document that limits it (None: everything is allowed);
            for a session, the inline policy given to AssumeRole.
    """

    access_key_id: str
    secret: str = field(repr=False)
    caller: Caller
    security_token: str | None = field(default=None, repr=False)
    expiry: float | None = None
    policy: dict[str, Any] | None = None


class CredentialStore:
    """Finds, makes and removes keys. Secrets are sealed in the state file."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def find(self, access_key_id: str) -> Credential | None:
        """The key of this id, expired or not; None when there is none."""
        cloud = self._cloud
        with cloud.lock:
            for account in cloud.accounts():
                for table in ("_access_keys", "_sts_sessions"):
                    row = account.table(table).get(access_key_id)
                    if row is not None:
                        return self._from_row(account.name, access_key_id, row)
        return None

    def first_root_key(self, account: str) -> Credential | None:
        """The oldest root key of the account."""
        with self._cloud.lock:
            for key, row in self._cloud.account(account).table("_access_keys").items():
                if row["Kind"] == "root":
                    return self._from_row(account, key, row)
        return None

    def create_key(
        self,
        account: str,
        *,
        kind: Literal["root", "user"] = "root",
        name: str = "",
        policy: dict[str, Any] | None = None,
    ) -> Credential:
        """Make a permanent key and save it.

        ``name`` is the user's name (ignored for root); ``policy`` limits a user's key, and a user
        key without one may do nothing.
        """
        cloud = self._cloud
        access_key_id = "LTAI5t" + _random(18)
        row = {
            "Kind": kind,
            "Name": account if kind == "root" else name,
            "Secret": cloud.vault.seal(_random(30)),
            "Policy": policy,
            "CreateDate": cloud.timestamp(),
        }
        with cloud.lock:
            cloud.account(account).table("_access_keys")[access_key_id] = row
            cloud.save()
            return self._from_row(account, access_key_id, row)

    def delete_key(self, access_key_id: str) -> bool:
        """Remove a permanent key; False when there is none of this id."""
        cloud = self._cloud
        with cloud.lock:
            for account in cloud.accounts():
                if account.table("_access_keys").pop(access_key_id, None) is not None:
                    cloud.save()
                    return True
        return False

    def create_session(
        self,
        account: str,
        role: str,
        session: str,
        duration_s: int,
        policy: dict[str, Any] | None = None,
    ) -> Credential:
        """Mint temporary keys for a role and save them.

        Args:
            role: role name; the caller checked that it exists and trusts whoever asks.
            session: session name (an instance's id for instance roles).
            duration_s: lifetime in seconds.
            policy: narrows what the role may do, for this session.
        """
        cloud = self._cloud
        now = cloud.clock()
        access_key_id = "STS.N" + _random(24)
        token = "CAIS" + base64.b64encode(secrets.token_bytes(240)).decode()
        row = {
            "Role": role,
            "Session": session,
            "Secret": cloud.vault.seal(_random(44)),
            "Token": cloud.vault.seal(token),
            "Expiry": now + duration_s,
            "Policy": policy,
        }
        with cloud.lock:
            table = cloud.account(account).table("_sts_sessions")
            for key in [k for k, r in table.items() if r["Expiry"] + _EXPIRED_KEPT_S < now]:
                del table[key]
            table[access_key_id] = row
            cloud.save()
            return self._from_row(account, access_key_id, row)

    def end_sessions(self, account: str, role: str) -> None:
        """Make every temporary key of a role unknown; the caller saves."""
        table = self._cloud.account(account).table("_sts_sessions")
        for key in [key for key, row in table.items() if row["Role"] == role]:
            del table[key]

    def _from_row(self, account: str, access_key_id: str, row: dict[str, Any]) -> Credential:
        vault = self._cloud.vault
        if "Role" in row:
            return Credential(
                access_key_id=access_key_id,
                secret=vault.open(row["Secret"]),
                caller=Caller(account, "role", row["Role"], row["Session"]),
                security_token=vault.open(row["Token"]),
                expiry=row["Expiry"],
                policy=row["Policy"],
            )
        return Credential(
            access_key_id=access_key_id,
            secret=vault.open(row["Secret"]),
            caller=Caller(account, row["Kind"], row["Name"]),
            policy=row["Policy"],
        )


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALNUM) for _ in range(length))
