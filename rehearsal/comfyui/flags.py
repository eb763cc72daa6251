"""ComfyUI 0.33's own command line, as `main.py` of its source tree takes it.

Flags have the real names, types and conflicts, so that a wrong call fails here as it fails there,
in argparse's words. What they change: listen address and port, folders, model folders, the upload
limit, metadata in files and which custom nodes load. Flags about GPU memory, attention, precision
and the browser are checked and then have no effect: no model runs here.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rehearsal.comfyui.folders import FolderSettings
from rehearsal.comfyui.model_paths import read_model_paths
from rehearsal.comfyui.settings import (
    DEFAULT_MAX_UPLOAD_MIB,
    DEFAULT_PORT,
    DEFAULT_PREVIEW_SIZE,
    PREVIEW_METHODS,
    Settings,
    with_simulation,
)

#: What ``--listen`` without an address means.
ALL_ADDRESSES = "0.0.0.0,::"
_LOG_LEVELS = ("DEBUG", "DETAIL", "INFO", "WARNING", "ERROR", "CRITICAL")

_FAST = ("fp16_accumulation", "fp8_matrix_mult", "cublas_ops", "autotune")

#: Switches of which at most one may be given.
_EXCLUSIVE = (
    ("--cuda-malloc", "--disable-cuda-malloc"),
    ("--force-fp32", "--force-fp16"),
    ("--fp32-unet", "--fp64-unet", "--bf16-unet", "--fp16-unet", "--fp8_e4m3fn-unet",
     "--fp8_e5m2-unet", "--fp8_e8m0fnu-unet"),
    ("--fp16-vae", "--fp32-vae", "--bf16-vae"),
    ("--fp8_e4m3fn-text-enc", "--fp8_e5m2-text-enc", "--fp16-text-enc", "--fp32-text-enc",
     "--bf16-text-enc"),
    ("--use-split-cross-attention", "--use-quad-cross-attention", "--use-pytorch-cross-attention",
     "--use-sage-attention", "--use-flash-attention"),
    ("--force-upcast-attention", "--dont-upcast-attention"),
    ("--gpu-only", "--highvram", "--lowvram", "--novram", "--cpu"),
)  # fmt: skip
_SWITCHES = (
    "--auto-launch", "--disable-auto-launch", "--cpu-vae", "--force-channels-last",
    "--supports-fp8-compute", "--disable-xformers", "--disable-async-offload",
    "--disable-dynamic-vram", "--force-non-blocking", "--disable-smart-memory", "--deterministic",
    "--disable-pinned-memory", "--mmap-torch-files", "--disable-mmap", "--dont-print-server",
    "--disable-metadata", "--disable-all-custom-nodes", "--disable-api-nodes", "--multi-user",
    "--log-stdout", "--enable-compress-response-body",
)  # fmt: skip


def _directory(text: str) -> str:
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"The path '{text}' does not exist.")
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"'{text}' is not a directory.")
    if not os.access(text, os.R_OK):
        raise argparse.ArgumentTypeError(f"You do not have read permissions for '{text}'.")
    return text


def parser() -> argparse.ArgumentParser:
    """The flags; unknown ones end the process with status 2 and argparse's own sentence."""
    result = argparse.ArgumentParser(
        prog="main.py",
        description="A SIMULATED ComfyUI 0.33 with the real one's command line: no model runs, the "
        "pictures in the videos are drawn. SIM_STEP_SECONDS, SIM_FAULT, SIM_FAULT_FILE, "
        "SIM_CONTROL, SIM_HISTORY_LIMIT and SIM_PORT_FILE in the environment steer the simulation.",
    )
    _add_server(result)
    _add_folders(result)
    without_effect = result.add_argument_group(
        "checked, and without effect where no model runs, except --disable-metadata, "
        "--disable-all-custom-nodes, --preview-method and --preview-size"
    )
    for switches in _EXCLUSIVE:
        group = without_effect.add_mutually_exclusive_group()
        for switch in switches:
            group.add_argument(switch, action="store_true")
    for switch in _SWITCHES:
        without_effect.add_argument(switch, action="store_true")
    _add_values(without_effect)
    return result


def _add_server(result: argparse.ArgumentParser) -> None:
    result.add_argument(
        "--listen", default="127.0.0.1", metavar="IP", nargs="?", const=ALL_ADDRESSES,
        help="addresses to bind, separated by commas (127.0.0.1)",
    )  # fmt: skip
    result.add_argument("--port", type=int, default=DEFAULT_PORT, help="TCP port (8188)")
    result.add_argument(
        "--max-upload-size", type=float, default=DEFAULT_MAX_UPLOAD_MIB,
        help="largest request body in MiB (100)",
    )  # fmt: skip


def _add_folders(result: argparse.ArgumentParser) -> None:
    result.add_argument(
        "--base-directory", help="models, custom_nodes, input, output, temp and user are below it"
    )
    for kind in ("input", "output"):
        result.add_argument(f"--{kind}-directory", help=f"the {kind} folder")
    result.add_argument("--temp-directory", help="a folder named temp is made in it")
    result.add_argument("--user-directory", type=_directory, help="the user folder; must exist")
    result.add_argument("--models-directory", type=_directory, help="the models folder; must exist")
    result.add_argument(
        "--extra-model-paths-config", metavar="PATH", nargs="+", action="append",
        help="YAML files that name more model folders",
    )  # fmt: skip
    result.add_argument("--database-url", help="accepted; nothing is kept in a database")


def _add_values(group: argparse._ArgumentGroup) -> None:
    cache = group.add_mutually_exclusive_group()
    cache.add_argument("--cache-ram", nargs="*", type=float, default=[], metavar="GB")
    cache.add_argument("--cache-classic", action="store_true")
    cache.add_argument("--cache-lru", type=int, default=0, metavar="N")
    cache.add_argument("--cache-none", action="store_true")
    group.add_argument("--cuda-device", metavar="DEVICE_ID")
    group.add_argument("--default-device", type=int, metavar="DEVICE_ID")
    group.add_argument("--reserve-vram", type=float, metavar="GB")
    group.add_argument("--async-offload", nargs="?", const=2, type=int, metavar="NUM_STREAMS")
    group.add_argument("--preview-method", choices=PREVIEW_METHODS, default="none")
    group.add_argument("--preview-size", type=int, default=DEFAULT_PREVIEW_SIZE)
    group.add_argument("--enable-cors-header", nargs="?", const="*", metavar="ORIGIN")
    group.add_argument("--fast", nargs="*", choices=_FAST)
    group.add_argument("--whitelist-custom-nodes", nargs="+", default=[])
    group.add_argument("--verbose", nargs="?", const="DEBUG", default="INFO", choices=_LOG_LEVELS)


def read_flags(
    argv: Sequence[str], tree: Path, environment: Mapping[str, str] | None = None
) -> Settings:
    """Settings from ComfyUI's own flags.

    Args:
        argv: the flags.
        tree: folder that holds ``main.py``; ``models``, ``custom_nodes`` and the other folders are
            below it unless a flag moves them.
        environment: only the simulation's own ``SIM_*`` variables are read from it; the real
            program has no settings there.

    Raises:
        SettingsError: a ``SIM_*`` variable, or a file that names model folders, cannot be used.
        SystemExit: argparse refused the flags (status 2), or ``--help`` was answered (status 0).
    """
    options = parser().parse_args(list(argv))
    base = Path(os.path.realpath(options.base_directory or tree))

    def folder(given: str | None, name: str) -> Path:
        return Path(os.path.realpath(given)) if given else base / name

    # As in the real program: the folder that is given is the parent of the one that is emptied.
    temp = Path(os.path.realpath(options.temp_directory)) if options.temp_directory else base
    files = itertools.chain(*(options.extra_model_paths_config or []))
    folders = FolderSettings(
        input=folder(options.input_directory, "input"),
        output=folder(options.output_directory, "output"),
        temp=temp / "temp",
        user=folder(options.user_directory, "user"),
        models=folder(options.models_directory, "models"),
        more_models=read_model_paths([Path(file) for file in files]),
        custom_nodes=base / "custom_nodes",
        loaded_nodes=_allowed_nodes(options),
    )
    return with_simulation(
        Settings(
            listen=options.listen,
            port=options.port,
            base=base,
            max_upload_mib=options.max_upload_size,
            folders=folders,
            metadata=not options.disable_metadata,
            preview_method=options.preview_method,
            preview_size=options.preview_size,
        ),
        os.environ if environment is None else environment,
    )


def _allowed_nodes(options: argparse.Namespace) -> frozenset[str] | None:
    return frozenset(options.whitelist_custom_nodes) if options.disable_all_custom_nodes else None
