"""Small models, made once a session, and files that are broken on purpose."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vace_weights.generate import generate_vace


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated fp16 model of the real architecture, 1.75 MB. Tests must not write to it."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    generate_vace(path, scale="tiny", seed=1)
    return path


Edit = Callable[[dict[str, Any], bytearray], None]


@pytest.fixture
def edited(tiny: Path, tmp_path: Path) -> Callable[[Edit], Path]:
    """Returns a function that copies the tiny model with its header and data edited."""

    def edit(change: Edit) -> Path:
        raw = tiny.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header, data = json.loads(raw[8 : 8 + length]), bytearray(raw[8 + length :])
        change(header, data)
        text = json.dumps(header).encode()
        path = tmp_path / "edited.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + data)
        return path

    return edit
