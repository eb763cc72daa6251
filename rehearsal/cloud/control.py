"""The control interface: plain HTTP and JSON on a port of its own, for tests and people.

It is apart from the cloud's port so that nothing of it can be mistaken for the cloud's API.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rehearsal.cloud import account_traits, policy, registry
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.faults import FaultError, Faults
from rehearsal.cloud.http import HttpRequest, HttpResponse
from rehearsal.cloud.journal import Journal
from rehearsal.cloud.state import Cloud
from rehearsal.cloud.transitions import is_gone

# Tables of the services that are neither made nor deleted by a user: records of what was run in
# instances, which the real cloud keeps for four weeks, and the account's limits.
NOT_RESOURCES = frozenset({"invocations", "quotas"})

Answer = dict[str, Any] | list[Any]


class _RefusedError(Exception):
    """The control request cannot be carried out."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Control:
    """Answers the control interface's requests."""

    def __init__(self, cloud: Cloud, faults: Faults, journal: Journal) -> None:
        self._cloud = cloud
        self._faults = faults
        self._journal = journal
        self._routes: dict[tuple[str, str], Callable[[HttpRequest], Answer]] = {
            ("GET", "/health"): self._health,
            ("GET", "/status"): self._status,
            ("GET", "/calls"): self._calls,
            ("GET", "/dump"): self._dump,
            ("POST", "/reset"): self._reset,
            ("GET", "/faults"): self._list_faults,
            ("POST", "/faults"): self._add_fault,
            ("DELETE", "/faults"): self._clear_faults,
            ("GET", "/stock"): self._list_stock,
            ("POST", "/stock"): self._set_stock,
            ("GET", "/account"): self._account,
            ("POST", "/account"): self._set_account,
            ("POST", "/keys"): self._create_key,
            ("DELETE", "/keys"): self._delete_key,
        }

    def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer one request with JSON; never raises for what a client sent."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            known = ", ".join(f"{method} {path}" for method, path in self._routes)
            sentence = f"there is no {request.method} {request.path}; known: {known}"
            return _json(404, {"error": sentence})
        try:
            return _json(200, route(request))
        except _RefusedError as error:
            return _json(error.status, {"error": str(error)})
        except FaultError as error:
            return _json(400, {"error": str(error)})

    # ---- looking

    def _health(self, _request: HttpRequest) -> Answer:
        return {"status": "ok", "actions": len(registry.registered())}

    def _status(self, _request: HttpRequest) -> Answer:
        resources = count_resources(self._cloud)
        return {
            "empty": not resources,
            "resources": resources,
            "unknown_actions": self._journal.unknown_actions(),
            "calls": self._journal.count(),
            "faults": self._faults.listed(),
            "stock_overrides": dict(self._cloud.stock_overrides),
        }

    def _calls(self, request: HttpRequest) -> Answer:
        text = request.query.get("since", "0")
        if not text.isdigit():
            raise _RefusedError(f"since is {text!r}; it must be the seq of a call, or 0")
        return self._journal.calls(int(text))

    def _dump(self, _request: HttpRequest) -> Answer:
        return self._cloud.dump()

    # ---- changing

    def _reset(self, _request: HttpRequest) -> Answer:
        with self._cloud.lock:
            for _, cluster_id, _ in list(self._cloud.rows("clusters")):
                self._cloud.clusters.delete(cluster_id)
            for _, instance_id, _ in list(self._cloud.rows("instances")):
                self._cloud.hypervisor.destroy(instance_id)
            for _, disk_id, _ in list(self._cloud.rows("disks")):
                self._cloud.hypervisor.delete_disk(disk_id)
            self._cloud.reset()
        self._faults.clear()
        self._journal.reset()
        return {"empty": True}

    def _list_faults(self, _request: HttpRequest) -> Answer:
        return self._faults.listed()

    def _add_fault(self, request: HttpRequest) -> Answer:
        return asdict(self._faults.add(_body(request)))

    def _clear_faults(self, _request: HttpRequest) -> Answer:
        return {"cleared": self._faults.clear()}

    def _list_stock(self, _request: HttpRequest) -> Answer:
        return dict(self._cloud.stock_overrides)

    def _set_stock(self, request: HttpRequest) -> Answer:
        body = _body(request)
        zone, instance_type = body.get("zone"), body.get("instance_type")
        in_stock = body.get("in_stock")
        if not (isinstance(zone, str) and isinstance(instance_type, str) and zone):
            raise _RefusedError("stock needs zone and instance_type as strings")
        if in_stock is not None and not isinstance(in_stock, bool):
            raise _RefusedError("in_stock must be true, false, or null (back to the catalogue)")
        with self._cloud.lock:
            if in_stock is None:
                self._cloud.stock_overrides.pop(f"{zone}/{instance_type}", None)
            else:
                self._cloud.stock_overrides[f"{zone}/{instance_type}"] = in_stock
            self._cloud.save()
        return dict(self._cloud.stock_overrides)

    def _account(self, _request: HttpRequest) -> Answer:
        return account_traits.read(self._cloud)

    def _set_account(self, request: HttpRequest) -> Answer:
        try:
            return account_traits.write(self._cloud, _body(request))
        except account_traits.TraitError as error:
            raise _RefusedError(str(error)) from error

    def _create_key(self, request: HttpRequest) -> Answer:
        body = _body(request)
        kind = body.get("kind", "user")
        if kind not in ("root", "user"):
            raise _RefusedError(f"kind is {kind!r}; allowed: root, user")
        document = body.get("policy")
        if document is not None:
            try:
                policy.parse_document(json.dumps(document))
            except ApiError as error:
                raise _RefusedError(str(error)) from error
        credential = self._cloud.credentials.create_key(
            str(body.get("account", self._cloud.settings.account)),
            kind=kind,
            name=str(body.get("name", "rehearsal")),
            policy=document,
        )
        return {
            "access_key_id": credential.access_key_id,
            "access_key_secret": credential.secret,
            "arn": credential.caller.arn,
        }

    def _delete_key(self, request: HttpRequest) -> Answer:
        key = request.query.get("access_key_id", "")
        if not self._cloud.credentials.delete_key(key):
            raise _RefusedError(f"there is no access key {key!r}", 404)
        return {"deleted": key}


def count_resources(cloud: Cloud) -> dict[str, int]:
    """Rows per table, as ``region/table`` or ``table``; what is no resource is left out."""
    now = cloud.clock()
    counts: dict[str, int] = {}
    with cloud.lock:
        for account in cloud.dump().values():
            groups = {"": account["tables"]}
            groups.update({f"{name}/": tables for name, tables in account["regions"].items()})
            for prefix, tables in groups.items():
                for table, rows in tables.items():
                    if table.startswith("_") or table in NOT_RESOURCES:
                        continue
                    alive = [row for row in rows.values() if not is_gone(row, now)]
                    if alive:
                        counts[prefix + table] = counts.get(prefix + table, 0) + len(alive)
    return counts


def _body(request: HttpRequest) -> dict[str, Any]:
    try:
        document = json.loads(request.body or b"{}")
    except ValueError as error:
        raise _RefusedError(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _RefusedError("the body is not a JSON object")
    return document


def _json(status: int, answer: Answer) -> HttpResponse:
    text = json.dumps(answer, ensure_ascii=False) + "\n"
    return HttpResponse(status, {"Content-Type": "application/json"}, text.encode())
