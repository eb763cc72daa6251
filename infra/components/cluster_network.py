"""CLUSTER NETWORK: a VPC with a vSwitch in each of two zones, and a way out if it is wanted."""

import pulumi
import pulumi_alicloud as alicloud

from infra.config import Settings


class ClusterNetwork(pulumi.ComponentResource):
    """VPC and vSwitches sized for one address a pod; with ``natGateway`` a way to the internet.

    Nothing comes in here: the load balancer and the API server have doors of their own.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        zones: tuple[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("wanvace:network:ClusterNetwork", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self._name, self._settings = name, settings
        prefix = settings.names.prefix
        vpc = alicloud.vpc.Network(
            name,
            vpc_name=prefix,
            cidr_block=str(settings.vpc_cidr),
            tags=settings.tags,
            opts=child,
        )
        self.vswitches = [
            alicloud.vpc.Switch(
                f"{name}-{number}",
                vpc_id=vpc.id,
                vswitch_name=f"{prefix}-{number}",
                cidr_block=str(cidr),
                zone_id=zone,
                tags=settings.tags,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    # "auto" is a choice made once: a cluster cannot move to another zone.
                    ignore_changes=["zone_id"] if settings.zone == "auto" else [],
                ),
            )
            for number, (cidr, zone) in enumerate(zip(settings.pod_cidrs, zones, strict=True), 1)
        ]
        self.vpc_id = vpc.id
        self.vswitch_ids = [vswitch.id for vswitch in self.vswitches]
        self.ready: list[pulumi.Resource] = list(self.vswitches)
        if settings.nat_gateway:
            self.ready += self._way_out(vpc.id)
        self.register_outputs({"vpc_id": vpc.id})

    def _way_out(self, vpc_id: pulumi.Input[str]) -> list[pulumi.Resource]:
        """NAT gateway, its address, and a rule for each vSwitch."""
        name, settings = self._name, self._settings
        child = pulumi.ResourceOptions(parent=self)
        eip = alicloud.ecs.EipAddress(
            f"{name}-nat",
            address_name=f"{settings.names.prefix}-nat",
            bandwidth=str(settings.eip_bandwidth_mbps),
            internet_charge_type="PayByTraffic",
            payment_type="PayAsYouGo",
            isp="BGP",
            tags=settings.tags,
            opts=child,
        )
        gateway = alicloud.vpc.NatGateway(
            name,
            nat_gateway_name=settings.names.prefix,
            nat_type="Enhanced",
            network_type="internet",
            payment_type="PayAsYouGo",
            internet_charge_type="PayByLcu",
            vpc_id=vpc_id,
            vswitch_id=self.vswitch_ids[0],
            tags=settings.tags,
            opts=child,
        )
        association = alicloud.ecs.EipAssociation(
            f"{name}-nat",
            allocation_id=eip.id,
            instance_id=gateway.id,
            instance_type="Nat",
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        rules = [
            alicloud.vpc.SnatEntry(
                f"{name}-{number}",
                snat_table_id=gateway.snat_table_ids,
                source_vswitch_id=vswitch_id,
                snat_ip=eip.ip_address,
                opts=pulumi.ResourceOptions(parent=self, depends_on=[association]),
            )
            for number, vswitch_id in enumerate(self.vswitch_ids, 1)
        ]
        return [association, *rules]
