"""The emulator put together: state, sockets, control interface; in a process or in a test."""

from __future__ import annotations

import json
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from rehearsal.cloud import services
from rehearsal.cloud.certificates import Authority, server_names
from rehearsal.cloud.control import Control
from rehearsal.cloud.credentials import Credential
from rehearsal.cloud.dispatcher import Dispatcher
from rehearsal.cloud.faults import Fault, Faults
from rehearsal.cloud.http import HttpRequest, HttpResponse
from rehearsal.cloud.journal import Journal
from rehearsal.cloud.metadata import MetadataService
from rehearsal.cloud.protocols import from_oss, is_oss, to_oss
from rehearsal.cloud.server import HttpServer
from rehearsal.cloud.services import oss
from rehearsal.cloud.state import Cloud
from rehearsal.cloud.vault import write_private

# Regions whose host names the certificate covers besides the configured one.
_REGIONS = ("cn-hangzhou", "cn-shanghai", "cn-beijing", "cn-shenzhen", "cn-wulanchabu")


@dataclass(frozen=True)
class Endpoints:
    """Where a running emulator listens; ``endpoint`` is host:port without a scheme."""

    endpoint: str
    control: str
    ca: Path
    ca_bundle: Path


class Emulator:
    """One emulated cloud. Make it, ``start`` it, use it, ``stop`` it."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        # A killed process leaves its own behind, and whoever reads it would connect to nobody.
        (cloud.state_dir / "endpoint.json").unlink(missing_ok=True)
        self.faults = Faults()
        self.journal = Journal(cloud.state_dir)
        services.load_all()
        self._dispatcher = Dispatcher(cloud, self.faults, self.journal)
        self._authority = Authority(cloud.state_dir)
        regions = sorted({cloud.settings.region, *_REGIONS})
        tls = self._authority.server_context("server", server_names(regions))
        self._api = HttpServer(self._route, name="api", tls=tls)
        self._imds = HttpServer(MetadataService(cloud).handle, name="imds")
        control = Control(cloud, self.faults, self.journal)
        self._control = HttpServer(control.handle, name="control")
        self.root_key = self._root_key()

    def start(self, host: str = "127.0.0.1", port: int = 0) -> Endpoints:
        """Open the ports, pick up work left by an earlier process, write endpoint.json."""
        services.resume_all(self.cloud)
        network = self.cloud.hypervisor.network_sockets()
        if network is not None:
            self._imds.serve(network.imds)
            self._api.serve(network.api)
        api_host, api_port = self._api.listen(host, port)
        control_host, control_port = self._control.listen("127.0.0.1", 0)
        endpoints = Endpoints(
            endpoint=f"{api_host}:{api_port}",
            control=f"http://{control_host}:{control_port}",
            ca=self._authority.ca_file,
            ca_bundle=self._authority.bundle_file,
        )
        self._write_endpoint_file(endpoints)
        return endpoints

    def serve_metadata(self, host: str, port: int = 0) -> tuple[str, int]:
        """Serve the metadata service on a further address (tests use loopback)."""
        return self._imds.listen(host, port)

    def stop(self, *, destroy: bool = False) -> None:
        """Finish requests in progress, save, close; ``destroy`` also removes all machines."""
        self._api.close()
        self._imds.close()
        self._control.close()
        (self.cloud.state_dir / "endpoint.json").unlink(missing_ok=True)
        if destroy:
            self._destroy_clusters()
            self._destroy_machines()
        self.cloud.close()
        self.cloud.clusters.close()
        self.cloud.hypervisor.close()

    # ---- parts

    def _route(self, request: HttpRequest) -> HttpResponse:
        if not is_oss(request):
            return self._dispatcher.handle(request)
        started = time.monotonic()
        response = self._object_storage(request)
        if response.status == 501:
            self.journal.unknown(
                {
                    "time": self.cloud.timestamp(),
                    "product": "oss",
                    "version": "",
                    "action": f"{request.method} {'&'.join(sorted(request.query))}".strip(),
                    "method": request.method,
                    "host": request.host,
                    "code": "NotImplemented",
                }
            )
        self.journal.call(
            {
                "time": self.cloud.timestamp(),
                "product": "oss",
                "version": "",
                "action": request.method,
                "resource": request.path,
                "caller": None,
                "status": response.status,
                "code": "",
                "request_id": response.headers.get("x-oss-request-id", ""),
                "parameters": sorted(request.query),
                "ms": round((time.monotonic() - started) * 1000, 1),
            }
        )
        return response

    def _object_storage(self, request: HttpRequest) -> HttpResponse:
        fault = self.faults.take("oss", request.method, request.query)
        if fault is not None:
            if fault.kind == "drop":
                return HttpResponse(0, drop=True)
            if fault.kind != "slow":
                return self._oss_fault(fault)
            self.cloud.closing.wait(fault.seconds)
        try:
            return from_oss(oss.handle(to_oss(request), self.cloud))
        except Exception as bug:  # a bug in the service must be an answer, not a broken connection
            traceback.print_exc(file=sys.stderr)
            words = f"emulator: {type(bug).__name__} in {request.method} {request.path}"
            return self._oss_error(500, "InternalError", words)

    def _oss_fault(self, fault: Fault) -> HttpResponse:
        error = fault.error()
        status = 503 if fault.kind == "throttle" and not fault.http_status else error.http_status
        code = "QpsLimitExceeded" if fault.kind == "throttle" and not fault.code else error.code
        return self._oss_error(status, code, error.message)

    def _oss_error(self, status: int, code: str, message: str) -> HttpResponse:
        request_id = self.cloud.request_id().replace("-", "")[:24]
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>'
            f"{escape(message)}</Message><RequestId>{request_id}</RequestId></Error>"
        )
        headers = {"Content-Type": "application/xml", "x-oss-request-id": request_id}
        return HttpResponse(status, headers, text.encode())

    def _root_key(self) -> Credential:
        account = self.cloud.settings.account
        credentials = self.cloud.credentials
        return credentials.first_root_key(account) or credentials.create_key(account)

    def _write_endpoint_file(self, endpoints: Endpoints) -> None:
        directory = self.cloud.state_dir
        secret_file = directory / "access-key-secret"
        write_private(secret_file, self.root_key.secret.encode())
        document = {
            "endpoint": endpoints.endpoint,
            "control": endpoints.control,
            "ca": str(endpoints.ca),
            "ca_bundle": str(endpoints.ca_bundle),
            "access_key_id": self.root_key.access_key_id,
            "access_key_secret_file": str(secret_file),
            "account": self.cloud.settings.account,
            "region": self.cloud.settings.region,
        }
        # Written last and in one step: whoever sees the file may connect.
        write_private(directory / "endpoint.json", json.dumps(document, indent=2).encode())

    def _destroy_clusters(self) -> None:
        with self.cloud.lock:
            clusters = [cluster_id for _, cluster_id, _ in self.cloud.rows("clusters")]
        for cluster_id in clusters:
            self.cloud.clusters.delete(cluster_id)

    def _destroy_machines(self) -> None:
        hypervisor = self.cloud.hypervisor
        with self.cloud.lock:
            instances = [instance_id for _, instance_id, _ in self.cloud.rows("instances")]
            disks = [disk_id for _, disk_id, _ in self.cloud.rows("disks")]
        for instance_id in instances:
            hypervisor.destroy(instance_id)
        for disk_id in disks:
            hypervisor.delete_disk(disk_id)
