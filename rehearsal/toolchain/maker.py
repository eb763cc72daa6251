"""Has a tool from the cache, from PATH or from Go modules, for every kind of tool alike."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.toolchain import gobuild, pins
from rehearsal.toolchain.commands import Commands
from rehearsal.toolchain.errors import StoppedError, ToolchainError
from rehearsal.toolchain.gobuild import GoBuild
from rehearsal.toolchain.progress import Progress
from rehearsal.toolchain.store import Entry, Store

ORIGINS = ("path", "download", "build")
MANY_CORES = 8
"""From here on two builds at once are faster than one after the other."""

HOW = {
    "path": "found on PATH",
    "download": "downloaded from {publisher}",
    "build": "built from Go modules",
}


@dataclass(kw_only=True)
class Maker:
    """The ways that all tools share."""

    store: Store
    commands: Commands
    progress: Progress
    origins: tuple[str, ...]
    cpus: int = field(default_factory=lambda: os.cpu_count() or 1)
    _compilers: dict[Path, str] = field(default_factory=dict, init=False, repr=False)

    def on_path(self, program: str, *ask: str) -> tuple[Path, str] | None:
        """Where a program is on PATH, with its version, if it runs."""
        found = shutil.which(program)
        if found is None:
            return None
        # Asking must not touch the user's own home: even `pulumi version` writes logs there.
        with tempfile.TemporaryDirectory() as home:
            environ = {
                **os.environ,
                "HOME": home,
                "PULUMI_HOME": home,
                "PULUMI_SKIP_UPDATE_CHECK": "1",
            }
            try:
                answer = self.commands.run([found, *ask], environ=environ, timeout=20)
            except StoppedError:
                raise
            except ToolchainError:
                return None
        return Path(found), version_in(answer)

    def right_on_path(self, program: str, version: str, *ask: str) -> Path | None:
        """The program on PATH if it has exactly this version; says so where it has another."""
        if "path" not in self.origins:
            return None
        found = self.on_path(program, *ask)
        if found is None:
            return None
        if found[1] == version:
            return found[0]
        self.progress.say(
            f"{program} {found[1]} on PATH is not used: this repository is made for {version}"
        )
        return None

    def cached(
        self, release: str | None, release_key: Callable[[], str], wanted: GoBuild
    ) -> Entry | None:
        """A download or build from an earlier run, without asking the network."""
        if release and "download" in self.origins:
            entry = self.store.find(release, release_key())
            if entry:
                return entry
        if "build" in self.origins and shutil.which("go"):
            version = self._compiler(wanted.directory)
            return self.store.find(wanted.name, gobuild.build_key(wanted, version))
        return None

    def build(
        self, builds: Sequence[GoBuild], reasons: Mapping[str, list[str]]
    ) -> dict[GoBuild, Entry]:
        """Builds what is left, several at once on a large machine.

        `reasons` says for each build by its name why no other way was possible; they are part of
        the ToolchainError of a build that fails.
        """
        if not builds:
            return {}
        if "build" not in self.origins:
            raise ToolchainError(all_reasons({b.name: reasons[b.name] for b in builds}))
        versions = {b: self._compiler(b.directory) for b in builds}
        at_once = 2 if self.cpus >= MANY_CORES else 1
        with ThreadPoolExecutor(at_once) as pool, ThreadPoolExecutor(1) as fetcher:
            # The next tools' modules arrive while the first one compiles.
            started = {b.directory for b in builds[:at_once]}
            for later in dict.fromkeys(b.directory for b in builds[at_once:]):
                if later not in started:
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
                        all_reasons({failed.name: reasons[failed.name]})
                    ) from error
                raise

    def ensure(
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
        publisher: str = "",
    ) -> Entry:
        """Makes the entry, unless another run has just done so."""
        with self.store.lock(name, self.progress.say):
            if entry := self.store.find(name, key):
                return entry
            with self.progress.step(doing, typical=typical, position=position):
                entry = self.store.install(name, key, origin, make)
        if shown:
            how = HOW[origin].format(publisher=publisher)
            self.progress.say(f"{shown}: {how} in {entry.seconds:.0f} s")
        return entry

    def download(
        self,
        name: str,
        key: str,
        make: Callable[[Path], None],
        reasons: list[str],
        *,
        doing: str,
        shown: str,
        publisher: str,
    ) -> Entry | None:
        """The entry as its publisher has it, or None with the reason added to `reasons`."""
        if "download" not in self.origins:
            return None
        try:
            return self.ensure(
                name, key, "download", make, doing=doing, shown=shown, publisher=publisher
            )
        except StoppedError:
            raise
        except ToolchainError as error:
            reasons.append(f"download: {error}")
            return None

    def _compiler(self, directory: Path) -> str:
        if directory not in self._compilers:
            self._compilers[directory] = gobuild.go_version(self.commands, directory)
        return self._compilers[directory]

    def _prefetch(self, directory: Path) -> None:
        try:
            gobuild.download_modules(self.commands, directory)
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

        entry = self.ensure(
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


def version_in(answer: str) -> str:
    """The first version in what a program says about itself, without a leading "v".

    >>> version_in("etcd Version: 3.6.4\\nGo Version: go1.26.8")
    '3.6.4'
    """
    found = re.search(r"(?<![\w.])(?:\w+-)?v?(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)", answer)
    return found[1] if found else "of an unknown version"


def identity(program: Path) -> str:
    """Changes when another program comes to stand at this path."""
    status = program.stat()
    return f"{program} {status.st_size} {status.st_mtime_ns}"


def all_reasons(reasons: Mapping[str, list[str]]) -> str:
    """What was tried for each tool and why it failed, as lines for a person."""
    lines = []
    for name, attempts in reasons.items():
        lines.append(f"{name} can be had in none of the allowed ways:")
        lines += [f"  {attempt}" for attempt in attempts] or [
            "  (nothing was allowed; see --origins)"
        ]
    return "\n".join(lines)
