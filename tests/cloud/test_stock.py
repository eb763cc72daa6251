"""What the cloud sells: regions, zones, types, stock, prices, images."""

from __future__ import annotations

from typing import Any

import pytest
from alibabacloud_ecs20140526 import models as ecs

from rehearsal.cloud import catalogue, images

from .ecs_world import A10, REGION, World, refused


def available(client: Any, destination: str = "InstanceType", **fields: Any) -> dict[str, Any]:
    """Zone -> its entry in DescribeAvailableResource."""
    request = ecs.DescribeAvailableResourceRequest(
        region_id=REGION, destination_resource=destination, **fields
    )
    zones = client.describe_available_resource(request).body.available_zones
    return {zone.zone_id: zone for zone in zones.available_zone}


def values(zone: Any) -> dict[str, str]:
    """Resource -> status of a zone's entry."""
    resources = zone.available_resources.available_resource[0].supported_resources
    return {item.value: item.status for item in resources.supported_resource}


# --- the data -----------------------------------------------------------------------------------


def test_the_catalogue_contradicts_itself_nowhere() -> None:
    """A typing mistake in the tables would show up as an odd refusal hours later."""
    zones = [zone for region in catalogue.REGIONS.values() for zone in region.zones]
    assert len(zones) == len(set(zones))
    families = {item.family for item in catalogue.INSTANCE_TYPES.values()}
    assert set(catalogue.OFFERED) <= families
    for family, offered in catalogue.OFFERED.items():
        assert offered <= set(zones), family
    for zone, type_id in catalogue.SOLD_OUT:
        assert catalogue.offered(type_id, zone), (zone, type_id)
    for item in catalogue.INSTANCE_TYPES.values():
        assert item.hourly > 0
        assert bool(item.gpu_amount) == bool(item.gpu_spec) == bool(item.gpu_memory_gib)
        assert any(catalogue.offered(item.type_id, zone) for zone in zones), item.type_id


def test_each_image_family_offers_a_choice() -> None:
    """With one image a family, a program that forgets "most recent" would pass."""
    for family in (
        "acs:ubuntu_24_04_x64",
        "acs:ubuntu_22_04_x64",
        "acs:alibaba_cloud_linux_3_2104_lts_x64",
        "acs:debian_12_x64",
    ):
        members = [i for i in images.IMAGES.values() if i.family == family]
        newest = images.newest_of_family(family)
        assert len(members) > 1
        assert newest is not None
        assert newest.created == max(i.created for i in members if i.status == "Available")


# --- regions, zones, types ----------------------------------------------------------------------


def test_regions_and_zones_are_listed(cloud: Any) -> None:
    """The zones data source joins this list with DescribeAvailableResource."""
    client = cloud.client("ecs")
    regions = client.describe_regions(ecs.DescribeRegionsRequest()).body.regions.region
    assert {"cn-hangzhou", "cn-wulanchabu", "us-east-1"} <= {r.region_id for r in regions}
    zones = client.describe_zones(ecs.DescribeZonesRequest(region_id=REGION)).body.zones.zone
    by_id = {zone.zone_id: zone for zone in zones}
    assert A10 in by_id["cn-hangzhou-i"].available_instance_types.instance_types
    assert A10 not in by_id["cn-hangzhou-g"].available_instance_types.instance_types
    assert "cloud_essd" in by_id["cn-hangzhou-i"].available_disk_categories.disk_categories


def test_instance_types_come_in_pages(cloud: Any) -> None:
    """A client that ignores NextToken must miss types in the rehearsal, too."""
    client = cloud.client("ecs")
    seen: list[Any] = []
    token = None
    while token != "":
        body = client.describe_instance_types(
            ecs.DescribeInstanceTypesRequest(max_results=10, next_token=token)
        ).body
        seen += body.instance_types.instance_type
        token = body.next_token
    assert {t.instance_type_id for t in seen} == set(catalogue.INSTANCE_TYPES)
    assert len(seen) == len(catalogue.INSTANCE_TYPES)
    l20 = next(t for t in seen if t.instance_type_id == "ecs.gn8is.2xlarge")
    assert (l20.gpuspec, l20.gpuamount, l20.gpumemory_size) == ("NVIDIA L20", 1, 48.0)
    assert (l20.cpu_core_count, l20.memory_size, l20.instance_type_family) == (
        8,
        64.0,
        "ecs.gn8is",
    )
    only = client.describe_instance_types(
        ecs.DescribeInstanceTypesRequest(instance_type_family="ecs.gn7i")
    ).body.instance_types.instance_type
    assert {t.instance_type_family for t in only} == {"ecs.gn7i"}
    families = client.describe_instance_type_families(
        ecs.DescribeInstanceTypeFamiliesRequest(region_id=REGION)
    ).body.instance_type_families.instance_type_family
    assert "ecs.gn8is" in {f.instance_type_family_id for f in families}


# --- stock --------------------------------------------------------------------------------------


def test_availability_tells_zones_and_stock_apart(cloud: Any) -> None:
    """A type may be missing from a zone, sold out there, or for sale."""
    client = cloud.client("ecs")
    zones = available(client, instance_type=A10)
    assert "cn-hangzhou-g" not in zones  # not offered
    assert zones["cn-hangzhou-h"].status == "SoldOut"
    assert zones["cn-hangzhou-h"].status_category == "WithoutStock"
    assert values(zones["cn-hangzhou-h"]) == {A10: "SoldOut"}
    assert (zones["cn-hangzhou-i"].status, zones["cn-hangzhou-i"].status_category) == (
        "Available",
        "WithStock",
    )
    one = available(client, zone_id="cn-hangzhou-k")
    assert list(one) == ["cn-hangzhou-k"]
    assert values(one["cn-hangzhou-k"])["ecs.gn9gc.4xlarge"] == "SoldOut"
    by_size = available(client, cores=8, memory=30.0)
    assert set(values(by_size["cn-hangzhou-i"])) == {A10}


def test_zones_alone_and_disks_can_be_asked_for(cloud: Any) -> None:
    """The zones data source asks for Zone; a disk question needs the type."""
    client = cloud.client("ecs")
    assert set(available(client, "Zone")) == set(catalogue.REGIONS[REGION].zones) - set(
        catalogue.CLOSED_ZONES
    )
    with refused("MissingParameter", '"InstanceType"'):
        available(client, "SystemDisk")
    zones = available(client, "SystemDisk", instance_type=A10)
    assert set(values(zones["cn-hangzhou-i"])) == {"cloud_essd", "cloud_auto"}
    with refused("InvalidParameter.DestinationResource", "Zone, InstanceType"):
        available(client, "Network")


def test_stock_set_by_a_test_shows_in_lists_and_launches(cloud: Any) -> None:
    """The control interface empties and fills shelves; every answer must follow."""
    world = World(cloud)
    cloud.control("POST", "/stock", {"zone": world.zone, "instance_type": A10, "in_stock": False})
    assert available(world.ecs, instance_type=A10)[world.zone].status == "SoldOut"
    with refused(
        "OperationDenied.NoStock",
        "The requested resource is sold out in the specified zone; "
        "try other types of resources or other regions and zones.",
        status=403,
    ):
        world.launch()
    cloud.control("POST", "/stock", {"zone": world.zone, "instance_type": A10, "in_stock": True})
    world.launch()


def test_a_type_that_a_zone_does_not_have_is_refused_by_reason(cloud: Any) -> None:
    """Not in the zone, not in the region, and a closed zone are three different answers."""
    world = World(cloud, zone="cn-hangzhou-g")
    with refused(
        "InvalidInstanceType.ZoneNotSupported",
        "The specified zone does not support this instancetype.",
        "cn-hangzhou-i",
        status=403,
    ):
        world.launch()
    closed = world.new_vswitch(world.vpc_id, "10.3.0.0/24", "cn-hangzhou-b")
    with refused("Zone.NotOnSale", "not available for purchase", status=403):
        world.launch(v_switch_id=closed)


def test_a_type_that_a_region_does_not_have_is_refused(cloud: Any) -> None:
    """Virginia has no L20."""
    cloud.cloud.stock_overrides.clear()
    assert catalogue.REGIONS["us-east-1"].zones == ("us-east-1a", "us-east-1b")
    request = ecs.DescribeAvailableResourceRequest(
        region_id="us-east-1",
        destination_resource="InstanceType",
        instance_type="ecs.gn8is.2xlarge",
    )
    body = cloud.client("ecs").describe_available_resource(request).body
    assert body.available_zones.available_zone == []


# --- prices -------------------------------------------------------------------------------------


def price(client: Any, region: str = REGION, **fields: Any) -> Any:
    request = ecs.DescribePriceRequest(region_id=region, **{"instance_type": A10, **fields})
    return client.describe_price(request).body.price_info.price


def test_prices_differ_by_region_disk_and_spot(cloud: Any) -> None:
    """A price limit must be compared with the region's price, disks included."""
    client = cloud.client("ecs")
    home = price(client)
    assert (home.currency, home.trade_price) == ("CNY", 9.74)
    assert price(client, "cn-wulanchabu").trade_price < home.trade_price
    assert price(client, "ap-southeast-1").trade_price > 1.5 * home.trade_price
    disk = ecs.DescribePriceRequestSystemDisk(category="cloud_essd", size=100)
    assert price(client, system_disk=disk).trade_price > home.trade_price
    spot = price(client, spot_strategy="SpotAsPriceGo")
    assert spot.trade_price < spot.original_price == home.original_price
    with refused("InvalidInstanceType.ValueNotSupported", "does not exist"):
        price(client, instance_type="ecs.none")


# --- images -------------------------------------------------------------------------------------


def found(client: Any, **fields: Any) -> list[str]:
    request = ecs.DescribeImagesRequest(region_id=REGION, page_size=100, **fields)
    return [i.image_id for i in client.describe_images(request).body.images.image]


def test_images_are_found_by_family_and_filter(cloud: Any) -> None:
    """Only available x86 images with cloud-init may reach a GPU node."""
    client = cloud.client("ecs")
    family = found(client, image_family="acs:ubuntu_24_04_x64")
    assert family == [
        "ubuntu_24_04_x64_20G_alibase_20260615.vhd",
        "ubuntu_24_04_x64_20G_alibase_20260213.vhd",
    ]
    assert len(found(client, image_family="acs:ubuntu_24_04_x64", status="Deprecated")) == 1
    assert found(client, image_family="acs:ubuntu-24-04-x64") == []
    assert found(client, image_owner_alias="self") == []
    for_gpu = found(client, instance_type=A10, image_owner_alias="system")
    assert for_gpu
    assert not any("arm64" in image_id for image_id in for_gpu)
    with_init = found(client, is_support_cloudinit=True)
    assert not any("coreos" in image_id for image_id in with_init)
    assert found(client, image_name="debian*", architecture="x86_64")
    newest = client.describe_image_from_family(
        ecs.DescribeImageFromFamilyRequest(region_id=REGION, image_family="acs:ubuntu_24_04_x64")
    ).body.image
    assert newest.image_id == family[0]


@pytest.mark.parametrize(("size", "number", "count"), [(4, 1, 4), (4, 3, 2), (4, 4, 0)])
def test_images_come_in_pages(cloud: Any, size: int, number: int, count: int) -> None:
    """The provider reads on until a page is short."""
    body = (
        cloud.client("ecs")
        .describe_images(
            ecs.DescribeImagesRequest(region_id=REGION, page_size=size, page_number=number)
        )
        .body
    )
    assert (len(body.images.image), body.total_count) == (count, 10)
