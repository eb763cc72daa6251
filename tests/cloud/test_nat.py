"""NAT gateways, their elastic addresses and SNAT entries, by Alibaba's SDK."""

from __future__ import annotations

from typing import Any

import pytest
from alibabacloud_vpc20160428 import models as vpc

from .conftest import RunningCloud
from .ecs_world import REGION, World, refused


class Gateway:
    """A NAT gateway with an elastic address that was allocated and not bound yet."""

    def __init__(self, cloud: RunningCloud) -> None:
        self.world = World(cloud)
        self.vpc = cloud.client("vpc")
        made = self.vpc.create_nat_gateway(
            vpc.CreateNatGatewayRequest(
                region_id=REGION,
                vpc_id=self.world.vpc_id,
                v_switch_id=self.world.vswitch_id,
                nat_type="Enhanced",
                name="films",
            )
        ).body
        self.id = made.nat_gateway_id
        self.table = made.snat_table_ids.snat_table_id[0]
        eip = self.vpc.allocate_eip_address(vpc.AllocateEipAddressRequest(region_id=REGION)).body
        self.allocation, self.address = eip.allocation_id, eip.eip_address
        self.world.pass_time()

    def bind(self) -> None:
        self.vpc.associate_eip_address(
            vpc.AssociateEipAddressRequest(
                region_id=REGION,
                allocation_id=self.allocation,
                instance_id=self.id,
                instance_type="Nat",
            )
        )
        self.world.pass_time()

    def unbind(self) -> None:
        self.vpc.unassociate_eip_address(
            vpc.UnassociateEipAddressRequest(
                region_id=REGION,
                allocation_id=self.allocation,
                instance_id=self.id,
                instance_type="Nat",
            )
        )
        self.world.pass_time()

    def translate(self, **fields: Any) -> str:
        request = vpc.CreateSnatEntryRequest(
            region_id=REGION, snat_table_id=self.table, snat_ip=self.address, **fields
        )
        return str(self.vpc.create_snat_entry(request).body.snat_entry_id)

    def delete(self) -> None:
        self.vpc.delete_nat_gateway(
            vpc.DeleteNatGatewayRequest(region_id=REGION, nat_gateway_id=self.id)
        )


@pytest.fixture
def gateway(cloud: RunningCloud) -> Gateway:
    """A gateway in a small VPC."""
    return Gateway(cloud)


def test_a_gateway_translates_only_with_an_address_of_its_own(gateway: Gateway) -> None:
    """Prevents a program from leaving out the association, which the real service wants first."""
    source = gateway.world.vswitch_id
    with refused("EIP_NOT_IN_GATEWAY", gateway.address):
        gateway.translate(source_vswitch_id=source)
    gateway.bind()
    entry_id = gateway.translate(source_vswitch_id=source)
    gateway.world.pass_time()
    entries = gateway.vpc.describe_snat_table_entries(
        vpc.DescribeSnatTableEntriesRequest(
            region_id=REGION, snat_table_id=gateway.table, snat_entry_id=entry_id
        )
    ).body.snat_table_entries.snat_table_entry
    (entry,) = entries
    assert (entry.status, entry.snat_ip, entry.source_cidr) == (
        "Available",
        gateway.address,
        "10.1.1.0/24",
    )
    with refused("InvalidParameter.SourceCIDR.Duplicate"):
        gateway.translate(source_vswitch_id=source)


def test_everything_goes_in_the_right_order_only(cloud: RunningCloud, gateway: Gateway) -> None:
    """Prevents a destroy in the wrong order from passing a rehearsal."""
    gateway.bind()
    entry_id = gateway.translate(source_vswitch_id=gateway.world.vswitch_id)
    with refused("DependencyViolation.SnatEntry"):
        gateway.unbind()
    with refused("DependencyViolation.EIPS"):
        gateway.delete()
    with refused("DependencyViolation", gateway.id):
        gateway.vpc.delete_vswitch(
            vpc.DeleteVSwitchRequest(region_id=REGION, v_switch_id=gateway.world.vswitch_id)
        )
    gateway.vpc.delete_snat_entry(
        vpc.DeleteSnatEntryRequest(
            region_id=REGION, snat_table_id=gateway.table, snat_entry_id=entry_id
        )
    )
    gateway.unbind()
    gateway.delete()
    left = cloud.control("GET", "/status")["resources"]
    assert not any("nat" in name for name in left), left


@pytest.mark.parametrize(
    "source", [{}, {"source_cidr": "192.168.0.0/24"}, {"source_cidr": "10.1.1.0"}]
)
def test_a_source_outside_the_vpc_is_refused(gateway: Gateway, source: dict[str, str]) -> None:
    """Prevents an entry that matches no machine."""
    gateway.bind()
    with refused("InvalidParameter." + ("SourceCIDR" if source else "SourceVSwitchId")):
        gateway.translate(**source)
