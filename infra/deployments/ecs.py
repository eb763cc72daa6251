"""Target "ecs": one GPU machine with a public address, serving over TLS."""

from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pulumi_alicloud as alicloud

from infra import catalogue, drivers, placement, provider, speed
from infra.components.address import Address
from infra.components.identity import Identity
from infra.components.network import Network
from infra.components.node import Node
from infra.components.secrets import Secrets
from infra.components.storage import Storage
from infra.config import Settings
from infra.dynamic.placement import Placement


class ImageError(placement.PlacementError):
    """The region has no system image of the wanted family."""


def deploy(
    settings: Settings, *, before_creation: Callable[[], None] = lambda: None
) -> Mapping[str, pulumi.Input[Any]]:
    """Declare every resource of the target and return the stack's outputs.

    Args:
        before_creation: called when all questions are asked and nothing is declared yet; may
            raise what makes the rest pointless.

    Raises:
        placement.PlacementError: the catalogue has no fitting instance type, or GPU, driver, image
            variant and speed profile do not go together.
        ImageError: the image family has no image in the region.
    """
    cloud = provider.make(settings.region)
    invoke = pulumi.InvokeOptions(provider=cloud)
    opts = pulumi.ResourceOptions(provider=cloud)

    wish = placement.Wish(
        region=settings.region,
        zone=settings.zone,
        instance_type=settings.instance_type,
        min_gpu_memory_gib=settings.min_gpu_memory_gib,
        require_fp8=settings.require_fp8,
        max_price_per_hour=settings.max_price_per_hour,
    )
    stock = _zones_in_stock(settings, invoke)
    before_creation()
    proposal = placement.propose(catalogue.instance_types(), wish, stock)
    place = Placement("placement", wish=wish, proposal=proposal, opts=pulumi.ResourceOptions())
    place.instance_type.apply(lambda kind: _announce(settings, kind))
    if proposal.instance_type:
        _driver(settings, proposal.instance_type)

    # Everything waits for the placement: out of stock stops a deployment before it starts.
    after = pulumi.ResourceOptions(provider=cloud, depends_on=[place])
    network = Network("network", settings=settings, zone=place.zone, opts=after)
    storage = Storage("storage", settings=settings, zone=place.zone, opts=after)
    address = Address("address", settings=settings, opts=after)
    secrets = Secrets("secrets", settings=settings, ip_address=address.ip_address, opts=after)
    secret_names = [settings.names.token_secret, settings.names.tls_secret]
    if settings.registry_host:
        secret_names.append(settings.names.registry_secret)
    identity = Identity(
        "identity",
        settings=settings,
        secret_names=secret_names,
        bucket=storage.bucket,
        opts=after,
    )
    node = Node(
        "node",
        settings=settings,
        instance_type=place.instance_type,
        gpu_driver=place.instance_type.apply(lambda kind: _driver(settings, kind)),
        image_id=settings.image_id or _newest_image(settings, invoke),
        zone=network.zone,
        vswitch_id=network.vswitch_id,
        security_group_id=network.security_group_id,
        role_name=identity.role_name,
        data_disk_id=storage.disk_id,
        bucket=storage.bucket,
        allocation_id=address.allocation_id,
        ip_address=address.ip_address,
        secret_versions=secrets.versions,
        depends_on=[*secrets.stored, identity.attachment, *network.rules],
        opts=opts,
    )
    host: pulumi.Input[str] = settings.hostname or address.ip_address
    return {
        "url": pulumi.Output.concat("https://", host, "/"),
        "caCertificate": secrets.ca_certificate,
        "certificateExpires": secrets.certificate_expires,
        "apiToken": secrets.token,
        "publicIp": address.ip_address,
        "instanceId": node.instance_id,
        "instanceType": place.instance_type,
        "zone": place.zone,
        "region": settings.region,
        "resultsBucket": storage.bucket,
        "costPerHour": place.instance_type.apply(lambda kind: cost(settings, kind)),
        "sessionCommand": pulumi.Output.concat(
            "ali-instance-cli session --instance ", node.instance_id
        ),
        "smokeTestCommand": (
            "pulumi stack output --json --show-secrets | "
            ".venv/bin/python -m smoke_tests --outputs -"
        ),
    }


def cost(settings: Settings, instance_type: str) -> str:
    """Return the price of the machine in words, with source and date or that none is known."""
    row = catalogue.find(instance_type)
    price = row.price(settings.region) if row else None
    if price is None:
        return f"no known price for {instance_type} in {settings.region}; ask ECS DescribePrice"
    spot = "; a spot instance costs less" if settings.spot else ""
    return f"{price}; disks and traffic come on top{spot}"


def _driver(settings: Settings, instance_type: str) -> str:
    speed.check(instance_type, settings.speed_profile)
    return drivers.driver_for(instance_type, settings.gpu_driver, settings.image_variant)


def _announce(settings: Settings, instance_type: str) -> None:
    pulumi.log.info(f"{instance_type}: {cost(settings, instance_type)}")


def _zones_in_stock(settings: Settings, invoke: pulumi.InvokeOptions) -> dict[str, list[str]]:
    """Return the zones that have each single-GPU instance type in stock now.

    Asks ``get_instance_types``, which leaves out what DescribeAvailableResource calls sold out;
    ``get_zones`` only knows where a type is offered at all.
    """
    answer = alicloud.ecs.get_instance_types(
        gpu_amount=1,
        system_disk_category="cloud_essd",
        instance_charge_type="PostPaid",
        network_type="Vpc",
        spot_strategy="SpotAsPriceGo" if settings.spot else "NoSpot",
        opts=invoke,
    )
    return {row.id: list(row.availability_zones) for row in answer.instance_types}


def _newest_image(settings: Settings, invoke: pulumi.InvokeOptions) -> str:
    answer = alicloud.ecs.get_images(
        owners="system",
        image_family=settings.image_family,
        is_support_cloud_init=True,
        most_recent=True,
        opts=invoke,
    )
    if not answer.images:
        raise ImageError(
            f'imageFamily: "{settings.image_family}" has no image in {settings.region}. Families '
            'look like "acs:ubuntu_24_04_x64" (lower case, underscores). Correct it, or set imageId'
        )
    return answer.images[0].id
