"""Driver packages and the CDI document."""

import json

from infra.node.vace_node.gpu import cdi_document, driver_packages, parse_ldconfig

LDCONFIG = """\
1035 libs found in cache `/etc/ld.so.cache'
\tlibnvidia-ptxjitcompiler.so.1 (libc6,x86-64) => /lib64/libnvidia-ptxjitcompiler.so.1
\tlibnvidia-ml.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libnvidia-ml.so.1
\tlibnvidia-ml.so.1 (libc6) => /lib/i386-linux-gnu/libnvidia-ml.so.1
\tlibnvidia-glcore.so.570.133.20 (libc6,x86-64) => /lib64/libnvidia-glcore.so.570.133.20
\tlibcuda.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so.1
\tlibcuda.so (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so
\tlibcudart.so.12 (libc6,x86-64) => /usr/local/cuda/lib64/libcudart.so.12
"""


def test_only_the_drivers_computing_libraries_are_taken() -> None:
    """CUDA's own libraries are the image's; 32-bit ones would be loaded and fail."""
    assert parse_ldconfig(LDCONFIG) == {
        "libcuda.so.1": "/lib/x86_64-linux-gnu/libcuda.so.1",
        "libnvidia-ml.so.1": "/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
        "libnvidia-ptxjitcompiler.so.1": "/lib64/libnvidia-ptxjitcompiler.so.1",
    }


def test_cdi_document_has_cards_controls_and_read_only_libraries() -> None:
    """Container engines skip a malformed document silently; the device is then unknown."""
    document = cdi_document(
        [0, 1],
        ["/dev/nvidiactl", "/dev/nvidia-uvm"],
        {"libcuda.so.1": "/lib/x86_64-linux-gnu/libcuda.so.1"},
        {"nvidia-smi": "/usr/bin/nvidia-smi"},
    )
    assert json.loads(json.dumps(document)) == document
    assert document["kind"] == "nvidia.com/gpu"
    assert [device["name"] for device in document["devices"]] == ["0", "1", "all"]
    every = document["devices"][2]["containerEdits"]["deviceNodes"]
    assert [node["path"] for node in every] == ["/dev/nvidia0", "/dev/nvidia1"]
    edits = document["containerEdits"]
    assert [node["path"] for node in edits["deviceNodes"]] == ["/dev/nvidiactl", "/dev/nvidia-uvm"]
    assert edits["env"] == ["LD_LIBRARY_PATH=/usr/local/nvidia/lib64"]
    targets = {mount["containerPath"]: mount["options"] for mount in edits["mounts"]}
    assert set(targets) == {
        "/usr/local/nvidia/lib64/libcuda.so.1",
        "/usr/local/nvidia/bin/nvidia-smi",
    }
    assert all("ro" in options for options in targets.values())


def test_open_driver_uses_the_common_tools_package() -> None:
    """There is no nvidia-utils-570-server-open; asking for it would fail the installation."""
    prebuilt, built = driver_packages("570-server-open", "6.8.0-60-generic")
    assert prebuilt == [
        "linux-modules-nvidia-570-server-open-6.8.0-60-generic",
        "nvidia-headless-no-dkms-570-server-open",
        "nvidia-utils-570-server",
    ]
    assert built == [
        "nvidia-headless-570-server-open",
        "linux-headers-6.8.0-60-generic",
        "nvidia-utils-570-server",
    ]
