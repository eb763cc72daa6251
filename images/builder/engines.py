"""Programs that can build a Containerfile: buildah, podman, docker with buildx.

All three build from the same context and end with an OCI layout. buildah and podman keep layers
in a storage of their own below the cache, so the user's images are neither used nor changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from images.builder.errors import ArtifactError, BuildFailedError
from images.builder.layouts import forget_build_cache
from images.builder.oci import LayoutSource, load_image
from images.builder.process import run_logged

Compression = Literal["zstd", "gzip"]
COMPRESSIONS: tuple[Compression, ...] = ("zstd", "gzip")
ENGINES = ("buildah", "podman", "docker")
"""In the order in which ``auto`` tries them; the first two give the same digests every time."""
INSTALL = {
    "buildah": "apt-get install --no-install-recommends buildah",
    "podman": "apt-get install --no-install-recommends podman buildah",
    "docker": "install Docker Engine 23 or newer with the buildx plugin, and start it",
}
_PROBE_SECONDS = 30
_STEP = re.compile(r"^(?:STEP \d+/\d+: .*|#\d+ \[.*\d+/\d+\] .*)$", re.MULTILINE)
_STEP_LENGTH = 160
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'
_BUILDER = "wan-vace"


class EngineError(ArtifactError):
    """No program that can build images works here."""


@dataclass(frozen=True)
class BuildJob:
    """One image to build.

    Attributes:
        step: what is done, for messages.
        context: folder with ``Containerfile`` and everything that it copies.
        layouts: build arguments that name an image, and the OCI layout which has it.
        arguments: other build arguments.
        labels: labels of the image.
        target: folder that becomes an OCI layout with one image.
    """

    step: str
    context: Path
    target: Path
    layouts: Mapping[str, Path] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    compression: Compression = "zstd"


class Engine(Protocol):
    """A program that builds images."""

    @property
    def name(self) -> str:
        """``buildah``, ``podman`` or ``docker``."""

    def trouble(self) -> str | None:
        """Why it does not work here, or None."""

    def build(self, job: BuildJob, log: Path) -> None:
        """Build ``job`` into its target. Raises BuildFailedError with the step that failed."""


def choose_engine(name: str, folder: Path) -> Engine:
    """The engine of that name, or with ``auto`` the first that works.

    ``folder`` is where engines keep layers. Raises EngineError with a reason for each one tried
    and the command that installs it.
    """
    if name not in ("auto", *ENGINES):
        raise EngineError(
            f"there is no engine {name!r}; there are auto, {', '.join(ENGINES)}. Name one of these."
        )
    reasons = []
    for candidate in ENGINES if name == "auto" else (name,):
        engine: Engine = (
            DockerEngine() if candidate == "docker" else BuildahEngine(candidate, folder)
        )
        reason = engine.trouble()
        if reason is None:
            return engine
        reasons.append(f"  {candidate}: {reason}\n    {INSTALL[candidate]}")
    what = (
        "none of the programs that build images works"
        if name == "auto"
        else f"{name} does not work"
    )
    raise EngineError(f"{what} on this machine; one is needed:\n" + "\n".join(reasons))


class BuildahEngine:
    """buildah, or podman, whose ``build`` is buildah's.

    Args:
        program: ``buildah`` or ``podman``.
        folder: storage and temporary files go into a folder of the program's name in here.

    One run at a time may use a storage; the caller holds a lock.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder / program
        # Locks and counters for one boot. podman refuses paths of more than 50 characters.
        short = hashlib.sha256(str(self._folder).encode()).hexdigest()[:12]
        volatile = os.environ.get("XDG_RUNTIME_DIR", "") if os.geteuid() else "/run"
        self._run_root = Path(volatile or tempfile.gettempdir()) / f"vace-build-{short}"

    @property
    def name(self) -> str:
        """The program's name."""
        return self._program

    def trouble(self) -> str | None:
        """Why a container cannot be made and removed here, or None."""
        if shutil.which(self._program) is None:
            return "is not installed"
        self._prepare()
        if self._program == "buildah":
            trials = [["from", "--name", "vace-probe", "scratch"], ["rm", "vace-probe"]]
        else:
            trials = [["info"]]
        for arguments in trials:
            reason = probe([*self._command(), *arguments], self._environment())
            if reason is not None:
                return reason
        return None

    def build(self, job: BuildJob, log: Path) -> None:
        """Build with cached layers, then export."""
        self._prepare()
        # Containers of a build that was killed.
        self._run("removing old containers", log, *self._remove_all())
        arguments = dict(job.arguments)
        for argument, layout in job.layouts.items():
            arguments[argument] = self._load(layout, log)
        image = f"localhost/vace-result:{os.getpid()}"
        command = self.build_arguments(job, arguments, image)
        try:
            self._run(job.step, log, *command)
        except BuildFailedError as error:
            raise _with_step(error) from None
        self._run("exporting the image", log, *self.push_arguments(job, image))
        forget_build_cache(job.target)
        # Under the name by which a build on top of it looks for it.
        self._run("naming the image", log, "tag", image, _tag(job.target))
        untag = ["rmi"] if self._program == "buildah" else ["untag"]
        self._run("naming the image", log, *untag, image)

    def build_arguments(self, job: BuildJob, arguments: Mapping[str, str], image: str) -> list[str]:
        """Options of the build; the same job gives the same layers."""
        # docker's default isolation needs a runtime and cgroups; chroot works in containers, too.
        options = ["--isolation=chroot", "--layers=true", "--timestamp=0", "--format=oci"]
        local = set(job.layouts) >= {"BASE"} or "BASE" not in arguments
        if self._program == "buildah":
            options += ["--identity-label=false", "--pull=never" if local else "--pull=false"]
        else:
            options += ["--pull=never" if local else "--pull=missing"]
        options += ["--network=host", *self._policy()]
        options += [f"--build-arg={key}={value}" for key, value in sorted(arguments.items())]
        options += [f"--label={key}={value}" for key, value in sorted(job.labels.items())]
        file = job.context / "Containerfile"
        return ["build", *options, "--tag", image, "--file", str(file), str(job.context)]

    def push_arguments(self, job: BuildJob, image: str) -> list[str]:
        """Options of the export to an OCI layout."""
        compression = ["--compression-format", job.compression]
        return ["push", *compression, *self._policy(), image, f"oci:{job.target}:latest"]

    def remove_storage(self) -> None:
        """Delete all layers kept by this engine."""
        if not self._folder.exists():
            return
        inside = [] if os.geteuid() == 0 else [self._program, "unshare"]
        remove = ["rm", "-rf", "--one-file-system", "--", str(self._folder), str(self._run_root)]
        subprocess.run([*inside, *remove], check=True)

    def _load(self, layout: Path, log: Path) -> str:
        tag = _tag(layout)
        exists = ["inspect", "--type", "image", tag]
        if self._program == "podman":
            exists = ["image", "exists", tag]
        if probe([*self._command(), *exists], self._environment()) is None:
            return tag
        # The image gets the path as its name, and not every path is one ("/root/.cache" is not).
        plain = self._run_root / "layout"
        plain.unlink(missing_ok=True)
        plain.symlink_to(layout)
        source = f"oci:{plain}"
        image_id = self._output("loading the image below", log, "pull", *self._policy(), source)
        plain.unlink()
        self._run("loading the image below", log, "tag", image_id, tag)
        return tag

    def _remove_all(self) -> list[str]:
        return ["rm", "--all"] if self._program == "buildah" else ["rm", "--all", "--force"]

    def _prepare(self) -> None:
        for folder in (self._folder / "storage", self._folder / "tmp", self._run_root):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self._folder / "policy.json").write_text(_POLICY)
        # The user's own storage.conf must not decide where this build keeps its layers.
        (self._folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self._folder / "storage"}"\n'
            f'runroot = "{self._run_root}"\n'
        )

    def _policy(self) -> list[str]:
        return ["--signature-policy", str(self._folder / "policy.json")]

    def _environment(self) -> dict[str, str]:
        return {
            "CONTAINERS_STORAGE_CONF": str(self._folder / "storage.conf"),
            # Layers are written there while they are compressed.
            "TMPDIR": str(self._folder / "tmp"),
        }

    def _command(self) -> list[str]:
        # The mount namespace makes the builder's overlay mounts end with the command. Without
        # root, the program makes a user namespace of its own.
        private = ["unshare", "--mount", "--propagation", "private", "--"]
        storage = [
            *("--root", str(self._folder / "storage"), "--runroot", str(self._run_root)),
            *("--storage-driver", "overlay"),
        ]
        return [*(private if os.geteuid() == 0 else []), self._program, *storage]

    def _run(self, step: str, log: Path, *arguments: str) -> None:
        run_logged(step, [*self._command(), *arguments], log, env=self._environment())

    def _output(self, step: str, log: Path, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command(), *arguments],
            env={**os.environ, **self._environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        with log.open("a") as sink:
            sink.write(f"$ {arguments[0]}\n{done.stderr}{done.stdout}")
        if done.returncode != 0:
            raise BuildFailedError(step, done.returncode, log, done.stderr[-2000:])
        return done.stdout.split()[-1]


class DockerEngine:
    """docker with buildx; needs a builder that exports OCI layouts (``docker-container``)."""

    name = "docker"

    def trouble(self) -> str | None:
        """Why docker or buildx cannot be used, or None."""
        if shutil.which("docker") is None:
            return "is not installed"
        for arguments in (["buildx", "version"], ["info", "--format", "{{.ServerVersion}}"]):
            reason = probe(["docker", *arguments], {})
            if reason is not None:
                return reason
        return None

    def build(self, job: BuildJob, log: Path) -> None:
        """Build with a builder of our own, then unpack what it exports."""
        if probe(["docker", "buildx", "inspect", _BUILDER], {}) is not None:
            create = ["docker", "buildx", "create", "--name", _BUILDER]
            run_logged("making a builder", [*create, "--driver", "docker-container"], log)
        archive = job.target.with_suffix(".tar")
        try:
            run_logged(job.step, self.build_command(job, archive), log)
        except BuildFailedError as error:
            raise _with_step(error) from None
        job.target.mkdir()
        run_logged("unpacking the image", ["tar", "-xf", str(archive), "-C", str(job.target)], log)
        archive.unlink()

    def build_command(self, job: BuildJob, archive: Path) -> list[str]:
        """The whole command; times in layers are those of SOURCE_DATE_EPOCH."""
        output = [
            *("type=oci", f"dest={archive}", "oci-mediatypes=true", "rewrite-timestamp=true"),
            *(f"compression={job.compression}", "force-compression=true"),
        ]
        arguments = {"SOURCE_DATE_EPOCH": "0", **job.arguments}
        contexts = []
        for argument, layout in sorted(job.layouts.items()):
            name = f"vace-{argument.lower()}"
            arguments[argument] = name
            contexts.append(f"--build-context={name}=oci-layout://{layout}@{_digest(layout)}")
        return [
            *("docker", "buildx", "build", "--builder", _BUILDER, "--progress=plain"),
            *("--platform=linux/amd64", "--provenance=false", "--sbom=false"),
            *contexts,
            *(f"--build-arg={key}={value}" for key, value in sorted(arguments.items())),
            *(f"--label={key}={value}" for key, value in sorted(job.labels.items())),
            *("--output", ",".join(output)),
            *("--file", str(job.context / "Containerfile"), str(job.context)),
        ]


def probe(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Why a command fails, in one line; None when it works."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"does not answer within {_PROBE_SECONDS} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1] if lines else f"ends with status {done.returncode}"


def current_step(log: Path) -> str:
    """The build instruction that a log names last; empty before the first."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - (256 << 10)))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    steps = _STEP.findall(text)
    if not steps:
        return ""
    last: str = steps[-1]
    return last if len(last) <= _STEP_LENGTH else f"{last[:_STEP_LENGTH]}…"


def _with_step(error: BuildFailedError) -> BuildFailedError:
    step = current_step(error.log)
    named = f"{error.step}, at {step}" if step else error.step
    return BuildFailedError(named, error.exit_code, error.log, error.tail)


def _digest(layout: Path) -> str:
    return load_image(LayoutSource(layout)).digest


def _tag(layout: Path) -> str:
    return f"localhost/vace-layout:{_digest(layout).removeprefix('sha256:')[:40]}"
