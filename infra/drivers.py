"""Which NVIDIA driver branch a machine gets: what its GPU and the image's CUDA release need. Pure.

The table of CUDA releases and drivers is ``images/variants.toml``, the same that the image's own
preflight goes by, so a mismatch is an error before anything is created instead of a node that
boots for ten minutes and then refuses to start.
"""

from images import variants
from infra import catalogue
from infra.placement import PlacementError


class DriverError(PlacementError):
    """GPU, driver and image variant do not go together."""


def driver_for(type_name: str, wanted: str, variant_name: str) -> str:
    """Return the driver branch to install, for example ``580-server``, or ``none``.

    Args:
        type_name: instance type; for one that the catalogue lacks, "auto" goes by the variant.
        wanted: ``gpuDriver`` of the config: ``auto``, ``none`` or a branch.
        variant_name: ``imageVariant`` of the config.

    Raises:
        DriverError: the branch is too old for the GPU or the image, has the wrong kernel modules,
            or the image has no kernels for the GPU.
    """
    variant = variants.find(variant_name)
    if wanted == "none":
        return wanted
    if variant.cuda is None:
        raise DriverError(
            f'imageVariant: "{variant_name}" has no CUDA, and gpuDriver is "{wanted}". It is for '
            "rehearsals on machines without a GPU. Set imageVariant to the variant that "
            'comfyuiImage was built as, or gpuDriver to "none"'
        )
    row = catalogue.find(type_name)
    if row is None:
        # Nothing is known of its GPU: the branch that runs this variant on every GPU.
        newest = max(map(_branch, variant.least_driver.values()))
        return f"{newest}-server" if wanted == "auto" else wanted
    capability = ".".join(map(str, row.compute_capability))
    if capability not in variant.least_driver:
        raise DriverError(
            f'imageVariant: "{variant_name}" has no kernels for the {row.gpu} of {type_name} '
            f"(compute capability {capability}), only for "
            f"{', '.join(variant.compute_capabilities)}. Use another instanceType, or an image of "
            "another variant (`python -m images variants` prints the table)"
        )
    needed = max(_branch(row.driver), _branch(variant.least_driver[capability]))
    modules = "-open" if row.driver.endswith("-open") else ""
    automatic = f"{needed}-server{modules}"
    if wanted == "auto":
        return automatic
    if _branch(wanted) < needed or not wanted.endswith(modules):
        raise DriverError(
            f'gpuDriver: "{wanted}" cannot drive the {row.gpu} of {type_name} for image variant '
            f"{variant_name}, which needs {automatic} or newer. Set gpuDriver to auto or "
            f"{automatic}, or imageVariant to one that an older driver runs (and comfyuiImage to "
            "such an image)"
        )
    return wanted


def _branch(driver: str) -> int:
    return variants.version(driver)[0]
