"""GPU, driver and image variant must go together before anything is created."""

import pytest

from images.variants import variants
from infra.catalogue import instance_types
from infra.drivers import DriverError, driver_for

A10 = "ecs.gn7i-c8g1.2xlarge"
BLACKWELL = "ecs.gn9gc.4xlarge"


def test_the_driver_fits_gpu_and_image() -> None:
    """Prevents 40 minutes of paid boot that end in a driver too old for the card or the image."""
    assert driver_for(A10, "auto", "cu128") == "570-server"
    assert driver_for(A10, "auto", "cu130") == "580-server"
    assert driver_for(BLACKWELL, "auto", "cu130").endswith("-open")
    assert driver_for(A10, "580-server", "cu128") == "580-server"
    assert driver_for("ecs.gn99-unknown.large", "570-server", "cu128") == "570-server"
    assert driver_for("ecs.gn99-unknown.large", "auto", "cu130") == "580-server"


def test_a_system_image_may_bring_the_driver() -> None:
    assert driver_for(A10, "none", "cu130") == "none"
    assert driver_for(A10, "none", "cpu") == "none"


@pytest.mark.parametrize(
    ("kind", "wanted", "variant", "advice"),
    [
        (BLACKWELL, "580-server", "cu130", "Set gpuDriver to auto"),
        (A10, "570-server", "cu130", "imageVariant to one that an older driver runs"),
        (A10, "auto", "cpu", 'gpuDriver to "none"'),
    ],
)
def test_what_does_not_go_together_is_refused(
    kind: str, wanted: str, variant: str, advice: str
) -> None:
    with pytest.raises(DriverError, match=advice) as caught:
        driver_for(kind, wanted, variant)
    assert variant in str(caught.value)


def test_every_machine_of_the_catalogue_runs_every_gpu_variant() -> None:
    """A row that no image can serve would only be noticed by who pays for it."""
    for row in instance_types():
        for variant in variants():
            if variant.cuda:
                assert driver_for(row.type, "auto", variant.name)
