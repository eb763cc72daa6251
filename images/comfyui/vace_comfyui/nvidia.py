"""``python -m vace_comfyui.nvidia``: what the driver says, through its own two libraries.

NVML names the driver and the devices even where CUDA does not work; the driver API says whether
CUDA does. Both are loaded with ctypes. A broken GPU can make either hang, so this is a process of
its own with a time limit (`gpu.probe`).
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

NVML = "libnvidia-ml.so.1"
CUDA = "libcuda.so.1"
# Values of CUdevice_attribute in cuda.h.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_TEXT = 96


class _Memory(ctypes.Structure):
    """nvmlMemory_t: bytes."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class LibraryError(Exception):
    """A call of the driver's libraries failed; `code` is the library's own number."""

    def __init__(self, call: str, code: int, text: str) -> None:
        self.code = code
        super().__init__(f"{call} failed with {code} ({text})")


def _nvml_text(library: ctypes.CDLL, code: int) -> str:
    library.nvmlErrorString.restype = ctypes.c_char_p
    return (library.nvmlErrorString(code) or b"unknown").decode(errors="replace")


def _nvml(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    code = int(getattr(library, name)(*arguments))
    if code:
        raise LibraryError(name, code, _nvml_text(library, code))


def read_nvml() -> dict[str, Any]:
    """Driver version and devices (name, capability, memory in bytes).

    Raises:
        OSError: the library is not there. LibraryError: it answers with an error.
    """
    library = ctypes.CDLL(NVML)
    _nvml(library, "nvmlInit_v2")
    try:
        text = ctypes.create_string_buffer(_TEXT)
        _nvml(library, "nvmlSystemGetDriverVersion", text, ctypes.c_uint(_TEXT))
        driver = text.value.decode(errors="replace")
        count = ctypes.c_uint()
        _nvml(library, "nvmlDeviceGetCount_v2", ctypes.byref(count))
        devices = [_nvml_device(library, index) for index in range(count.value)]
    finally:
        library.nvmlShutdown()
    return {"driver": driver, "devices": devices}


def _nvml_device(library: ctypes.CDLL, index: int) -> dict[str, Any]:
    handle = ctypes.c_void_p()
    _nvml(library, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
    name = ctypes.create_string_buffer(_TEXT)
    _nvml(library, "nvmlDeviceGetName", handle, name, ctypes.c_uint(_TEXT))
    major, minor = ctypes.c_int(), ctypes.c_int()
    capability = (ctypes.byref(major), ctypes.byref(minor))
    _nvml(library, "nvmlDeviceGetCudaComputeCapability", handle, *capability)
    memory = _Memory()
    _nvml(library, "nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
    return {
        "name": name.value.decode(errors="replace"),
        "capability": f"{major.value}.{minor.value}",
        "memory": memory.total,
    }


def _cuda(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    code = int(getattr(library, name)(*arguments))
    if code:
        text = ctypes.c_char_p()
        library.cuGetErrorName(code, ctypes.byref(text))
        raise LibraryError(name, code, (text.value or b"unknown").decode(errors="replace"))


def read_cuda() -> dict[str, Any]:
    """CUDA version of the driver and devices, as a program that uses CUDA sees them.

    Raises:
        OSError: the library is not there. LibraryError: it answers with an error.
    """
    library = ctypes.CDLL(CUDA)
    _cuda(library, "cuInit", ctypes.c_uint(0))
    version, count = ctypes.c_int(), ctypes.c_int()
    _cuda(library, "cuDriverGetVersion", ctypes.byref(version))
    _cuda(library, "cuDeviceGetCount", ctypes.byref(count))
    devices = []
    for index in range(count.value):
        device, total = ctypes.c_int(), ctypes.c_size_t()
        name = ctypes.create_string_buffer(_TEXT)
        major, minor = ctypes.c_int(), ctypes.c_int()
        _cuda(library, "cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
        _cuda(library, "cuDeviceGetName", name, ctypes.c_int(_TEXT), device)
        _cuda(library, "cuDeviceTotalMem_v2", ctypes.byref(total), device)
        for attribute, value in ((_CAPABILITY_MAJOR, major), (_CAPABILITY_MINOR, minor)):
            _cuda(library, "cuDeviceGetAttribute", ctypes.byref(value),
                  ctypes.c_int(attribute), device)  # fmt: skip
        devices.append(
            {
                "name": name.value.decode(errors="replace"),
                "capability": f"{major.value}.{minor.value}",
                "memory": total.value,
            }
        )
    # 12080 stands for CUDA 12.8.
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return {"cuda": cuda, "devices": devices}


def main() -> dict[str, Any]:
    """Both answers, each with its error where it has one."""
    answer: dict[str, Any] = {}
    for name, reader in (("nvml", read_nvml), ("cuda", read_cuda)):
        try:
            answer[name] = reader()
        except (OSError, AttributeError, LibraryError) as error:
            answer[name] = {"error": str(error), "code": getattr(error, "code", None)}
    return answer


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main()))
