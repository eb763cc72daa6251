"""ADDRESS: the public IPv4 address, which stays when the node is replaced."""

import pulumi
import pulumi_alicloud as alicloud

from infra.config import Settings


class Address(pulumi.ComponentResource):
    """One EIP, paid by traffic."""

    def __init__(
        self, name: str, *, settings: Settings, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("wanvace:address:Address", name, None, opts)
        eip = alicloud.ecs.EipAddress(
            name,
            address_name=settings.names.prefix,
            bandwidth=str(settings.eip_bandwidth_mbps),
            internet_charge_type="PayByTraffic",
            payment_type="PayAsYouGo",
            isp="BGP",
            tags=settings.tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.allocation_id = eip.id
        self.ip_address = eip.ip_address
        self.register_outputs({"ip_address": eip.ip_address})
