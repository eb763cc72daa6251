"""What provisioning hands over: where the tools are, and how a rehearsal uses them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Toolchain:
    """Where the tools are."""

    pulumi: Path
    path_prepend: tuple[Path, ...]
    pulumi_home: Path
    """A template with the provider installed; give each rehearsal its own with `make_home`."""
    alicloud_plugin: Path
    variant: str
    origin: Mapping[str, str]

    def describe(self) -> dict[str, object]:
        """The same as JSON values."""
        return {
            "pulumi": str(self.pulumi),
            "path_prepend": [str(path) for path in self.path_prepend],
            "pulumi_home": str(self.pulumi_home),
            "alicloud_plugin": str(self.alicloud_plugin),
            "variant": self.variant,
            "origin": dict(self.origin),
        }

    def make_home(self, target: Path) -> Path:
        """Makes `target` a PULUMI_HOME with the provider installed; existing files stay.

        The provider is linked, not copied. Its folder has to be a real one, because the engine
        overlooks plugin folders that are links.
        """
        for source in sorted((self.pulumi_home / "plugins").rglob("*")):
            destination = target / source.relative_to(self.pulumi_home)
            if source.is_dir():
                destination.mkdir(parents=True, exist_ok=True)
            elif not destination.exists():
                link(source, destination)
        return target

    def environment(self, home: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """`environ` with the tools first on PATH and `home` as the only PULUMI_HOME."""
        path = os.pathsep.join([*map(str, self.path_prepend), environ.get("PATH", os.defpath)])
        return {
            **environ,
            "PATH": path,
            "PULUMI_HOME": str(home),
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            # The engine asks for the provider of every installed SDK, also where a program uses
            # none of its resources; without a way out each `up` would retry that for seconds.
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }


def link(source: Path, target: Path) -> None:
    """A second name for a file of 300 MB, or a pointer to it from another file system."""
    try:
        os.link(source, target)
    except OSError:
        target.symlink_to(source)
