"""Nothing is started where it cannot work, and every reason is told at once."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from vace_comfyui import encoder, gpu, settings
from vace_comfyui.image import Image
from vace_comfyui.nvidia import LibraryError
from vace_comfyui.problems import SettingsError

from images.variants import find, variants
from tests.images.entry.conftest import Service

T4 = gpu.Device("Tesla T4", "7.5", 15 * gpu.GIB)
A10 = gpu.Device("NVIDIA A10", "8.6", 22 * gpu.GIB)
BLACKWELL = gpu.Device("NVIDIA RTX PRO 6000", "12.0", 95 * gpu.GIB)


def _image(name: str) -> Image:
    others = {v.name: v.least_driver for v in variants() if v.cuda and v.name != name}
    chosen = find(name)
    return Image(
        variant=name,
        cuda=chosen.cuda,
        compute_capabilities=tuple(chosen.compute_capabilities),
        least_driver=chosen.least_driver,
        lock_sha256="",
        alternatives=others,
    )


CU128 = _image("cu128")
CU130 = _image("cu130")
NO_BLACKWELL = replace(CU128, least_driver={"8.6": "525.60.13"})


def _found(device: gpu.Device, driver: str) -> gpu.Found:
    return gpu.Found(driver=driver, cuda="12.4", devices=(device,))


def test_weights_are_hashed_once_and_then_remembered(service: Service) -> None:
    """Prevents: reading 9 GB at every restart; a changed file must still be noticed."""
    first = service.run("check")
    assert first.returncode == 0, first.stderr
    assert "hashing 3 files" in first.stderr
    second = service.run("check")
    assert "not hashed again" in second.stderr
    assert "hashing" not in second.stderr
    service.environment["VACE_VERIFY_WEIGHTS"] = "always"
    assert "hashing 3 files" in service.run("check").stderr
    service.environment["VACE_VERIFY_WEIGHTS"] = "once"
    vae = service.weight("vae")
    vae.write_bytes(vae.read_bytes())
    assert "hashing 1 files" in service.run("check").stderr


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_damaged_weights_stop_the_start(service: Service, damage: str) -> None:
    """Prevents: a model that is half there, and fails in the first customer's video."""
    vae = service.weight("vae")
    data = vae.read_bytes()
    if damage == "missing":
        vae.unlink()
    else:
        vae.write_bytes(data[:-1] if damage == "truncated" else data[:-1] + b"!")
    service.start()
    assert service.wait() == 65
    log = service.log.read_text()
    assert str(vae) in log
    assert "vace-weights prepare" in log
    assert "stand-in starts" not in log


def test_an_altered_file_is_found_although_its_hash_was_remembered(service: Service) -> None:
    """Prevents: trust in a stamp whose file has been exchanged for one of the same size."""
    assert service.run("check").returncode == 0
    vae = service.weight("vae")
    vae.write_bytes(vae.read_bytes()[:-1] + b"!")
    assert service.run("check").returncode == 65
    service.environment["VACE_VERIFY_WEIGHTS"] = "size"
    assert service.run("check").returncode == 0


def test_a_manifest_with_nulls_is_refused(service: Service) -> None:
    """Prevents: serving weights that nothing vouches for."""
    rows = json.loads((service.models / "manifest.json").read_text())["files"]
    source = {"name": "a.safetensors", "size": 1, "sha256": "0" * 64, "sources": []}
    rows[0] |= {
        "size": None,
        "sha256": None,
        "derived": {"converter": "fp8-scaled/2", "source": source},
    }
    service.write_manifest(rows)
    refused = service.run("check")
    assert refused.returncode == 65
    assert "null" in refused.stderr


def test_all_failures_are_told_at_once(service: Service) -> None:
    """Prevents: one restart for each of four mistakes."""
    service.describe(variant="cu128", cuda="12.8", compute_capabilities=["8.6"],
                     least_driver={"8.6": "525.60.13"})  # fmt: skip
    service.weight("vae").unlink()
    (service.base / "output").symlink_to("/sys")
    service.environment["VHS_FORCE_FFMPEG_PATH"] = "/bin/false"
    refused = service.run("check")
    assert refused.returncode == 65
    assert "4 problems" in refused.stderr
    for part in ("no GPU", "nvidia-smi", str(service.base / "output"), "ffmpeg"):
        assert part in refused.stderr


def test_a_folder_that_cannot_be_written_and_a_full_disk_are_refused(service: Service) -> None:
    """Prevents: a video that finds no place at its end."""
    service.environment["VACE_MIN_FREE_MIB"] = "1000000000"
    full = service.run("check")
    assert full.returncode == 67
    assert "at least 1000000000 MiB" in full.stderr
    service.environment["VACE_MIN_FREE_MIB"] = "1"
    (service.base / "output").rmdir()
    (service.base / "output").write_text("in the way")
    refused = service.run("check")
    assert refused.returncode == 67
    assert "owned by" in refused.stderr


def test_an_ffmpeg_without_x264_is_found(service: Service, tmp_path: Path) -> None:
    """Prevents: a video that fails after minutes of sampling, when it is to be encoded."""
    service.environment["VHS_FORCE_FFMPEG_PATH"] = "/bin/false"
    refused = service.run("check")
    assert refused.returncode == 68
    assert "ffmpeg of VideoHelperSuite" in refused.stderr
    encoder.with_pyav()
    if program := shutil.which("ffmpeg"):
        encoder.with_ffmpeg(program)


@pytest.mark.parametrize(
    ("image", "found", "words"),
    [
        (CU128, _found(A10, "535.183.01"), []),
        (CU128, _found(T4, "525.60.13"), []),
        (CU128, _found(T4, "470.82.01"), ["driver 525.60.13 or newer", "install a newer driver"]),
        (CU130, _found(A10, "550.90.07"), ["580.65.06", "variant cu128 instead", "8.6", "CUDA"]),
        (NO_BLACKWELL, _found(BLACKWELL, "580.65.06"), ["12.0", "variant cu130 instead"]),
        (CU128, _found(gpu.Device("Tesla P4", "6.1", 8 * gpu.GIB), "580.1"), ["no variant fits"]),
        (CU128, _found(gpu.Device("T600", "7.5", 4 * gpu.GIB), "580.1"), ["at least 10 GiB"]),
        (CU128, gpu.Found(driver="550.1", error="cuInit failed with 999"), ["cuInit failed"]),
    ],
)
def test_the_gpu_preflight_names_what_fits_instead(
    image: Image, found: gpu.Found, words: list[str]
) -> None:
    """Prevents: 'CUDA driver version is insufficient' as all that an operator learns."""
    problems = gpu.check(image, found)
    assert bool(problems) == bool(words)
    for word in words:
        assert word in str(problems[0])


def test_the_cpu_variant_asks_for_no_gpu(service: Service) -> None:
    """Prevents: a rehearsal that stops on a machine without a GPU."""
    assert "GPU" not in service.run("check").stderr


_FAKE = r"""
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "fake"; }
int nvmlSystemGetDriverVersion(char *t, unsigned n) { strcpy(t, "550.90.07"); return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)0x7fff12345678; return 0; }
int nvmlDeviceGetName(void *h, char *t, unsigned n) {
  if (h != (void *)0x7fff12345678) return 2;
  strcpy(t, "NVIDIA A10"); return 0; }
int nvmlDeviceGetCudaComputeCapability(void *h, int *a, int *b) { *a = 8; *b = 6; return 0; }
int nvmlDeviceGetMemoryInfo(void *h, memory *m) { m->total = 24ULL << 30; return 0; }
int cuInit(unsigned f) { return CUINIT; }
int cuGetErrorName(int c, const char **t) { *t = "CUDA_ERROR_UNKNOWN"; return 0; }
int cuDriverGetVersion(int *v) { *v = 12040; return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetName(char *t, int n, int d) { strcpy(t, "NVIDIA A10"); return 0; }
int cuDeviceTotalMem_v2(unsigned long long *m, int d) { *m = 23ULL << 30; return 0; }
int cuDeviceGetAttribute(int *v, int a, int d) { *v = a == 75 ? 8 : 6; return 0; }
"""


@pytest.mark.parametrize("status", [0, 999])
def test_the_driver_is_asked_through_its_own_libraries(
    service: Service, tmp_path: Path, status: int
) -> None:
    """Prevents: wrong argument types of ctypes, which only show on a machine with a GPU."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("SKIPPED LOUDLY: no C compiler, so the calls of the driver are not checked")
    source = tmp_path / "fake.c"
    source.write_text(_FAKE)
    for name in ("libnvidia-ml.so.1", "libcuda.so.1"):
        subprocess.run(
            [compiler, "-shared", "-fPIC", f"-DCUINIT={status}", "-o", tmp_path / name, source],
            check=True,
        )
    service.describe(variant="cu130", cuda="13.0", compute_capabilities=["8.6"],
                     least_driver={"8.6": "580.65.06"},
                     alternatives={"cu128": {"8.6": "525.60.13"}})  # fmt: skip
    service.environment["LD_LIBRARY_PATH"] = str(tmp_path)
    refused = service.run("check")
    assert refused.returncode == 66
    assert "driver 550.90.07" in refused.stderr
    if status:
        assert "CUDA_ERROR_UNKNOWN" in refused.stderr
    else:
        assert "CUDA 12.4, NVIDIA A10 (compute capability 8.6, 23 GiB)" in refused.stderr
        assert "use the image's variant cu128 instead" in refused.stderr


def test_an_error_of_the_driver_names_the_call() -> None:
    """Prevents: a bare number in the log."""
    assert str(LibraryError("cuInit", 999, "unknown")) == "cuInit failed with 999 (unknown)"


def test_settings_that_cannot_be_used_are_all_told(service: Service) -> None:
    """Prevents: --fast in production by way of the extra arguments."""
    service.environment |= {
        "COMFYUI_PORT": "a",
        "VACE_WARMUP": "maybe",
        "VACE_EXTRA_ARGS": "--fast --listen=0.0.0.0",
    }
    refused = service.run("serve")
    assert refused.returncode == 64
    assert "4 problems" in refused.stderr


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("--lis 0.0.0.0", "--listen"),
        ("--lis=0.0.0.0", "--listen"),
        ("--listen 0.0.0.0", "--listen"),
        ("--extra-model /x", "--extra-model-paths-config"),
        ("--fas", "--fast"),
        ("--fas=fp8_matrix_mult", "--fast"),
        ("--enable-man", "--enable-manager"),
        ("--multi", "--multi-user"),
        ("--", "--listen"),
    ],
)
def test_an_abbreviated_flag_is_refused_like_the_whole_one(words: str, flag: str) -> None:
    """Prevents: a service on every interface by `--lis`, which ComfyUI's parser completes."""
    with pytest.raises(SettingsError, match=flag):
        settings.read({"VACE_EXTRA_ARGS": words})


def test_other_extra_arguments_are_passed_on() -> None:
    """Prevents: a refusal of flags that only begin alike, or of values."""
    words = "--lowvram --preview-method auto --fp8_e4m3fn-unet --verbose=DEBUG --listening"
    assert settings.read({"VACE_EXTRA_ARGS": words}).extra_args == tuple(words.split())
