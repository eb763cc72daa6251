"""Makes object_info.json.gz from a recorded answer of a real server's GET /object_info.

    python rehearsal/comfyui/data/extract.py RECORDED.json[.gz]

Lists that a real server fills from its folders (models, uploaded files) would freeze the recording
machine's folders, so they become a marker ``{"$folder": ...}`` that the catalogue fills in at run
time. The inputs of each node are put into the order that ``input_order`` states.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("object_info.json.gz")
MODELS = {
    "wan21_vace_1_3_b.safetensors": "models/diffusion_models",
    "umt5_xxl_fp8_e4m3fn.safetensors": "models/text_encoders",
    "wan21_vace_vae.safetensors": "models/vae",
}
UPLOADS = {
    "image_upload": "input/image",
    "video_upload": "input/video",
    "audio_upload": "input/audio",
}
#: Inputs whose list was empty on the recording machine but is made of uploaded files.
EMPTY_UPLOADS = {
    ("VHS_LoadVideo", "video"): "input/video",
    ("VHS_LoadVideoFFmpeg", "video"): "input/video",
    ("VHS_LoadAudioUpload", "audio"): "input/audio",
}
LORA_INPUTS = {("LoraLoader", "lora_name"), ("LoraLoaderModelOnly", "lora_name")}


def marker(node: str, name: str, options: list[Any], config: dict[str, Any]) -> Any:
    """The marker for a list of options, or the list itself when no folder feeds it."""
    if config.get("image_folder"):
        return options
    for key, folder in UPLOADS.items():
        if config.get(key):
            return {"$folder": folder}
    if (node, name) in EMPTY_UPLOADS:
        return {"$folder": EMPTY_UPLOADS[node, name]}
    if (node, name) in LORA_INPUTS:
        return {"$folder": "models/loras"}
    for model, folder in MODELS.items():
        if model in options:
            rest = [option for option in options if option != model]
            return {"$folder": folder, "then": rest} if rest else {"$folder": folder}
    return options


def extract(recorded: dict[str, Any]) -> dict[str, Any]:
    """The committed form of a recorded /object_info answer."""
    for node, definition in recorded.items():
        for section, inputs in definition["input"].items():
            order = definition.get("input_order", {}).get(section) or list(inputs)
            definition["input"][section] = {name: inputs[name] for name in order if name in inputs}
            if section == "hidden":
                continue
            for name, spec in inputs.items():
                config = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
                if isinstance(spec[0], list):
                    spec[0] = marker(node, name, spec[0], config)
                elif spec[0] == "COMBO" and "options" in config:
                    config["options"] = marker(node, name, config["options"], config)
    return recorded


def main() -> None:
    """Read the recording named on the command line and write the extract."""
    source = Path(sys.argv[1])
    raw = gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes()
    text = json.dumps(extract(json.loads(raw)), ensure_ascii=False, separators=(",", ":"))
    TARGET.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
