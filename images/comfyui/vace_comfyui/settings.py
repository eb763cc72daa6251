"""Settings from the environment, and where things are in the image."""

from __future__ import annotations

import ipaddress
import os
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from vace_comfyui import profiles
from vace_comfyui.problems import Exit, Problem, SettingsError

Verify = Literal["once", "size", "always"]

OWNED_FLAGS = (
    "--listen", "--port", "--input-directory", "--output-directory", "--temp-directory",
    "--user-directory", "--base-directory", "--database-url", "--extra-model-paths-config",
)  # fmt: skip
"""Flags that have a setting of their own, or that would move what the checks looked at."""
REFUSED_FLAGS = {
    "--fast": "upstream calls these optimisations untested, and FP8 matrix products degrade Wan; "
    "those that were looked at are in the profiles of VACE_PROFILE",
    "--enable-manager": "its routes install code into a running service",
    "--enable-manager-legacy-ui": "its routes install code into a running service",
    "--multi-user": "results would go to folders that nobody collects",
    **profiles.refused_flags(),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to serve.

    Attributes:
        base: folder with `input`, `output`, `temp` and `user`, all writable.
        models: folder with `manifest.json` and the weights.
        home: ComfyUI's source, with `main.py`.
        image: the image's description, `image.json`.
        state: folder in memory where the running service tells what it knows.
        drain_seconds: longest wait for running and waiting prompts after SIGTERM.
        grace_seconds: time in which clients can fetch the last answer before the process ends.
        warm_up_seconds: longest warm-up.
        stall_seconds: `health` fails when a prompt runs and the log is silent for longer; 0: never.
        min_free_mib: least free space on the disk of input, output and temp.
        status_listen: address and port of the status listener; None: there is none.
        profile: speed profile; which of ComfyUI's optimisations are on.
    """

    listen: str = "127.0.0.1"
    port: int = 8188
    base: Path = Path("/data/comfyui")
    models: Path = Path("/opt/models")
    home: Path = Path("/opt/comfyui")
    image: Path = Path("/opt/vace/image.json")
    state: Path = Path("/tmp/vace-comfyui")  # noqa: S108 - the container's own memory disk
    drain_seconds: float = 600.0
    grace_seconds: float = 5.0
    warm_up: bool = True
    warm_up_seconds: float = 900.0
    stall_seconds: float = 1800.0
    verify: Verify = "once"
    max_upload_mib: int = 1024
    min_free_mib: int = 1024
    status_listen: tuple[str, int] | None = None
    profile: str = profiles.DEFAULT
    extra_args: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """Where this container itself reaches ComfyUI."""
        first = self.listen.split(",")[0]
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(first, first)  # noqa: S104 - compared

    @property
    def folders(self) -> dict[str, Path]:
        """ComfyUI's writable folders by name."""
        return {name: self.base / name for name in ("input", "output", "temp", "user")}

    @property
    def own_files(self) -> Path:
        """Where this program keeps what it must remember over restarts."""
        return self.base / "user" / "vace"


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.problems: list[Problem] = []

    def complain(self, key: str, allowed: str, why: str, given: str | None = None) -> None:
        shown = repr(self.environment.get(key)) if given is None else given
        self.problems.append(
            Problem(Exit.USAGE, key, shown, allowed, why, "correct or unset the variable")
        )

    def text(self, key: str, default: str) -> str:
        return self.environment.get(key) or default

    def number(self, key: str, default: float, low: float, high: float) -> float:
        raw = self.text(key, "")
        if not raw:
            return default
        try:
            value = float(raw)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            self.complain(key, f"a number from {low:g} to {high:g}", "it is a time or a size")
            return default
        return value

    def choice(self, key: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(key, default)
        if value not in allowed:
            self.complain(key, " or ".join(allowed), "nothing else has a meaning here")
            return default
        return value

    def path(self, key: str, default: Path) -> Path:
        value = Path(self.text(key, str(default)))
        if not value.is_absolute():
            self.complain(key, "an absolute path", "a relative one depends on who starts it")
            return default
        return value

    def address(self, key: str, taken: int) -> tuple[str, int] | None:
        text = self.text(key, "")
        if not text:
            return None
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            ipaddress.ip_address(host)
            valid = port.isascii() and port.isdigit() and 1 <= int(port) <= 65535
        except ValueError:
            valid = False
        if not valid:
            self.complain(key, "IP:PORT such as 0.0.0.0:8189 or [::]:8189, or empty for none",
                          "the listener is bound to exactly this address")  # fmt: skip
            return None
        if int(port) == taken:
            self.complain(key, f"a port other than COMFYUI_PORT, {taken}", "ComfyUI listens there")
        return host, int(port)

    def arguments(self, key: str) -> tuple[str, ...]:
        try:
            words = shlex.split(self.text(key, ""))
        except ValueError as error:
            self.complain(key, "words as a shell splits them", f"it cannot be split: {error}")
            return ()
        for word in words:
            flag = word.split("=", 1)[0]
            if not flag.startswith("--"):
                continue
            # ComfyUI's parser takes every beginning of a flag for the flag.
            meant = [name for name in (*OWNED_FLAGS, *REFUSED_FLAGS) if name.startswith(flag)]
            if not meant:
                continue
            shown = flag if flag == meant[0] else f"{flag} (short for {meant[0]})"
            if meant[0] in OWNED_FLAGS:
                self.complain(key, "flags without a setting of their own",
                              "two values for one thing contradict each other", shown)  # fmt: skip
            else:
                self.complain(key, f"anything but {meant[0]}", REFUSED_FLAGS[meant[0]], shown)
        return tuple(words)


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment.

    Raises:
        SettingsError: with every value that cannot be used.
    """
    reader = _Reader(os.environ if environment is None else environment)
    plain = Settings()
    temp = Path(reader.text("TMPDIR", tempfile.gettempdir()))
    port = int(reader.number("COMFYUI_PORT", plain.port, 1, 65535))
    settings = Settings(
        listen=reader.text("COMFYUI_LISTEN", plain.listen),
        port=port,
        base=reader.path("COMFYUI_BASE", plain.base),
        models=reader.path("VACE_MODELS", plain.models),
        home=reader.path("VACE_COMFYUI_HOME", plain.home),
        image=reader.path("VACE_IMAGE_JSON", plain.image),
        state=temp / f"vace-comfyui-{port}",
        drain_seconds=reader.number("VACE_DRAIN_SECONDS", plain.drain_seconds, 0, 86400),
        grace_seconds=reader.number("VACE_GRACE_SECONDS", plain.grace_seconds, 0, 300),
        warm_up=reader.choice("VACE_WARMUP", "1", ("0", "1")) == "1",
        warm_up_seconds=reader.number("VACE_WARMUP_SECONDS", plain.warm_up_seconds, 1, 86400),
        stall_seconds=reader.number("VACE_STALL_SECONDS", plain.stall_seconds, 0, 86400),
        verify=cast(Verify, reader.choice("VACE_VERIFY_WEIGHTS", "once", get_args(Verify))),
        max_upload_mib=int(
            reader.number("COMFYUI_MAX_UPLOAD_MIB", plain.max_upload_mib, 1, 1_048_576)
        ),
        min_free_mib=int(reader.number("VACE_MIN_FREE_MIB", plain.min_free_mib, 0, 1_073_741_824)),
        status_listen=reader.address("VACE_STATUS_LISTEN", port),
        profile=reader.choice(profiles.VARIABLE, plain.profile, tuple(profiles.profiles())),
        extra_args=reader.arguments("VACE_EXTRA_ARGS"),
    )
    if reader.problems:
        raise SettingsError(reader.problems)
    return settings
