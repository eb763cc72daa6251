"""Checks an image against the lock without running it.

Every byte of every layer is read: blobs against manifest and config, files against the packages'
records, sources against git's tree, our packages against this checkout, byte code against its
sources, weights against their manifest, settings and start scripts against the Containerfile.
Not checked: the files of Debian's packages, of which only the versions are compared.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vace_weights.errors import ManifestError
from vace_weights.manifest import parse

from images.builder.byte_code import compare_byte_code
from images.builder.errors import SourceMissingError
from images.builder.facts import IMAGE_LABEL, LOCK_LABEL, OVERRIDES_LABEL, VARIANT_LABEL
from images.builder.installed import debian_packages
from images.builder.layers import LayerError
from images.builder.models import differences, model_problems
from images.builder.oci import Image
from images.builder.placement import (
    BASE_LAYERS,
    package_problems,
    system_problems,
    venv_problems,
    wrapper_problems,
)
from images.builder.progress import Progress, ProgressCallback
from images.builder.settings_checks import Finding, leftover_findings, setting_findings
from images.builder.tree import SOURCES, Tree, git_tree_id, read_tree
from images.builder.verdict import Check, Report
from images.builder.wheel_checks import (
    Finder,
    installed,
    record_problems,
    recorded,
    version_problems,
    wheel_problems,
)
from images.builder.wiring import Wiring, containerfiles, wiring_of
from images.lock import FOLDER, Lock, Wheel

__all__ = ["Check", "Report", "verify"]

_SHOWN = 5
_BYTES_PER_SECOND = 150e6
_PACKAGES = {
    "comfyui": ("vace_comfyui", "vace_weights"),
    "comfyui-vace": ("vace_comfyui", "vace_weights"),
    "gateway": ("vace_gateway",),
}
_KINDS = (*_PACKAGES, "weights")


def verify(
    image: Image,
    lock: Lock,
    *,
    allow_overrides: bool = False,
    allow_skips: bool = False,
    rendered: Path = FOLDER / "rendered",
    base: Image | None = None,
    find_wheel: Finder = lambda _: None,
    git_cache: Path | None = None,
    progress: ProgressCallback = lambda _: None,
) -> Report:
    """Run every check; raises nothing for an image that is wrong, only for one that is unreadable.

    Args:
        image: the image, from a registry, an archive or a layout.
        lock: what it must be.
        allow_overrides: an image that says that it is a rehearsal's passes, and what it overrides
            is skipped.
        allow_skips: checks that lack what they compare with do not make the image unfit;
            implied by ``allow_overrides``.
        rendered: folder of the Containerfiles.
        base: the locked base image, to compare the lowest layer with.
        find_wheel: finds wheels on this machine, to compare their own records.
        git_cache: folder of bare repositories, asked for the tree of a commit where the lock
            does not name it.
        progress: receives a sentence at least every two seconds.

    Raises ToolMissingError when zstd is needed and missing, RegistryError when the registry fails.
    """
    verifier = _Verifier(
        image,
        lock,
        allow=allow_overrides,
        find=find_wheel,
        given=_Given(rendered, base, git_cache),
    )
    checks = verifier.run(progress)
    kind = image.labels.get(IMAGE_LABEL, "")
    return Report(kind, image.source.name, image.digest, checks, allow_skips or allow_overrides)


@dataclass(frozen=True)
class _Given:
    """What lies on this machine to compare with."""

    rendered: Path
    base: Image | None
    git_cache: Path | None


class _Verifier:
    def __init__(
        self, image: Image, lock: Lock, *, allow: bool, find: Finder, given: _Given
    ) -> None:
        self._image = image
        self._lock = lock
        self._allow = allow
        self._find = find
        self._git_cache = given.git_cache
        self._rendered = given.rendered
        self._base_image = given.base
        self._kind = image.labels.get(IMAGE_LABEL, "")
        self._variant = image.labels.get(VARIANT_LABEL, "")
        overrides = image.labels.get(OVERRIDES_LABEL, "")
        self._overrides = {name for name in overrides.split(",") if name}
        self._checks: list[Check] = []

    def run(self, progress: ProgressCallback) -> list[Check]:
        self._labels()
        wiring = self._wiring()
        self._add_all(setting_findings(self._image.config, wiring))
        what = f"reading {len(self._image.layers)} layers"
        try:
            with Progress(what, 1 + self._image.size / _BYTES_PER_SECOND, progress):
                tree = read_tree(self._image, byte_code=True)
        except LayerError as error:
            self._add("layers", [str(error)], "")
        else:
            count = len(self._image.layers)
            missing = count != len(self._image.diff_ids)
            problems = ["the config names another number of layers"] if missing else []
            self._add("layers", problems, f"{count} blobs have the digests that name them")
            self._add("names", tree.problems, "every runtime unpacks the layers alike")
            self._add_all(leftover_findings(tree))
            system = system_problems(tree, self._kind, wiring.wrappers)
            self._add("system files", system, "only the base and Debian's layer have any")
            if self._kind in _PACKAGES:
                self._base()
                self._own(tree, wiring)
                self._python(tree)
                self._byte_code(tree)
                self._debian(tree)
            if self._kind.startswith("comfyui"):
                self._sources(tree)
                self._facts(tree)
            self._weights(tree)
        return self._checks

    # Checks, each adding one or more results

    def _labels(self) -> None:
        known = self._kind in _KINDS
        problem = [] if known else [f"label {IMAGE_LABEL} is {self._kind!r}, none of ours"]
        self._add("image", problem, f"is {self._kind} {self._variant}".rstrip())
        label = self._image.labels.get(LOCK_LABEL, "missing")
        wanted = f"sha256:{self._lock.sha256}"
        problem = [] if label == wanted else [f"built from lock {label}, this one is {wanted}"]
        self._add("lock", problem, f"built from this lock, {wanted[:23]}…")
        names = ", ".join(sorted(self._overrides))
        if not self._overrides:
            self._add("overrides", [], "everything comes from the lock")
        elif self._allow:
            self._skip("overrides", f"not from the lock, as allowed: {names}")
        else:
            allow = "not from the lock (--allow-overrides accepts a rehearsal's image)"
            self._add("overrides", [f"{names}: {allow}"], "")

    def _wiring(self) -> Wiring:
        files = containerfiles(self._rendered, self._kind, self._variant)
        if self._kind not in _KINDS:
            return Wiring()
        try:
            texts = [path.read_text(encoding="utf-8") for path in files]
        except OSError as error:
            self._add("Containerfile", [f"cannot be read: {error}"], "")
            return Wiring()
        return wiring_of(texts)

    def _base(self) -> None:
        if self._skipped("base", "base"):
            return
        base = self._base_image
        wanted = self._lock.base.digest
        if base is None:
            self._skip(
                "base", f"{wanted} is not on this machine, so its layer was not compared; --base"
            )
        elif base.digest != wanted:
            self._add("base", [f"{base.source.name} is {base.digest}, the lock says {wanted}"], "")
        else:
            same = self._image.diff_ids[: len(base.diff_ids)] == base.diff_ids
            one = len(base.diff_ids) == BASE_LAYERS
            problem = [] if same and one else ["the lowest layer is not the locked base's"]
            self._add("base", problem, f"the lowest layer is that of {wanted[:23]}…")

    def _own(self, tree: Tree, wiring: Wiring) -> None:
        try:
            problems = package_problems(tree, _PACKAGES[self._kind])
        except SourceMissingError as error:
            problems = [str(error)]
        self._add("own packages", problems, "every file is this checkout's")
        problems = wrapper_problems(tree, wiring.wrappers)
        problems += venv_problems(tree, recorded(tree))
        names = ", ".join(sorted(wiring.wrappers)) or "none"
        self._add("start scripts", problems, f"as the Containerfile writes them: {names}")

    def _byte_code(self, tree: Tree) -> None:
        have = {package.name: package.version for package in debian_packages(tree)}
        version = have.get("python3.11", "").partition("-")[0]
        found = compare_byte_code(tree, BASE_LAYERS, version)
        if found.unsure and not found.problems:
            shown = "; ".join(found.unsure[:_SHOWN])
            self._skip(
                "byte code",
                f"{len(found.unsure)} of {found.count} not compared, as this Python is not the "
                f"image's {version or '(unknown)'}: {shown}",
            )
            return
        self._add("byte code", found.problems, f"{found.count} files are what their sources say")

    def _python(self, tree: Tree) -> None:
        wheels = self._wheels()
        if wheels is None:
            problem = f"variant {self._variant!r} is not in the lock"
            self._add("Python packages", [problem], "")
            return
        problems = version_problems(tree, wheels)
        self._add("Python packages", problems, f"{len(wheels)} packages, as locked")
        self._add(
            "Python files", record_problems(tree), "every file has the hash of its package's record"
        )
        compared, problems = wheel_problems(tree, wheels, self._find)
        if problems or compared == len(wheels):
            self._add("wheels", problems, f"all {compared} compared file by file")
        else:
            self._skip(
                "wheels",
                f"{len(wheels) - compared} of {len(wheels)} are not on this machine, so the "
                "image's own records count for them",
            )
        if "pip" in installed(tree):
            self._add("pip", ["pip is installed; a serving image installs nothing"], "")

    def _wheels(self) -> list[Wheel] | None:
        if self._kind == "gateway":
            groups: tuple[str, ...] = ("gateway",)
        elif self._variant in self._lock.variants:
            groups = self._lock.variants[self._variant].groups
        else:
            return None
        return [wheel for group in groups for wheel in self._lock.wheels_of(group)]

    def _debian(self, tree: Tree) -> None:
        if self._skipped("Debian packages", "debian"):
            return
        have = {package.name: package.version for package in debian_packages(tree)}
        if not have:
            self._add("Debian packages", ["dpkg's database is missing or names no package"], "")
            return
        locked = self._lock.debian_of("gateway" if self._kind == "gateway" else "comfyui")
        problems = [
            f"{each.name} is {have.get(each.name, 'missing')}, the lock says {each.version}"
            for each in locked
            if have.get(each.name) != each.version
        ]
        self._add("Debian packages", problems, f"{len(locked)} packages, as locked")

    def _sources(self, tree: Tree) -> None:
        inner = tuple(source.path for source in self._lock.git.values() if source.path)
        for name, source in sorted(self._lock.git.items()):
            title = f"source {name}"
            if self._skipped(title, name):
                continue
            folder = f"{SOURCES}{source.path}/" if source.path else SOURCES
            without = tuple(path for path in inner if not source.path)
            actual = git_tree_id(tree, folder, without)
            wanted = source.tree or self._tree_of(name, source.commit)
            if wanted is None:
                self._skip(
                    title, f"tree {actual}; neither lock nor cache has commit {source.commit}"
                )
                continue
            problem = f"/{folder} has tree {actual}, commit {source.commit} has {wanted}"
            self._add(
                title, [problem] if actual != wanted else [], f"commit {source.commit}, to the byte"
            )

    def _tree_of(self, name: str, commit: str) -> str | None:
        if self._git_cache is None or not (self._git_cache / f"{name}.git").is_dir():
            return None
        command = ["git", "--git-dir", str(self._git_cache / f"{name}.git"), "rev-parse"]
        done = subprocess.run(
            [*command, "--verify", "--quiet", f"{commit}^{{tree}}"],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() or None

    def _facts(self, tree: Tree) -> None:
        text = tree.text("opt/vace/image.json")
        problems = []
        try:
            facts = json.loads(text or "")
        except ValueError:
            problems = ["/opt/vace/image.json is missing or no JSON"]
        else:
            if facts.get("lock_sha256") != self._lock.sha256:
                problems.append(f"image.json names lock {facts.get('lock_sha256')}")
            if facts.get("variant") != self._variant:
                problems.append(f"image.json names variant {facts.get('variant')!r}")
            # The bundle adds what its weights override.
            if not set(facts.get("overrides", [])) <= self._overrides:
                problems.append(f"image.json has overrides {facts.get('overrides')}, the label not")
        self._add("image.json", problems, "names this lock and variant")

    def _weights(self, tree: Tree) -> None:
        models = {
            path: file for path, file in tree.below("opt/models/") if file.kind in ("file", "link")
        }
        if self._kind not in ("weights", "comfyui-vace"):
            files = sorted(path for path in models)
            self._add("weights", files, "none; they are mounted")
            return
        text = tree.text("opt/models/manifest.json")
        try:
            manifest = parse(json.loads(text or ""), "/opt/models/manifest.json")
            manifest.require_complete("/opt/models/manifest.json")
        except (ValueError, ManifestError) as error:
            self._add("weights", [f"/opt/models/manifest.json: {error}"], "")
            return
        models.pop("manifest.json", None)
        problems = list(model_problems(models, manifest))
        self._add("weights", problems, f"{len(manifest.files)} files, as their manifest says")
        if not self._skipped("weights of the lock", "weights"):
            locked = parse(self._lock.weights, "the lock's weights")
            self._add(
                "weights of the lock", differences(manifest, locked), "the manifest is the lock's"
            )

    # Results

    def _skipped(self, name: str, override: str) -> bool:
        if override not in self._overrides:
            return False
        self._skip(name, f"overridden ({override}), so there is nothing to compare with")
        return True

    def _skip(self, name: str, sentence: str) -> None:
        self._checks.append(Check(name, "skipped", sentence))

    def _add_all(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._add(finding.check, finding.problems, finding.fine)

    def _add(self, name: str, problems: Sequence[str], fine: str) -> None:
        if not problems:
            self._checks.append(Check(name, "ok", fine))
            return
        shown = "; ".join(problems[:_SHOWN])
        more = len(problems) - _SHOWN
        sentence = shown + (f"; and {more} more" if more > 0 else "")
        self._checks.append(Check(name, "failed", sentence))
