"""Settings of the simulated ComfyUI: command line first, environment second, defaults last."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rehearsal.comfyui.folders import FolderSettings
from rehearsal.comfyui.prompt_queue import MAXIMUM_HISTORY

DEFAULT_LISTEN = "127.0.0.1"
DEFAULT_PORT = 8188
DEFAULT_BASE = "/data/comfyui"
DEFAULT_STEP_SECONDS = 0.05
#: ComfyUI's own default of --max-upload-size.
DEFAULT_MAX_UPLOAD_MIB = 100
DEFAULT_PREVIEW_SIZE = 512
#: Values of --preview-method.
PREVIEW_METHODS = ("none", "auto", "latent2rgb", "taesd")
#: Longest path of a Unix socket on Linux, in bytes.
LONGEST_SOCKET_PATH = 107


class SettingsError(ValueError):
    """A setting that cannot be used; the message says which, what was given and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the server was told.

    Attributes:
        listen: addresses to bind, separated by commas; the real server's default is loopback,
            and so is this one.
        port: TCP port; 0 takes a free one.
        base: folder that holds ``input``, ``output``, ``temp`` and ``user``.
        step_seconds: time that one sampler step takes.
        max_upload_mib: largest request body in MiB; more is answered with 413.
        fault: one fault that is always on (see `faults`), or empty.
        fault_file: file that holds a fault, read at the start of every prompt, or None.
        port_file: where the bound port is written once the server listens, or None.
        folders: folders that do not all lie below ``base``, or None.
        metadata: whether ComfyUI's own save nodes write the graph into their files.
        control: Unix socket of the control interface (see `control`), or None.
        history_limit: entries that the history keeps; the real server's number is the default.
        preview_method: as ``--preview-method``; ``none`` sends no pictures while sampling.
        preview_size: longest side of such a picture in pixels.
    """

    listen: str = DEFAULT_LISTEN
    port: int = DEFAULT_PORT
    base: Path = Path(DEFAULT_BASE)
    step_seconds: float = DEFAULT_STEP_SECONDS
    max_upload_mib: float = DEFAULT_MAX_UPLOAD_MIB
    fault: str = ""
    fault_file: Path | None = None
    port_file: Path | None = None
    folders: FolderSettings | None = None
    metadata: bool = True
    control: Path | None = None
    history_limit: int = MAXIMUM_HISTORY
    preview_method: str = "none"
    preview_size: int = DEFAULT_PREVIEW_SIZE

    @property
    def max_upload_bytes(self) -> int:
        """Largest request body, rounded as the real server does."""
        return round(self.max_upload_mib * 1024 * 1024)


def _number(name: str, value: str, low: float, high: float, *, whole: bool = False) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not low <= number <= high or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise SettingsError(
            f"{name}={value!r} cannot be used: allowed is {kind} from {low:g} to {high:g}. "
            f"Correct the option or the environment variable."
        )
    return number


def parser() -> argparse.ArgumentParser:
    """The command line; every option has its environment variable in the help text."""
    result = argparse.ArgumentParser(
        prog="vace-comfyui-sim",
        description="A SIMULATED ComfyUI 0.33 server: the real protocol and real H.264 files, but "
        "drawn pictures instead of a model. For machines without a GPU.",
    )
    result.add_argument("--listen", help="address to bind (COMFYUI_LISTEN, 127.0.0.1)")
    result.add_argument("--port", help="TCP port, 0 for a free one (COMFYUI_PORT, 8188)")
    result.add_argument(
        "--base", help="folder with input, output, temp and user (COMFYUI_BASE, /data/comfyui)"
    )
    result.add_argument(
        "--step-seconds", help="duration of one sampler step (SIM_STEP_SECONDS, 0.05)"
    )
    result.add_argument(
        "--max-upload-size", help="largest request body in MiB (COMFYUI_MAX_UPLOAD_MIB, 100)"
    )
    result.add_argument("--fault", help="a fault that is always on (SIM_FAULT); see README.md")
    result.add_argument(
        "--fault-file", help="file with a fault, read before every prompt (SIM_FAULT_FILE)"
    )
    result.add_argument(
        "--control", help="Unix socket of the control interface (SIM_CONTROL); see README.md"
    )
    result.add_argument(
        "--history-limit", help="entries that the history keeps (SIM_HISTORY_LIMIT, 10000)"
    )
    result.add_argument(
        "--preview-method", help="none, auto, latent2rgb or taesd (SIM_PREVIEW_METHOD, none)"
    )
    result.add_argument("--port-file", help="write the bound port to this file (SIM_PORT_FILE)")
    return result


def read(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the command line and the environment.

    Raises:
        SettingsError: a value is outside its range.
    """
    env = os.environ if environment is None else environment
    options = parser().parse_args(list(argv))

    def choose(option: str | None, variable: str, default: str) -> str:
        return option if option is not None else env.get(variable) or default

    port = choose(options.port, "COMFYUI_PORT", str(DEFAULT_PORT))
    upload = choose(options.max_upload_size, "COMFYUI_MAX_UPLOAD_MIB", str(DEFAULT_MAX_UPLOAD_MIB))
    own = {
        "SIM_STEP_SECONDS": options.step_seconds,
        "SIM_FAULT": options.fault,
        "SIM_FAULT_FILE": options.fault_file,
        "SIM_PORT_FILE": options.port_file,
        "SIM_CONTROL": options.control,
        "SIM_HISTORY_LIMIT": options.history_limit,
        "SIM_PREVIEW_METHOD": options.preview_method,
    }
    settings = Settings(
        listen=choose(options.listen, "COMFYUI_LISTEN", DEFAULT_LISTEN),
        port=int(_number("COMFYUI_PORT", port, 0, 65535, whole=True)),
        base=Path(choose(options.base, "COMFYUI_BASE", DEFAULT_BASE)),
        max_upload_mib=int(_number("COMFYUI_MAX_UPLOAD_MIB", upload, 1, 1_048_576, whole=True)),
    )
    given = {name: value for name, value in own.items() if value is not None}
    return with_simulation(settings, {**env, **given})


def with_simulation(settings: Settings, variables: Mapping[str, str]) -> Settings:
    """The same settings with what the ``SIM_*`` variables say about the simulation.

    Raises:
        SettingsError: a value is outside its range.
    """

    def path(name: str) -> Path | None:
        text = variables.get(name) or ""
        return Path(text) if text else None

    step = variables.get("SIM_STEP_SECONDS") or str(DEFAULT_STEP_SECONDS)
    history = variables.get("SIM_HISTORY_LIMIT") or str(settings.history_limit)
    return replace(
        settings,
        step_seconds=_number("SIM_STEP_SECONDS", step, 0, 3600),
        fault=variables.get("SIM_FAULT") or "",
        fault_file=path("SIM_FAULT_FILE"),
        port_file=path("SIM_PORT_FILE"),
        control=_socket(path("SIM_CONTROL")),
        history_limit=int(_number("SIM_HISTORY_LIMIT", history, 1, 1_000_000, whole=True)),
        preview_method=_preview(variables.get("SIM_PREVIEW_METHOD") or settings.preview_method),
    )


def _preview(method: str) -> str:
    if method not in PREVIEW_METHODS:
        raise SettingsError(
            f"SIM_PREVIEW_METHOD={method!r} cannot be used: allowed is one of "
            f"{', '.join(PREVIEW_METHODS)}, as ComfyUI knows no other. "
            "Correct the option or the environment variable."
        )
    return method


def _socket(path: Path | None) -> Path | None:
    if path is not None and (
        not path.parent.is_dir() or len(os.fsencode(path)) > LONGEST_SOCKET_PATH
    ):
        raise SettingsError(
            f"SIM_CONTROL={str(path)!r} cannot be used: allowed is a name of at most "
            f"{LONGEST_SOCKET_PATH} bytes in a folder that exists, as Linux makes no other socket. "
            "Make the folder, or choose a shorter name."
        )
    return path
