"""Each tool, the ways to have it, and the order in which they are tried."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.toolchain import download, gobuild, host, pins
from rehearsal.toolchain.commands import Commands
from rehearsal.toolchain.errors import StoppedError, ToolchainError
from rehearsal.toolchain.gobuild import GoBuild
from rehearsal.toolchain.progress import Progress
from rehearsal.toolchain.result import Toolchain, link
from rehearsal.toolchain.store import Entry, Store, content_key

ORIGINS = ("path", "download", "build")
VARIANTS = ("plain", "fast")
PLUGIN = "pulumi-resource-alicloud"
MANY_CORES = 8
"""From here on two builds at once are faster than one after the other."""
PLUGIN_DOWNLOAD_SECONDS = 600.0

HOW = {
    "path": "found on PATH",
    "download": "downloaded from Pulumi",
    "build": "built from Go modules",
}


@dataclass
class Provisioner:
    """Provides the tools one after the other; `provide` is the only entry."""

    store: Store
    commands: Commands
    progress: Progress
    origins: tuple[str, ...]
    python: Path
    pulumi_releases: str = pins.PULUMI_RELEASES
    plugin_releases: str = pins.PLUGIN_RELEASES
    cpus: int = field(default_factory=lambda: os.cpu_count() or 1)

    def provide(self, variant: str) -> Toolchain:
        """Has every tool ready; raises ToolchainError with all reasons if one cannot be had."""
        plugin_build = gobuild.ALICLOUD_FAST if variant == "fast" else gobuild.ALICLOUD
        pulumi, pulumi_origin = self._found_pulumi()
        plugin, plugin_origin = self._found_plugin(variant)
        reasons: dict[str, list[str]] = {"pulumi": [], plugin_build.name: []}
        if pulumi is None and (entry := self._download_pulumi(reasons["pulumi"])):
            pulumi, pulumi_origin = entry.path / gobuild.PULUMI.output, entry.origin
        builds = [
            wanted
            for wanted, have in ((gobuild.PULUMI, pulumi), (plugin_build, plugin))
            if have is None
        ]
        if pulumi is None and "download" in self.origins:
            reasons[plugin_build.name].append("download: takes the engine, which is missing too")
        if pulumi is not None and plugin is None and variant == "plain":
            entry = self._download_plugin(pulumi, reasons[plugin_build.name])
            if entry:
                plugin, plugin_origin = entry.path / PLUGIN, entry.origin
                builds.remove(plugin_build)
        for wanted, entry in self._build(builds, reasons).items():
            if wanted is gobuild.PULUMI:
                pulumi, pulumi_origin = entry.path / wanted.output, entry.origin
            else:
                plugin, plugin_origin = entry.path / wanted.output, entry.origin
        if pulumi is None or plugin is None:
            raise ToolchainError(
                "neither PATH nor a download nor a build was allowed; see --origins"
            )
        pulumi, host_origin = self._with_host(pulumi)
        home = self._home(pulumi, plugin, plugin_build.name)
        return Toolchain(
            pulumi=pulumi,
            path_prepend=(pulumi.parent,),
            pulumi_home=home,
            alicloud_plugin=plugin,
            variant=variant,
            origin={
                "pulumi": pulumi_origin,
                "alicloud": plugin_origin,
                "python-host": host_origin,
            },
        )

    def _found_pulumi(self) -> tuple[Path | None, str]:
        if "path" in self.origins and (found := self._on_path("pulumi", "version")):
            if found[1] == pins.PULUMI_VERSION:
                return found[0], "path"
            self.progress.say(
                f"pulumi {found[1]} on PATH is not used: this repository is made for "
                f"{pins.PULUMI_VERSION}"
            )
        if entry := self._cached("pulumi-release", self._release_key, gobuild.PULUMI):
            return entry.path / gobuild.PULUMI.output, entry.origin
        return None, ""

    def _found_plugin(self, variant: str) -> tuple[Path | None, str]:
        if variant == "fast":
            entry = self._cached(None, self._release_key, gobuild.ALICLOUD_FAST)
            return (entry.path / PLUGIN, entry.origin) if entry else (None, "")
        if "path" in self.origins and (found := self._on_path(PLUGIN, "-version")):
            if found[1] == pins.ALICLOUD_VERSION:
                return found[0], "path"
            self.progress.say(
                f"{PLUGIN} {found[1]} on PATH is not used: this repository is made for "
                f"{pins.ALICLOUD_VERSION}"
            )
        if entry := self._cached("alicloud-release", self._release_key, gobuild.ALICLOUD):
            return entry.path / PLUGIN, entry.origin
        return None, ""

    def _cached(
        self, release: str | None, release_key: Callable[[], str], wanted: GoBuild
    ) -> Entry | None:
        """A download or build from an earlier run, without asking the network."""
        if release and "download" in self.origins:
            entry = self.store.find(release, release_key())
            if entry:
                return entry
        if "build" in self.origins and shutil.which("go"):
            version = gobuild.go_version(self.commands, wanted.directory)
            return self.store.find(wanted.name, gobuild.build_key(wanted, version))
        return None

    def _on_path(self, program: str, flag: str) -> tuple[Path, str] | None:
        """Where a program is on PATH, with its version, if it runs."""
        found = shutil.which(program)
        if found is None:
            return None
        # Asking must not touch the user's own home: even `pulumi version` writes logs there.
        with tempfile.TemporaryDirectory() as home:
            environ = {**os.environ, "PULUMI_HOME": home, "PULUMI_SKIP_UPDATE_CHECK": "1"}
            try:
                answer = self.commands.run([found, flag], environ=environ, timeout=20)
            except StoppedError:
                raise
            except ToolchainError:
                return None
        lines = answer.split()
        return Path(found), lines[-1].removeprefix("v") if lines else "of an unknown version"

    def _release_key(self) -> str:
        return content_key({"pulumi": pins.PULUMI_VERSION, "alicloud": pins.ALICLOUD_VERSION})

    def _download_pulumi(self, reasons: list[str]) -> Entry | None:
        if "download" not in self.origins:
            return None

        def make(target: Path) -> None:
            download.download_pulumi(self.pulumi_releases, pins.PULUMI_VERSION, target)

        try:
            return self._ensure(
                "pulumi-release",
                self._release_key(),
                "download",
                make,
                doing="downloading pulumi",
                shown="pulumi",
            )
        except StoppedError:
            raise
        except ToolchainError as error:
            reasons.append(f"download: {error}")
            return None

    def _download_plugin(self, pulumi: Path, reasons: list[str]) -> Entry | None:
        if "download" not in self.origins:
            return None

        def make(target: Path) -> None:
            file = f"{PLUGIN}-v{pins.ALICLOUD_VERSION}-linux-{_go_architecture()}.tar.gz"
            # The engine retries a dead network for minutes; this asks once.
            if reason := download.reachable(f"{self.plugin_releases}/{file}"):
                raise ToolchainError(reason)
            home = target / "home"
            self._install_plugin(pulumi, home, [], timeout=PLUGIN_DOWNLOAD_SECONDS)
            (_plugin_folder(home) / PLUGIN).rename(target / PLUGIN)
            shutil.rmtree(home)

        try:
            return self._ensure(
                "alicloud-release",
                self._release_key(),
                "download",
                make,
                doing="downloading the alicloud provider",
                shown="alicloud",
            )
        except StoppedError:
            raise
        except ToolchainError as error:
            reasons.append(f"download: {error}")
            return None

    def _build(
        self, builds: list[GoBuild], reasons: Mapping[str, list[str]]
    ) -> dict[GoBuild, Entry]:
        """Builds what is left, several at once on a large machine."""
        if not builds:
            return {}
        if "build" not in self.origins:
            raise ToolchainError(_all_reasons({b.name: reasons[b.name] for b in builds}))
        versions = {b: gobuild.go_version(self.commands, b.directory) for b in builds}
        at_once = 2 if self.cpus >= MANY_CORES else 1
        with ThreadPoolExecutor(at_once) as pool, ThreadPoolExecutor(1) as fetcher:
            # The second tool's modules arrive while the first one compiles.
            for later in builds[at_once:]:
                fetcher.submit(self._prefetch, later)
            running = {
                b: pool.submit(self._build_one, b, versions[b], f"{number} of {len(builds)}")
                for number, b in enumerate(builds, 1)
            }
            try:
                return {b: future.result() for b, future in running.items()}
            except BaseException as error:
                self.commands.stop()
                if isinstance(error, ToolchainError) and not isinstance(error, StoppedError):
                    failed = next(b for b, f in running.items() if f.done() and f.exception())
                    reasons[failed.name].append(f"build: {error}")
                    raise ToolchainError(
                        _all_reasons({failed.name: reasons[failed.name]})
                    ) from error
                raise

    def _prefetch(self, wanted: GoBuild) -> None:
        try:
            gobuild.download_modules(self.commands, wanted.directory)
        except ToolchainError:
            return  # The build itself says what is missing, and may need less than this asked for.

    def _build_one(self, wanted: GoBuild, version: str, position: str) -> Entry:
        typical = pins.TYPICAL_SECONDS[wanted.name]
        key = gobuild.build_key(wanted, version)

        def make(target: Path) -> None:
            gobuild.build(self.commands, wanted, target)
            if gobuild.build_key(wanted, version) != key:
                raise ToolchainError(
                    f"the sources in {wanted.directory} changed while they were compiled; "
                    "run it again (it will be quick)"
                )

        entry = self._ensure(
            wanted.name,
            key,
            "build",
            make,
            doing=f"building {wanted.name}",
            shown=wanted.name,
            typical=self.store.seconds(wanted.name, typical),
            position=position,
        )
        self.store.record_seconds(wanted.name, entry.seconds, typical)
        return entry

    def _with_host(self, pulumi: Path) -> tuple[Path, str]:
        """The engine in a folder that also has the language host, and where the host is from.

        The engine warns at every start about a host that is not beside it, so one of our own is
        put into a folder together with a link to the engine.
        """
        beside = pulumi.resolve().parent
        if (beside / host.PROGRAM).exists():
            return pulumi, "with the engine"
        if "path" in self.origins and shutil.which(host.PROGRAM):
            return pulumi, "path"

        def make(target: Path) -> None:
            host.install(self.commands, self.python, target)
            link(pulumi.resolve(), target / "bin" / "pulumi")

        key = content_key({"host": host.key(self.python), "pulumi": _identity(pulumi)})
        entry = self.store.find("engine", key) or self._ensure(
            "engine", key, "own", make, doing="installing the Python language host", shown=""
        )
        return entry.path / "bin" / "pulumi", "own"

    def _home(self, pulumi: Path, plugin: Path, name: str) -> Path:
        key = content_key({"plugin": _identity(plugin), "of": pins.ALICLOUD_VERSION})

        def make(target: Path) -> None:
            self._install_plugin(pulumi, target, ["--file", str(plugin)])
            installed = _plugin_folder(target) / PLUGIN
            installed.unlink()
            link(plugin, installed)
            for path in target.iterdir():
                if path.name != "plugins":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

        home = f"home-{name}"
        entry = self.store.find(home, key) or self._ensure(
            home, key, "own", make, doing="installing the alicloud provider", shown=""
        )
        return entry.path

    def _install_plugin(
        self, pulumi: Path, home: Path, extra: list[str], timeout: float | None = None
    ) -> None:
        self.commands.run(
            [
                str(pulumi),
                "plugin",
                "install",
                "resource",
                "alicloud",
                pins.ALICLOUD_VERSION,
                *extra,
            ],
            environ={**os.environ, "PULUMI_HOME": str(home), "PULUMI_SKIP_UPDATE_CHECK": "1"},
            timeout=timeout,
        )

    def _ensure(
        self,
        name: str,
        key: str,
        origin: str,
        make: Callable[[Path], None],
        *,
        doing: str,
        shown: str,
        typical: float | None = None,
        position: str = "",
    ) -> Entry:
        """Makes the entry, unless another run has just done so."""
        with self.store.lock(name, self.progress.say):
            if entry := self.store.find(name, key):
                return entry
            with self.progress.step(doing, typical=typical, position=position):
                entry = self.store.install(name, key, origin, make)
        if shown:
            self.progress.say(f"{shown}: {HOW[origin]} in {entry.seconds:.0f} s")
        return entry


def _plugin_folder(home: Path) -> Path:
    return home / "plugins" / f"resource-alicloud-v{pins.ALICLOUD_VERSION}"


def _identity(program: Path) -> str:
    """Changes when another program comes to stand at this path."""
    status = program.stat()
    return f"{program} {status.st_size} {status.st_mtime_ns}"


def _go_architecture() -> str:
    return {"x64": "amd64", "arm64": "arm64"}[download.architecture()]


def _all_reasons(reasons: Mapping[str, list[str]]) -> str:
    lines = []
    for name, attempts in reasons.items():
        lines.append(f"{name} can be had in none of the allowed ways:")
        lines += [f"  {attempt}" for attempt in attempts] or [
            "  (nothing was allowed; see --origins)"
        ]
    return "\n".join(lines)
