"""``check --build``: is the image consistent? Run at the end of its build, without a network."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from vace_comfyui import encoder, flags, gpu, profiles
from vace_comfyui.image import Image
from vace_comfyui.problems import Exit, Problem
from vace_comfyui.settings import Settings

HELP_SECONDS = 120
SATISFIED_BY = {"opencv-python": "opencv-python-headless"}
"""Both bring the module cv2; the headless one needs no X libraries."""
NOT_ON_CPU = re.compile(r"torch|torchvision|torchaudio|triton|nvidia-.*|cuda-.*|comfy-.*")
"""The variant cpu has no PyTorch: the simulated ComfyUI does not import it."""
REQUIREMENT_FILES = (
    "requirements.txt",
    "custom_nodes/ComfyUI-VideoHelperSuite/requirements.txt",
    "custom_nodes/ComfyUI-KJNodes/requirements.txt",
)


def run(settings: Settings, image: Image) -> list[Problem]:
    """All that is wrong with the image."""
    problems = [*unknown_flags(settings), *requirements(settings.home, image)]
    if image.has_gpu:
        problems += torch_set(image)
    return problems + encoder.check(settings.home)


def _problem(subject: str, given: str, allowed: str, why: str, remedy: str) -> Problem:
    return Problem(Exit.NO, subject, given, allowed, why, remedy)


def unknown_flags(settings: Settings) -> list[Problem]:
    """Flags that this ComfyUI does not know. Its --help ends before anything large is imported."""
    command = [sys.executable, "-s", str(settings.home / "main.py"), "--help"]
    try:
        done = subprocess.run(
            command, cwd=settings.home, capture_output=True, text=True, timeout=HELP_SECONDS,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return [_problem("main.py --help", str(error), "a list of flags", "no flag can be checked",
                         "see that the source is ComfyUI's")]  # fmt: skip
    if done.returncode:
        tail = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [_problem("main.py --help", f"status {done.returncode}: {tail}", "status 0",
                         "no flag can be checked", "see that the source is ComfyUI's")]  # fmt: skip
    known = set(re.findall(r"(?<![\w-])--[a-z0-9][a-z0-9_-]*", done.stdout))
    speeding = [flag for name in profiles.profiles() for flag in flags.speed(name)]
    wanted = flags.all_names(settings) | {flag.name for flag in speeding}
    words = set(re.findall(r"\w+", done.stdout))
    missing = {f"{flag.name} {value}" for flag in speeding for value in flag.values
               if flag.name in known and value not in words}  # fmt: skip
    return [
        _problem(
            f"flag {name}",
            "a flag that this ComfyUI does not know",
            "flags that its --help lists",
            "ComfyUI would end at once with a usage error",
            "follow its change in vace_comfyui/flags.py or images/profiles.toml",
        )
        for name in sorted((wanted - known) | missing)
    ]


def requirements(home: Path, image: Image) -> list[Problem]:
    """Requirements of installed distributions and of the source trees that are not met."""
    # Left to the moment of use: nothing else here needs a library.
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    installed = {
        canonicalize_name(item.metadata["Name"]): item.version
        for item in importlib.metadata.distributions()
    }
    problems = []
    for owner, text in _wanted(home):
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(wanted.name)
        if not image.has_gpu and NOT_ON_CPU.fullmatch(name):
            continue
        version = installed.get(name) or installed.get(
            canonicalize_name(SATISFIED_BY.get(name, name))
        )
        if version is None and name in image.omitted:
            continue
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            problems.append(
                _problem(
                    f"requirement of {owner}",
                    f"{name} {version}" if version else f"no {name}",
                    str(wanted),
                    "an import would fail when a prompt first needs it",
                    "add or move the pin in images/pins.toml and resolve again",
                )
            )
    return problems


def _wanted(home: Path) -> Iterable[tuple[str, str]]:
    for item in importlib.metadata.distributions():
        for text in item.requires or ():
            yield item.metadata["Name"], text
    for name in REQUIREMENT_FILES:
        path = home / name
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                text = line.split("#", 1)[0].strip()
                if text and not text.startswith("-"):
                    yield name, text


def torch_set(image: Image) -> list[Problem]:
    """PyTorch and its two companions: importable, of one release, and built for the GPUs."""
    try:
        torch, vision, audio = (
            importlib.import_module(name) for name in ("torch", "torchvision", "torchaudio")
        )
    except Exception as error:
        return [_problem("torch, torchvision, torchaudio", f"{type(error).__name__}: {error}",
                         "a set that can be imported", "ComfyUI imports all three when it starts",
                         "take a matching set into images/pins.toml")]  # fmt: skip
    versions = [str(module.__version__) for module in (torch, vision, audio)]
    problems = []
    if not matching(*versions):
        problems.append(_problem("torch, torchvision, torchaudio", ", ".join(versions),
                                 "2.N, 0.(N+15) and 2.N", "their binary interfaces differ",
                                 "take a matching set into images/pins.toml"))  # fmt: skip
    if torch.version.cuda != image.cuda:
        problems.append(_problem("torch.version.cuda", str(torch.version.cuda), str(image.cuda),
                                 "image.json tells the preflight which driver is needed",
                                 "correct the variant in images/variants.toml"))  # fmt: skip
    built = str(torch._C._cuda_getArchFlags() or "")
    missing = [item for item in image.compute_capabilities if not architecture(built, item)]
    if missing:
        wanted = f"code for {', '.join(missing)}"
        problems.append(_problem("PyTorch's kernels", built, wanted,
                                 "image.json promises that these GPUs work",
                                 "correct the table in images/variants.toml"))  # fmt: skip
    return problems


def matching(torch: str, vision: str, audio: str) -> bool:
    """Whether three versions are of one release: torch 2.N, vision 0.(N+15), audio 2.N."""
    pairs = [gpu.version(text.split("+", 1)[0])[:2] for text in (torch, vision, audio)]
    (major, minor), vision_pair, audio_pair = pairs
    return vision_pair == (0, minor + 15) and audio_pair == (major, minor)


def architecture(built: str, capability: str) -> bool:
    """Whether PyTorch's list ("sm_75 sm_90a compute_90") has code that runs on a capability."""
    binaries = []
    for kind, digits in re.findall(r"(sm|compute)_(\d+)[a-z]?\b", built):
        have = f"{digits[:-1]}.{digits[-1]}"
        if kind == "compute" and gpu.version(have) <= gpu.version(capability):
            return True
        binaries.append(have)
    return gpu.covered(tuple(binaries), capability)
