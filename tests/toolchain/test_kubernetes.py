"""The programs of a cluster: which way each comes, and what is said about it."""

import hashlib
import io
import os
import signal
import subprocess
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rehearsal.toolchain import download, kubernetes, pins
from rehearsal.toolchain.commands import Commands
from rehearsal.toolchain.errors import ToolchainError
from rehearsal.toolchain.kubernetes import PROGRAMS, ClusterProvisioner
from rehearsal.toolchain.maker import ORIGINS, version_in
from rehearsal.toolchain.progress import Progress
from rehearsal.toolchain.store import Store

from .fakes import Workshop, served

CLOSED = "http://127.0.0.1:1"
"""Nothing listens there, as in a network without a way out."""
NAMES = {program.name for program in PROGRAMS}
KUBERNETES = {program.name for program in PROGRAMS if program.release == "kubernetes"}


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    made = Workshop(tmp_path / "workshop")
    monkeypatch.setenv("PATH", made.isolated_path())
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.fixture
def provisioner(tmp_path: Path) -> ClusterProvisioner:
    return ClusterProvisioner(
        store=Store(tmp_path / "cache"),
        commands=Commands(),
        progress=Progress(io.StringIO(), live=False),
        origins=ORIGINS,
        kubernetes_releases=f"{CLOSED}/kubernetes",
        helm_releases=f"{CLOSED}/helm",
        cpus=2,
    )


def said(provisioner: ClusterProvisioner) -> str:
    stream = provisioner.progress.stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def online(provisioner: ClusterProvisioner, address: str) -> ClusterProvisioner:
    return replace(
        provisioner, kubernetes_releases=f"{address}/kubernetes", helm_releases=f"{address}/helm"
    )


def releases() -> dict[str, bytes]:
    """What Kubernetes and Helm publish, by its path on the server."""
    machine = download.go_architecture()
    files = {}
    for name in KUBERNETES:
        path = f"/kubernetes/v{pins.KUBERNETES_VERSION}/bin/linux/{machine}/{name}"
        files[path] = f"#!/bin/sh\necho {name}\n".encode()
        files[f"{path}.sha256"] = hashlib.sha256(files[path]).hexdigest().encode()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for member, data in (("linux/README.md", b"read"), ("linux/helm", b"#!/bin/sh\n")):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    archive = f"helm-v{pins.HELM_VERSION}-linux-{machine}.tar.gz"
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    files[f"/helm/{archive}"] = content.getvalue()
    files[f"/helm/{archive}.sha256sum"] = f"{digest}  {archive}\n".encode()
    return files


def test_without_a_way_out_every_program_is_built_and_said(
    workshop: Workshop, provisioner: ClusterProvisioner
) -> None:
    """Prevents a cluster that lacks one of its programs, and a silent build of six minutes."""
    workshop.add_go()
    tools = provisioner.provide()
    assert set(tools.programs) == NAMES
    assert set(tools.origin.values()) == {"build"}
    for name, path in tools.programs.items():
        assert path.name == name
        assert os.access(path, os.X_OK)
        assert f"{name}: built from Go modules in 0 s\n" in said(provisioner)


def test_a_second_run_builds_nothing_and_says_nothing(
    workshop: Workshop, provisioner: ClusterProvisioner
) -> None:
    """Prevents a toolchain that costs time at every start."""
    workshop.add_go()
    first = provisioner.provide()
    workshop.log.write_text("")
    quiet = replace(provisioner, progress=Progress(io.StringIO(), live=False))
    assert quiet.provide() == first
    assert said(quiet) == ""
    assert set(workshop.calls()) == {"go env GOVERSION"}
    modules = {program.build.directory for program in PROGRAMS}
    assert len(workshop.calls()) == len(modules), "the compiler is asked once a module"


def test_what_a_run_left_is_found_without_building(
    workshop: Workshop, provisioner: ClusterProvisioner
) -> None:
    """Prevents a rehearsal that starts to compile, or that looks somewhere else."""
    workshop.add_go()
    with pytest.raises(ToolchainError, match=r"etcd.*kubeconform.*make toolchain-kubernetes"):
        kubernetes.binaries(provisioner.store.root)
    assert workshop.calls("go build") == []
    tools = provisioner.provide()
    assert kubernetes.binaries(provisioner.store.root) == dict(tools.programs)


def test_a_program_on_path_is_taken_only_in_the_right_version(
    workshop: Workshop, provisioner: ClusterProvisioner
) -> None:
    """Prevents both a needless build and a cluster of programs that do not fit together."""
    workshop.add_go()
    workshop.add("helm", f"echo v{pins.HELM_VERSION}+g0123456")
    workshop.add("kubectl", "echo 'Client Version: v1.28.4'")
    workshop.add("kubelet", "exit 1")
    tools = provisioner.provide()
    assert tools.origin["helm"] == "path"
    assert tools.programs["helm"].samefile(workshop.path / "helm")
    assert tools.origin["kubectl"] == tools.origin["kubelet"] == "build"
    assert (
        f"kubectl 1.28.4 on PATH is not used: this repository is made for {pins.KUBERNETES_VERSION}"
    ) in said(provisioner)


def test_somebody_elses_pause_is_never_taken(
    workshop: Workshop, provisioner: ClusterProvisioner
) -> None:
    """Prevents pods whose first process is whatever happens to be called pause."""
    workshop.add_go()
    workshop.add("pause", f"echo pause {pins.PAUSE_VERSION}")
    assert provisioner.provide().origin["pause"] == "build"


def test_releases_are_downloaded_rather_than_built(
    workshop: Workshop, provisioner: ClusterProvisioner
) -> None:
    """Prevents minutes of compiling where an ordinary network would have served at once."""
    workshop.add_go()
    with served(releases()) as address:
        tools = online(provisioner, address).provide()
    downloaded = {name for name, origin in tools.origin.items() if origin == "download"}
    assert downloaded == {*KUBERNETES, "helm"}
    assert tools.programs["kubelet"].read_text() == "#!/bin/sh\necho kubelet\n"
    assert all(os.access(path, os.X_OK) for path in tools.programs.values())
    assert "kubelet: downloaded from Kubernetes in 0 s\n" in said(provisioner)
    assert "helm: downloaded from Helm in 0 s\n" in said(provisioner)
    assert kubernetes.binaries(provisioner.store.root) == dict(tools.programs)


def test_a_program_with_another_checksum_is_built_instead(
    workshop: Workshop, provisioner: ClusterProvisioner
) -> None:
    """Prevents running what a broken or hostile mirror sent."""
    workshop.add_go()
    files = releases()
    for path in files:
        if not path.endswith((".sha256", ".sha256sum")):
            files[path] += b"more"
    with served(files) as address:
        tools = online(provisioner, address).provide()
    assert set(tools.origin.values()) == {"build"}
    assert not list(provisioner.store.root.glob("*-release-*"))


def test_a_build_that_fails_names_every_way_that_was_tried(
    workshop: Workshop, provisioner: ClusterProvisioner
) -> None:
    """Prevents "exit status 1" as the only thing that a user gets to see."""
    workshop.add_go(build="echo 'module example/x: 403 Forbidden'; exit 1")
    with pytest.raises(ToolchainError) as caught:
        provisioner.provide()
    message = str(caught.value)
    assert "can be had in none of the allowed ways" in message
    assert "403 Forbidden" in message
    assert not list(provisioner.store.root.glob("*.partial"))


def test_a_server_that_cannot_be_reached_is_asked_once(
    workshop: Workshop, provisioner: ClusterProvisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents five seconds of waiting for each of seven programs behind a silent firewall."""
    workshop.add_go()
    asked = []
    read = download.read

    def counted(url: str) -> bytes:
        asked.append(url)
        return read(url)

    monkeypatch.setattr(download, "read", counted)
    provisioner.provide()
    assert len(asked) == 2, asked


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("etcd Version: 3.6.4\nGit SHA: Not provided\nGo Version: go1.26.8\n", "3.6.4"),
        ("Kubernetes v1.34.2\n", "1.34.2"),
        ("Client Version: v1.34.2\nKustomize Version: v5.7.1\n", "1.34.2"),
        ("v4.3.0+g0123456\n", "4.3.0"),
        ("CoreDNS-1.14.0\nlinux/amd64, go1.26.8, \n", "1.14.0"),
        ("v1.35.0-rc.1\n", "1.35.0-rc.1"),
        ("3.105.0\n", "3.105.0"),
        ("development\n", "of an unknown version"),
        ("built with go1.26.8\n", "of an unknown version"),
    ],
)
def test_a_version_is_read_from_what_each_program_says(answer: str, expected: str) -> None:
    """Prevents a program of the right version from being built again, and a wrong one's use."""
    assert version_in(answer) == expected


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    return kubernetes.binaries()


@pytest.mark.engine
@pytest.mark.parametrize("program", [p for p in PROGRAMS if p.ask], ids=lambda p: p.name)
def test_each_program_says_the_version_that_is_pinned(
    programs: dict[str, Path], program: kubernetes.Program
) -> None:
    """Prevents a build whose version was not linked in, which charts and clients then refuse."""
    answer = Commands().run([str(programs[program.name]), *program.ask], timeout=30)
    assert version_in(answer) == program.version


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pause_collects_orphans_and_ends_in_good_order(
    programs: dict[str, Path], number: signal.Signals
) -> None:
    """Prevents zombies that fill a pod's process table, and pods that half a minute cannot end.

    The shell's child outlives it and becomes a child of pause, as an orphan does in a pod.
    """
    shell = ["sh", "-c", 'sleep 0.2 & exec "$0"', str(programs["pause"])]
    with subprocess.Popen(shell) as process:
        proc = Path(f"/proc/{process.pid}")
        deadline = time.monotonic() + 10
        # Pause collects only after its handlers are there, so then it also heeds the signal.
        while not (proc / "exe").samefile(programs["pause"]) or children(proc):
            assert time.monotonic() < deadline, f"not collected: {children(proc)}"
        process.send_signal(number)
        assert process.wait(10) == 0


def children(proc: Path) -> list[str]:
    """The children of a process, the ended ones that nobody collected among them."""
    return (proc / "task" / proc.name / "children").read_text().split()
