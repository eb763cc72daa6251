"""Each tool, the ways to have it, and the order in which they are tried."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from rehearsal.toolchain import download, gobuild, host, pins
from rehearsal.toolchain.errors import StoppedError, ToolchainError
from rehearsal.toolchain.maker import ORIGINS, Maker, identity
from rehearsal.toolchain.result import Toolchain, link
from rehearsal.toolchain.store import Entry, content_key

__all__ = ["ORIGINS", "PLUGIN", "VARIANTS", "Provisioner"]

VARIANTS = ("plain", "fast")
PLUGIN_DOWNLOAD_SECONDS = 600.0
SCHEMA_SECONDS = 60.0
STAND_IN = "rehearsal.kubernetes_plugin"
"""The package that serves Helm releases where Pulumi's own provider cannot be had."""


@dataclass(frozen=True)
class Plugin:
    """A provider as the engine names it."""

    name: str
    version: str

    @property
    def program(self) -> str:
        """What the engine looks for on PATH and in the plugin's folder."""
        return f"pulumi-resource-{self.name}"

    def folder(self, home: Path) -> Path:
        """Where the engine installs it below a PULUMI_HOME."""
        return home / "plugins" / f"resource-{self.name}-v{self.version}"


ALICLOUD = Plugin("alicloud", pins.ALICLOUD_VERSION)
KUBERNETES = Plugin("kubernetes", pins.KUBERNETES_PLUGIN_VERSION)
PLUGIN = ALICLOUD.program


@dataclass(kw_only=True)
class Provisioner(Maker):
    """Provides the tools one after the other; `provide` is the only entry."""

    python: Path
    pulumi_releases: str = pins.PULUMI_RELEASES
    plugin_releases: str = pins.PLUGIN_RELEASES

    def provide(self, variant: str, *, kubernetes: bool = False) -> Toolchain:
        """Has every tool ready; raises ToolchainError with all reasons if one cannot be had.

        With `kubernetes` the home also has a provider for Helm releases.
        """
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
            entry = self._download_plugin(
                pulumi, ALICLOUD, self._release_key(), reasons[plugin_build.name]
            )
            if entry:
                plugin, plugin_origin = entry.path / PLUGIN, entry.origin
                builds.remove(plugin_build)
        for wanted, entry in self.build(builds, reasons).items():
            if wanted is gobuild.PULUMI:
                pulumi, pulumi_origin = entry.path / wanted.output, entry.origin
            else:
                plugin, plugin_origin = entry.path / wanted.output, entry.origin
        if pulumi is None or plugin is None:
            raise ToolchainError(
                "neither PATH nor a download nor a build was allowed; see --origins"
            )
        pulumi, host_origin = self._with_host(pulumi)
        plugins = {ALICLOUD: plugin}
        origin = {"pulumi": pulumi_origin, "alicloud": plugin_origin, "python-host": host_origin}
        if kubernetes:
            plugins[KUBERNETES], origin["kubernetes"] = self._kubernetes(pulumi)
        home = self._home(pulumi, plugins, plugin_build.name)
        return Toolchain(
            pulumi=pulumi,
            path_prepend=(pulumi.parent,),
            pulumi_home=home,
            alicloud_plugin=plugin,
            variant=variant,
            origin=origin,
        )

    def _found_pulumi(self) -> tuple[Path | None, str]:
        if found := self.right_on_path("pulumi", pins.PULUMI_VERSION, "version"):
            return found, "path"
        if entry := self.cached("pulumi-release", self._release_key, gobuild.PULUMI):
            return entry.path / gobuild.PULUMI.output, entry.origin
        return None, ""

    def _found_plugin(self, variant: str) -> tuple[Path | None, str]:
        if variant == "fast":
            entry = self.cached(None, self._release_key, gobuild.ALICLOUD_FAST)
            return (entry.path / PLUGIN, entry.origin) if entry else (None, "")
        if found := self.right_on_path(PLUGIN, pins.ALICLOUD_VERSION, "-version"):
            return found, "path"
        if entry := self.cached("alicloud-release", self._release_key, gobuild.ALICLOUD):
            return entry.path / PLUGIN, entry.origin
        return None, ""

    def _release_key(self) -> str:
        return content_key({"pulumi": pins.PULUMI_VERSION, "alicloud": pins.ALICLOUD_VERSION})

    def _download_pulumi(self, reasons: list[str]) -> Entry | None:
        def make(target: Path) -> None:
            download.download_pulumi(self.pulumi_releases, pins.PULUMI_VERSION, target)

        return self.download(
            "pulumi-release",
            self._release_key(),
            make,
            reasons,
            doing="downloading pulumi",
            shown="pulumi",
            publisher="Pulumi",
        )

    def _download_plugin(
        self, pulumi: Path, plugin: Plugin, key: str, reasons: list[str]
    ) -> Entry | None:
        def make(target: Path) -> None:
            machine = download.go_architecture()
            file = f"{plugin.program}-v{plugin.version}-linux-{machine}.tar.gz"
            # The engine retries a dead network for minutes; this asks once.
            if reason := download.reachable(f"{self.plugin_releases}/{file}"):
                raise ToolchainError(reason)
            home = target / "home"
            self._install_plugin(pulumi, plugin, home, [], timeout=PLUGIN_DOWNLOAD_SECONDS)
            (plugin.folder(home) / plugin.program).rename(target / plugin.program)
            shutil.rmtree(home)

        return self.download(
            f"{plugin.name}-release",
            key,
            make,
            reasons,
            doing=f"downloading the {plugin.name} provider",
            shown=plugin.name,
            publisher="Pulumi",
        )

    def _kubernetes(self, pulumi: Path) -> tuple[Path, str]:
        """A provider for Helm releases and where it is from.

        No registry serves the source of Pulumi's own, so where it is neither on PATH nor can be
        downloaded, this repository's stand-in takes its place.
        """
        if "path" in self.origins and (found := self._kubernetes_on_path(pulumi)):
            return found, "path"
        key = content_key({"pulumi": pins.PULUMI_VERSION, "kubernetes": KUBERNETES.version})
        entry = self.store.find("kubernetes-release", key) if "download" in self.origins else None
        if entry:
            return entry.path / KUBERNETES.program, entry.origin
        if entry := self.store.find("kubernetes-stand-in", self._stand_in_key()):
            return _only(entry, KUBERNETES), "stand-in"
        reasons: list[str] = []
        if entry := self._download_plugin(pulumi, KUBERNETES, key, reasons):
            return entry.path / KUBERNETES.program, entry.origin
        return self._stand_in(reasons), "stand-in"

    def _stand_in(self, reasons: list[str]) -> Path:
        """The stand-in's program, with a line that says so once."""

        def make(target: Path) -> None:
            importlib.import_module(STAND_IN).install(target, self.python)

        entry = self.ensure(
            "kubernetes-stand-in",
            self._stand_in_key(),
            "own",
            make,
            doing="installing the stand-in for the kubernetes provider",
            shown="",
        )
        why = f" ({reasons[-1]})" if reasons else ""
        self.progress.say(f"kubernetes provider: this repository's stand-in{why}")
        return _only(entry, KUBERNETES)

    def _kubernetes_on_path(self, pulumi: Path) -> Path | None:
        """The provider on PATH if it is of the right version.

        It has no option that prints its version, but the schema that the engine gets from it names
        one. The schema is large, so the version is kept until another program stands there.
        """
        on_path = shutil.which(KUBERNETES.program)
        if on_path is None:
            return None
        found = Path(on_path)
        name = "kubernetes-on-path"
        key = content_key({"program": identity(found), "pulumi": pins.PULUMI_VERSION})

        def make(target: Path) -> None:
            home = target / "home"
            schema = self.commands.run(
                [str(pulumi), "package", "get-schema", str(found)],
                environ=_private(home),
                cwd=target,
                timeout=SCHEMA_SECONDS,
            )
            shutil.rmtree(home, ignore_errors=True)
            version = re.search(r'"version":\s*"v?([^"]+)"', schema)
            (target / "version").write_text(version[1] if version else "of an unknown version")

        try:
            entry = self.store.find(name, key) or self.ensure(
                name, key, "path", make, doing="asking the kubernetes provider on PATH", shown=""
            )
        except StoppedError:
            raise
        except ToolchainError as error:
            self.progress.say(f"{KUBERNETES.program} on PATH is not used: {error}")
            return None
        version = (entry.path / "version").read_text()
        if version == KUBERNETES.version:
            return found
        self.progress.say(
            f"{KUBERNETES.program} {version} on PATH is not used: this repository is made for "
            f"{KUBERNETES.version}"
        )
        return None

    def _stand_in_key(self) -> str:
        spec = importlib.util.find_spec(STAND_IN)
        if spec is None or spec.origin is None:
            raise ToolchainError(
                f"{STAND_IN} is not in this checkout, and without it there is no provider for Helm "
                "releases here; restore it from version control"
            )
        folder = Path(spec.origin).parent
        parts: dict[str, bytes | str] = {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.py")
        }
        return content_key({**parts, "python": str(self.python), "of": KUBERNETES.version})

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

        key = content_key({"host": host.key(self.python), "pulumi": identity(pulumi)})
        entry = self.store.find("engine", key) or self.ensure(
            "engine", key, "own", make, doing="installing the Python language host", shown=""
        )
        return entry.path / "bin" / "pulumi", "own"

    def _home(self, pulumi: Path, plugins: dict[Plugin, Path], name: str) -> Path:
        """A PULUMI_HOME with exactly these plugins, as a template for rehearsals' own."""
        key = content_key(
            {plugin.name: f"{plugin.version} {identity(at)}" for plugin, at in plugins.items()}
        )

        def make(target: Path) -> None:
            for plugin, program in plugins.items():
                self._install_plugin(pulumi, plugin, target, ["--file", str(program)])
                installed = plugin.folder(target) / plugin.program
                installed.unlink()
                link(program, installed)
            for path in target.iterdir():
                if path.name != "plugins":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

        home = "-".join(["home", name, *sorted(p.name for p in plugins if p != ALICLOUD)])
        doing = f"installing {len(plugins)} provider{'s' if len(plugins) > 1 else ''}"
        entry = self.store.find(home, key) or self.ensure(
            home, key, "own", make, doing=doing, shown=""
        )
        return entry.path

    def _install_plugin(
        self,
        pulumi: Path,
        plugin: Plugin,
        home: Path,
        extra: list[str],
        timeout: float | None = None,
    ) -> None:
        command = [str(pulumi), "plugin", "install", "resource", plugin.name, plugin.version]
        self.commands.run(
            [*command, *extra],
            environ=_private(home),
            timeout=timeout,
        )


def _private(home: Path) -> dict[str, str]:
    """This process's environment with `home` in place of the user's own ~/.pulumi."""
    return {**os.environ, "PULUMI_HOME": str(home), "PULUMI_SKIP_UPDATE_CHECK": "1"}


def _only(entry: Entry, plugin: Plugin) -> Path:
    """The plugin's program in an entry that another package has filled."""
    for found in sorted(entry.path.rglob(plugin.program)):
        return found
    raise ToolchainError(
        f"{entry.path} has no {plugin.program}, which {STAND_IN} should have put there; remove the "
        "folder and try again"
    )
