"""The programs of a Kubernetes cluster on this machine: each found, downloaded or built.

Kubernetes itself and Helm are published by their makers with checksums, so an ordinary network has
them in a minute. etcd, CoreDNS (with the few plugins in use), kubeconform and the pause program are
found on PATH or built: together that takes less than two minutes.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from rehearsal.toolchain import download, pins
from rehearsal.toolchain.commands import Commands
from rehearsal.toolchain.errors import DownloadError, ToolchainError
from rehearsal.toolchain.gobuild import GoBuild
from rehearsal.toolchain.maker import ORIGINS, Maker
from rehearsal.toolchain.progress import Progress
from rehearsal.toolchain.store import Store, cache_root, content_key

_STAMPS = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
_MAJOR, _MINOR, _ = pins.KUBERNETES_VERSION.split(".")
# As Kubernetes' own build scripts link it in. Without it the cluster calls itself "v0.0.0-master",
# which no chart's `kubeVersion` accepts.
_KUBERNETES_FLAGS = "-s -w" + "".join(
    f" -X {package}.{name}={value}"
    for package in _STAMPS
    for name, value in (
        ("gitVersion", f"v{pins.KUBERNETES_VERSION}"),
        ("gitMajor", _MAJOR),
        ("gitMinor", _MINOR),
        ("gitCommit", ""),
        ("gitTreeState", "archive"),
    )
)


@dataclass(frozen=True)
class Program:
    """One program: its version, how to ask for it, how to build it, and its release."""

    name: str
    version: str
    build: GoBuild
    ask: tuple[str, ...]
    """Arguments that make it print its version; empty for our own, which PATH is not asked for."""
    release: str = ""
    """Which release it is part of: "kubernetes", "helm" or none that is taken."""


def _kubernetes(name: str, *ask: str) -> Program:
    build = GoBuild(
        name=name,
        directory=pins.KUBERNETES_MODULE,
        package=f"k8s.io/kubernetes/cmd/{name}",
        output=f"bin/{name}",
        ldflags=_KUBERNETES_FLAGS,
    )
    return Program(name, pins.KUBERNETES_VERSION, build, ask or ("--version",), "kubernetes")


def _module(name: str, directory: Path, package: str, ldflags: str = "") -> GoBuild:
    return GoBuild(
        name=name,
        directory=directory,
        package=package,
        output=f"bin/{name}",
        ldflags=f"-s -w {ldflags}".strip(),
    )


PROGRAMS = (
    Program(
        "etcd",
        pins.ETCD_VERSION,
        _module("etcd", pins.KUBERNETES_MODULE, "go.etcd.io/etcd/server/v3"),
        ("--version",),
    ),
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    _kubernetes("kubectl", "version", "--client"),
    Program(
        "helm",
        pins.HELM_VERSION,
        _module(
            "helm",
            pins.HELM_MODULE,
            "helm.sh/helm/v4/cmd/helm",
            f"-X helm.sh/helm/v4/internal/version.version=v{pins.HELM_VERSION}",
        ),
        ("version", "--short"),
        "helm",
    ),
    Program(
        "coredns", pins.COREDNS_VERSION, _module("coredns", pins.COREDNS_MODULE, "."), ("-version",)
    ),
    Program(
        "pause",
        pins.PAUSE_VERSION,
        _module("pause", pins.PAUSE_MODULE, ".", f"-X main.version={pins.PAUSE_VERSION}"),
        (),
    ),
    Program(
        "kubeconform",
        pins.KUBECONFORM_VERSION,
        _module(
            "kubeconform",
            pins.KUBECONFORM_MODULE,
            "github.com/yannh/kubeconform/cmd/kubeconform",
            f"-X main.version=v{pins.KUBECONFORM_VERSION}",
        ),
        ("-v",),
    ),
)


@dataclass(frozen=True)
class ClusterTools:
    """Where each program is, and which way it came."""

    programs: Mapping[str, Path]
    origin: Mapping[str, str]

    def describe(self) -> dict[str, str]:
        """The paths as JSON values."""
        return {name: str(path) for name, path in self.programs.items()}


@dataclass(kw_only=True)
class ClusterProvisioner(Maker):
    """Provides the programs of a cluster."""

    kubernetes_releases: str = pins.KUBERNETES_RELEASES
    helm_releases: str = pins.HELM_RELEASES

    def provide(self) -> ClusterTools:
        """Has every program ready; ToolchainError with all reasons if one cannot be had."""
        found = self.find()
        reasons: dict[str, list[str]] = {p.build.name: [] for p in PROGRAMS if p.name not in found}
        unreachable: dict[str, str] = {}
        for program in PROGRAMS:
            if program.name not in found and program.release:
                self._download(program, found, reasons[program.name], unreachable)
        missing = [program for program in PROGRAMS if program.name not in found]
        built = self.build([program.build for program in missing], reasons)
        for program in missing:
            entry = built[program.build]
            found[program.name] = (entry.path / program.build.output, entry.origin)
        return ClusterTools(
            programs={program.name: found[program.name][0] for program in PROGRAMS},
            origin={program.name: found[program.name][1] for program in PROGRAMS},
        )

    def find(self) -> dict[str, tuple[Path, str]]:
        """The programs that are there already, with their origin; asks no network."""
        found: dict[str, tuple[Path, str]] = {}
        for program in PROGRAMS:
            on_path = program.ask and self.right_on_path(
                program.name, program.version, *program.ask
            )
            if on_path:
                found[program.name] = (on_path, "path")
                continue
            release = f"{program.name}-release" if program.release else None
            entry = self.cached(release, partial(_release_key, program), program.build)
            if entry:
                found[program.name] = (entry.path / program.build.output, entry.origin)
        return found

    def _download(
        self,
        program: Program,
        found: dict[str, tuple[Path, str]],
        reasons: list[str],
        unreachable: dict[str, str],
    ) -> None:
        """Adds the program to `found` if its makers' server has it.

        A server that cannot be reached is asked once: a firewall that drops packets costs five
        seconds a question.
        """
        if program.release in unreachable:
            reasons.append(unreachable[program.release])
            return

        def make(target: Path) -> None:
            if program.release == "helm":
                download_helm(self.helm_releases, program.version, target)
            else:
                download_kubernetes(self.kubernetes_releases, program.version, program.name, target)

        entry = self.download(
            f"{program.name}-release",
            _release_key(program),
            make,
            reasons,
            doing=f"downloading {program.name}",
            shown=program.name,
            publisher="Helm" if program.release == "helm" else "Kubernetes",
        )
        if entry:
            found[program.name] = (entry.path / program.build.output, entry.origin)
        elif reasons:
            unreachable[program.release] = reasons[-1]


def download_kubernetes(releases: str, version: str, name: str, target: Path) -> None:
    """Puts one program of a Kubernetes release into `target`/bin."""
    url = f"{releases}/v{version}/bin/linux/{download.go_architecture()}/{name}"
    published = download.read(f"{url}.sha256").decode(errors="replace").split()
    if not published:
        raise DownloadError(f"{url}.sha256 is empty; without a checksum the file is not used")
    program = target / "bin" / name
    program.parent.mkdir()
    download.fetch(url, program, published[0].lower())
    program.chmod(0o755)


def download_helm(releases: str, version: str, target: Path) -> None:
    """Puts the program of a Helm release into `target`/bin."""
    name = f"helm-v{version}-linux-{download.go_architecture()}.tar.gz"
    listing = download.read(f"{releases}/{name}.sha256sum").decode(errors="replace")
    archive = target / name
    download.fetch(f"{releases}/{name}", archive, download.published_sum(listing, name))
    program = target / "bin" / "helm"
    program.parent.mkdir()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                source = tar.extractfile(member) if member.isreg() else None
                if source and len(path.parts) == 2 and path.name == "helm":
                    with source, program.open("wb") as out:
                        shutil.copyfileobj(source, out)
    except (tarfile.TarError, EOFError) as error:
        raise DownloadError(f"{name} cannot be unpacked: {error}") from error
    if not program.is_file():
        raise DownloadError(f"{name} holds no helm program; the release has another layout")
    program.chmod(0o755)
    archive.unlink()


def binaries(cache: Path | None = None) -> dict[str, Path]:
    """Every program of a cluster by its name, as `make toolchain-kubernetes` left them.

    Nothing is downloaded or built here. Raises ToolchainError naming those that are missing.
    """
    finder = ClusterProvisioner(
        store=Store(cache or cache_root()),
        commands=Commands(),
        # What PATH has in another version was said while the tools were provided.
        progress=Progress(io.StringIO(), live=False),
        origins=ORIGINS,
    )
    found = finder.find()
    missing = [program.name for program in PROGRAMS if program.name not in found]
    if missing:
        raise ToolchainError(
            f"{', '.join(missing)} of {len(PROGRAMS)} cluster programs are not here; nothing is "
            "built while a rehearsal or test runs, because that takes minutes. "
            "Run `make toolchain-kubernetes` first"
        )
    return {program.name: found[program.name][0] for program in PROGRAMS}


def _release_key(program: Program) -> str:
    return content_key({program.name: program.version, "machine": download.go_architecture()})
