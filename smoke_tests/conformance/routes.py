"""The routes of ComfyUI's own API description, and which of them a local server has.

The description covers the hosted service as well. `ABSENT` names what a local ComfyUI does not
have or what only parts have that are not here, each with its reason; everything else must be there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from smoke_tests.comfy_client import Target
from smoke_tests.comfy_client.transport import Transport
from smoke_tests.conformance.replay import Report

DATA = Path(__file__).with_name("data") / "routes.json"
_HOSTED = "part of the hosted service (accounts, billing, sharing), not of a local server"
_V2 = "the hosted service's older view of jobs; a local server has /api/jobs"
_INTERNAL = "shows the machine's log and folders to the interface's own panels; closed at the door"
ASSETS_OFF = 503

#: Path below which a route is not there, with the reason.
ABSENT = {
    "/api/billing/": _HOSTED,
    "/api/feedback": _HOSTED,
    "/api/files/mask-layers": _HOSTED,
    "/api/tasks": _HOSTED,
    "/api/user": _HOSTED,
    "/api/userdata/{file}/publish": _HOSTED,
    "/api/workflows": _HOSTED,
    "/api/history_v2": _V2,
    "/api/job/": _V2,
    "/api/jobs/{job_id}/assets": "needs the asset database, and no local route exists for it",
    "/api/vhs/": "a node pack's route, asked for only by the pack's own script in the browser",
    "/health": "the hosted service's probe; a local server is probed at /system_stats",
    "/internal/": _INTERNAL,
}
#: What exists but says that it is switched off, as a server without --enable-assets does.
SWITCHED_OFF = ("/api/assets", "/api/tags")
#: Routes that need nothing and change nothing, so that any server can be asked.
PARAMETERS = {
    "{id}": "no-such-id", "{job_id}": "no-such-id", "{folder}": "vae", "{file}": "no-such-file",
}  # fmt: skip


@dataclass(frozen=True)
class Route:
    """One documented route: statuses it may answer, fields that its answer must have."""

    method: str
    path: str
    statuses: tuple[int, ...]
    fields: tuple[str, ...]

    @property
    def absent(self) -> str:
        """Why a local server does not have it; empty when it must."""
        for prefix, reason in ABSENT.items():
            whole = prefix.endswith("/")
            if self.path.startswith(prefix) if whole else self._is_below(prefix):
                return reason
        return ""

    @property
    def switched_off(self) -> bool:
        """Whether the server says that this part of it is off."""
        return any(self._is_below(prefix) for prefix in SWITCHED_OFF)

    def _is_below(self, prefix: str) -> bool:
        return self.path == prefix or self.path.startswith(f"{prefix}/")


def documented() -> list[Route]:
    """Every documented route."""
    return [
        Route(one["method"], one["path"], tuple(one["statuses"]), tuple(one["fields"]))
        for one in json.loads(DATA.read_text(encoding="utf-8"))
    ]


def probe(target: Target, report: Report) -> None:
    """Ask every documented GET route of a local server; sentences go to the report."""
    transport = Transport(target, pause=lambda _: None)
    try:
        for route in documented():
            if route.method == "GET" and not route.absent:
                _ask(transport, route, report)
    finally:
        transport.close()


def _ask(transport: Transport, route: Route, report: Report) -> None:
    path = route.path
    for name, value in PARAMETERS.items():
        path = path.replace(name, value)
    answer = transport.call("GET", path)
    where = f"routes: GET {route.path}"
    report.compared += 1
    if b'"message_zh"' in answer.body:
        report.remarks.append(f"{where}: the gateway keeps it closed ({answer.status})")
        return
    allowed = {*route.statuses, *([ASSETS_OFF] if route.switched_off else [])}
    if answer.status not in allowed or (answer.status >= 500 and not route.switched_off):
        expected = ", ".join(str(status) for status in sorted(allowed) if status < 500)
        report.differences.append(f"{where}: status: documented {expected}, seen {answer.status}")
        return
    if answer.status != 200 or not route.fields:
        return
    seen = json.loads(answer.body)
    item = seen[0] if isinstance(seen, list) and seen else seen
    missing = [name for name in route.fields if isinstance(item, dict) and name not in item]
    report.differences += [f"{where}: .{name}: documented, seen nothing" for name in missing]
