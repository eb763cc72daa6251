"""What PyTorch makes of weights; run by the interpreter of torch_environment, not by pytest.

    python torch_cast.py values FOLDER        in.npz -> out.npz
    python torch_cast.py model SRC DST FORM   a whole model: load, cast, save; prints seconds and MB

Uses nothing of this repository, so that it cannot share a mistake with it. The layers that are
cast are named by a pattern of its own.
"""

import json
import re
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

NORMALISED_INPUT = re.compile(r"(self_attn\.[qkv]|cross_attn\.q|ffn\.0)$")
LAYER = re.compile(r"(vace_)?blocks\.[0-9]+\.((self|cross)_attn\.(q|k|v|o)|ffn\.(0|2))\.weight")


def scaled(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition in torch's own words: codes and scale of one tensor."""
    scale = weight.abs().amax().float() / 448
    return divide(weight, scale), scale


def divide(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (weight.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn)


def values(folder: Path) -> None:
    given = np.load(folder / "in.npz")
    tensors = {
        "F16": torch.from_numpy(given["F16"].view(np.int16)).view(torch.float16),
        "BF16": torch.from_numpy(given["BF16"].view(np.int16)).view(torch.bfloat16),
        "F32": torch.from_numpy(given["F32"]),
    }
    answer = {}
    for name, tensor in tensors.items():
        answer[f"plain_{name}"] = tensor.to(torch.float8_e4m3fn).view(torch.uint8).numpy()
        answer[f"scaled_{name}"] = np.stack(
            [
                divide(tensor, torch.tensor(scale, dtype=torch.float32)).view(torch.uint8).numpy()
                for scale in given["scales"]
            ]
        )
    maxima = torch.from_numpy(given["maxima"])
    answer["scale_of"] = (maxima / 448).numpy()
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    answer["decoded"] = codes.float().numpy()
    np.savez(folder / "out.npz", **answer)


def model(source: Path, target: Path, form: str) -> None:
    started = time.perf_counter()
    weights = load_file(source)
    result: dict[str, torch.Tensor] = {}
    layers: dict[str, dict[str, object]] = {}
    for name, weight in weights.items():
        if not LAYER.fullmatch(name):
            result[name] = weight
        elif form == "plain":
            result[name] = weight.to(torch.float8_e4m3fn)
        else:
            layer = name.removesuffix(".weight")
            result[name], result[f"{layer}.weight_scale"] = scaled(weight)
            layers[layer] = {"format": "float8_e4m3fn"}
            if not NORMALISED_INPUT.search(layer):
                layers[layer]["full_precision_matrix_mult"] = True
    metadata = {"format": "pt"}
    if layers:
        metadata["_quantization_metadata"] = json.dumps({"format_version": "1.0", "layers": layers})
    save_file(result, target, metadata)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak * 1.048576}))


if __name__ == "__main__":
    if sys.argv[1] == "values":
        values(Path(sys.argv[2]))
    else:
        model(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
