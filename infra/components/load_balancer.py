"""LOAD BALANCER: a CLB whose address is known before any pod runs, and who may come in."""

import pulumi
import pulumi_alicloud as alicloud

from infra.config import Settings

PREFIX = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-"
ESTABLISHED_SECONDS = 900
"""Longest that a CLB keeps a silent TCP connection; a video's WebSocket is silent meanwhile."""


class LoadBalancer(pulumi.ComponentResource):
    """The load balancer and its list of networks; the cluster's controller makes the listener.

    Made here and not by the controller, because its address stands in the certificate, and so
    that it stays when the release is made anew.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        vswitch_id: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("wanvace:balancer:LoadBalancer", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        internet = settings.load_balancer_address_type == "internet"
        balancer = alicloud.slb.ApplicationLoadBalancer(
            name,
            load_balancer_name=settings.names.prefix,
            address_type=settings.load_balancer_address_type,
            address_ip_version="ipv4",
            vswitch_id=None if internet else vswitch_id,
            internet_charge_type="PayByTraffic" if internet else None,
            payment_type="PayAsYouGo",
            instance_charge_type="PayByCLCU",
            delete_protection="on" if settings.deletion_protection else "off",
            tags=settings.tags,
            opts=child,
        )
        acl = alicloud.slb.Acl(
            name,
            name=settings.names.prefix,
            ip_version="ipv4",
            tags=settings.tags,
            opts=child,
        )
        # Never empty: a CLB takes an empty white list for no list, and lets everybody in.
        self.entries = [
            alicloud.slb.AclEntryAttachment(
                f"{name}-{cidr}", acl_id=acl.id, entry=str(cidr), comment=comment, opts=child
            )
            for cidr, comment in [
                (settings.vpc_cidr, "the VPC itself"),
                *((cidr, "allowedCidrs") for cidr in settings.allowed_cidrs),
            ]
        ]
        self.address = balancer.address
        self.annotations = pulumi.Output.all(balancer.id, acl.id).apply(
            lambda ids: annotations(str(ids[0]), str(ids[1]))
        )
        self.register_outputs({"address": balancer.address})


def annotations(balancer_id: str, acl_id: str) -> dict[str, str]:
    """Return what tells the cluster's controller to use this balancer and list."""
    return {
        f"{PREFIX}id": balancer_id,
        # A balancer that exists gets no listener otherwise.
        f"{PREFIX}force-override-listeners": "true",
        f"{PREFIX}acl-status": "on",
        f"{PREFIX}acl-id": acl_id,
        f"{PREFIX}acl-type": "white",
        f"{PREFIX}established-timeout": str(ESTABLISHED_SECONDS),
        f"{PREFIX}health-check-flag": "on",
        f"{PREFIX}health-check-type": "tcp",
    }
