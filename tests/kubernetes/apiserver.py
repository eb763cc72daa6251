"""A real kube-apiserver with etcd and ACS's rules, on free loopback ports."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from rehearsal.toolchain.kubernetes import binaries

POLICIES = Path(__file__).parents[2] / "rehearsal" / "kubernetes" / "policies"
PATHS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "Service": "/api/v1/namespaces/{}/services",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "ValidatingAdmissionPolicy": (
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    ),
    "ValidatingAdmissionPolicyBinding": (
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
    ),
    "StorageClass": "/apis/storage.k8s.io/v1/storageclasses",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
}


class Apiserver:
    """A kube-apiserver with the policies applied; ``create`` returns status and message."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.http = urllib3.PoolManager(
            cert_reqs="CERT_NONE", headers={"Authorization": f"Bearer {token}"}
        )

    def get(self, path: str) -> int:
        return self.http.request("GET", self.url + path, retries=False, timeout=5).status

    def create(
        self, thing: dict[str, Any], namespace: str = "default", *, really: bool = False
    ) -> tuple[int, str]:
        path = PATHS[thing["kind"]].format(namespace) + ("" if really else "?dryRun=All")
        answer = self.http.request(
            "POST",
            self.url + path,
            body=json.dumps(thing),
            headers={**self.http.headers, "Content-Type": "application/json"},
            timeout=20,
        )
        return answer.status, json.loads(answer.data).get("message", "")


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _until(ready: Any, processes: list[subprocess.Popen[bytes]], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        ended = [p.args for p in processes if p.poll() is not None]
        if ended or time.monotonic() > deadline:
            pytest.fail(f"the apiserver did not become ready: {log.read_text()[-2000:]}")
        time.sleep(0.1)


@contextmanager
def running(folder: Path, enforced: Callable[[Apiserver], bool]) -> Iterator[Apiserver]:
    """Start one in ``folder``, apply the policies, and wait until they are ``enforced``.

    Policies reach admission a moment after they are stored, so that each needs a probe.
    """
    programs = binaries()
    client, peer, port = _free_ports(3)
    token = secrets.token_urlsafe(16)
    (folder / "tokens").write_text(f'{token},admin,admin,"system:masters"\n')
    key = folder / "sa.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    log = folder / "log"
    etcd = f"http://127.0.0.1:{client}"
    commands = [
        [
            str(programs["etcd"]),
            f"--data-dir={folder / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
        ],
        [
            str(programs["kube-apiserver"]),
            f"--etcd-servers={etcd}",
            f"--cert-dir={folder / 'certs'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={folder / 'tokens'}",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            "--allow-privileged=true",
        ],
    ]
    processes: list[subprocess.Popen[bytes]] = []
    server = Apiserver(f"https://127.0.0.1:{port}", token)
    urllib3.disable_warnings()

    def answers() -> bool:
        try:
            return server.get("/readyz") == 200
        except urllib3.exceptions.HTTPError:
            return False

    try:
        with log.open("wb") as output:
            for command in commands:
                processes.append(subprocess.Popen(command, stdout=output, stderr=output))
        _until(answers, processes, log)
        for file in sorted(POLICIES.glob("*.yaml")):
            for thing in yaml.safe_load_all(file.read_text()):
                status, message = server.create(thing, really=True)
                assert status == 201, f"{file.name}: {message}"
        _until(lambda: enforced(server), processes, log)
        yield server
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(20)
