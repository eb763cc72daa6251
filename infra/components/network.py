"""NETWORK: VPC, vSwitch and security group. Only what the config names may come in."""

import pulumi
import pulumi_alicloud as alicloud

from infra.config import Settings

HTTPS_PORT = 443
PLAIN_PORT = 8188
"""ComfyUI's usual port, which callers inside the VPC already use."""


class Network(pulumi.ComponentResource):
    """A VPC with one vSwitch and the node's security group.

    Nothing comes in but TCP 443 from ``allowedCidrs`` and, with ``plainHttp``, TCP 8188 from the
    VPC itself. There is no SSH: sessions go through Cloud Assistant.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        zone: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("wanvace:network:Network", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        prefix = settings.names.prefix
        vpc = alicloud.vpc.Network(
            name,
            vpc_name=prefix,
            cidr_block=str(settings.vpc_cidr),
            tags=settings.tags,
            opts=child,
        )
        vswitch = alicloud.vpc.Switch(
            name,
            vpc_id=vpc.id,
            vswitch_name=prefix,
            cidr_block=str(settings.vswitch_cidr),
            zone_id=zone,
            tags=settings.tags,
            opts=child,
        )
        group = alicloud.ecs.SecurityGroup(
            name,
            vpc_id=vpc.id,
            security_group_name=prefix,
            description="Wan VACE node: HTTPS from named networks only",
            # Two nodes in one group have nothing to say to each other.
            inner_access_policy="Drop",
            tags=settings.tags,
            opts=child,
        )
        self.rules = [
            self._ingress(name, group.id, str(cidr), HTTPS_PORT) for cidr in settings.allowed_cidrs
        ]
        if settings.plain_http:
            self.rules.append(self._ingress(name, group.id, str(settings.vpc_cidr), PLAIN_PORT))
        self.vpc_id = vpc.id
        self.vswitch_id = vswitch.id
        self.zone = vswitch.zone_id
        self.security_group_id = group.id
        self.register_outputs({"vpc_id": vpc.id, "vswitch_id": vswitch.id})

    def _ingress(
        self, name: str, group: pulumi.Input[str], cidr: str, port: int
    ) -> alicloud.ecs.SecurityGroupRule:
        return alicloud.ecs.SecurityGroupRule(
            f"{name}-{port}-{cidr}",
            security_group_id=group,
            type="ingress",
            ip_protocol="tcp",
            port_range=f"{port}/{port}",
            cidr_ip=cidr,
            policy="accept",
            priority=1,
            nic_type="intranet",
            opts=pulumi.ResourceOptions(parent=self),
        )
