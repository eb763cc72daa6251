"""The command line from the hubs' URLs to a folder that verifies, with the real converter."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from vace_weights.cli import DEFAULT_MANIFEST, main
from vace_weights.generate import generate_umt5, generate_vace, generate_vae
from vace_weights.manifest import load
from vace_weights.receipts import read_receipt

from tests.images.fetch.server import Exchange, Site


@pytest.fixture
def manifest(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default manifest with generated files, served under the hubs' own paths."""
    document = json.loads(DEFAULT_MANIFEST.read_text())
    makers = {
        "diffusion_models": lambda path: generate_vace(path, scale="small", seed=1),
        "text_encoders": lambda path: generate_umt5(path, seed=1),
        "vae": lambda path: generate_vae(path, seed=1),
    }
    for row in document["files"]:
        path = tmp_path / row["folder"]
        makers[row["folder"]](path)
        data = path.read_bytes()
        published = row["derived"]["source"] if row["derived"] else row
        published.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        hub = next(s for s in published["sources"] if s["kind"] == "huggingface")
        site.files[f"/{hub['repo']}/resolve/{hub['revision']}/{hub['path']}"] = data
    for name in ("VACE_MODELSCOPE_ENDPOINT", "VACE_HF_MIRROR_ENDPOINT", "HF_ENDPOINT"):
        monkeypatch.setenv(name, site.url)
    result = tmp_path / "weights.json"
    result.write_text(json.dumps(document))
    return result


def test_prepare_goes_from_the_hubs_to_a_verified_folder_and_stays_there(
    tmp_path: Path, site: Site, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents parts that work alone and not together."""
    models = tmp_path / "models"
    command = ["prepare", "--to", str(models), "--manifest", str(manifest)]
    assert main(command) == 0, capsys.readouterr().err
    complete = load(models / "manifest.json")
    assert complete.complete
    assert main(["verify", str(models), "--full"]) == 0
    made = models / complete.files[0].relative
    receipt = read_receipt(made)
    assert receipt is not None
    assert (
        receipt.sha256 == complete.files[0].sha256 == hashlib.sha256(made.read_bytes()).hexdigest()
    )
    asked = len(site.requests)
    assert main(command) == 0
    assert len(site.requests) == asked
    names = {str(p.relative_to(models)) for p in models.rglob("*") if p.suffix == ".safetensors"}
    assert names == {str(file.relative) for file in complete.files}


def test_prepare_passes_over_a_hub_that_lacks_the_file_and_one_that_answers_with_a_page(
    tmp_path: Path, site: Site, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents the order of hubs from deciding whether a deployment works."""
    page = b"<html>maintenance</html>"

    def first_mirror_is_down(exchange: Exchange) -> None:
        if exchange.number % 2:
            headers = {"Content-Type": "text/html", "Content-Length": str(len(page))}
            exchange.send(200, headers, page)
        else:
            exchange.send_range()

    site.answer = first_mirror_is_down
    models = tmp_path / "models"
    common = ["--to", str(models), "--manifest", str(manifest), "--connections", "1"]
    assert main(["fetch", *common, "--only", "wan21_vace_vae.safetensors"]) == 0
    told = capsys.readouterr()
    assert "a web page" in told.err
    assert "verified, from" in told.out
    assert [path.name for path in (models / "vae").iterdir()] == ["wan21_vace_vae.safetensors"]


def test_convert_and_generate_are_commands_of_the_same_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a command that is listed and does not exist."""
    for name in ("convert", "generate"):
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
        assert f"vace-weights {name}" in capsys.readouterr().out
