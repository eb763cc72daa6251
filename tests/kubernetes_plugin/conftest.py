"""A Kubernetes API on this machine (etcd, API server, namespace controller), without nodes."""

import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rehearsal.toolchain import kubernetes

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm")
START_SECONDS = 60


def program(name: str) -> str:
    """Return where the toolchain has the program ``name``."""
    return str(kubernetes.binaries()[name])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def kube_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start the API and return the path of an administrator's kubeconfig."""
    found = {name: program(name) for name in PROGRAMS}
    folder = tmp_path_factory.mktemp("kube-api")
    client, peer, port = free_port(), free_port(), free_port()
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f"{token},admin,1,system:masters\n")
    key = folder / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    kubeconfig = folder / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "c",
                "cluster": {
                    "server": f"https://127.0.0.1:{port}",
                    "insecure-skip-tls-verify": True,
                },
            }
        ],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    kubeconfig.write_text(yaml.safe_dump(document))
    etcd = f"http://127.0.0.1:{client}"
    commands = [
        [found["etcd"], f"--data-dir={folder}/etcd", f"--listen-client-urls={etcd}",
         f"--advertise-client-urls={etcd}", f"--listen-peer-urls=http://127.0.0.1:{peer}"],
        [found["kube-apiserver"], f"--etcd-servers={etcd}", f"--secure-port={port}",
         "--bind-address=127.0.0.1", f"--cert-dir={folder}/certificates",
         "--service-account-issuer=https://tests.invalid",
         f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
         f"--token-auth-file={folder}/tokens.csv", "--service-cluster-ip-range=10.97.0.0/24",
         "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"],
        [found["kube-controller-manager"], f"--kubeconfig={kubeconfig}",
         "--controllers=namespace-controller", "--secure-port=0", "--leader-elect=false"],
    ]  # fmt: skip
    running: list[subprocess.Popen[bytes]] = []
    try:
        for index, command in enumerate(commands):
            with (folder / f"{index}.log").open("wb") as log:
                running.append(subprocess.Popen(command, stdout=log, stderr=log))
            if index == 1:
                wait_ready(found["kubectl"], kubeconfig, folder / "1.log")
        yield kubeconfig
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(timeout=20)


def wait_ready(kubectl: str, kubeconfig: Path, log: Path) -> None:
    """Wait until the default namespace exists, which the API server makes last."""
    deadline = time.monotonic() + START_SECONDS
    command = [kubectl, "--kubeconfig", str(kubeconfig), "get", "namespace", "default"]
    while subprocess.run(command, capture_output=True, check=False).returncode != 0:
        assert time.monotonic() < deadline, log.read_text()[-3000:]
