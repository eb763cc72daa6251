"""NODE: the GPU instance, what it is given, and the wait until it serves."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_alicloud as alicloud

from infra.components.identity import RESULTS_PREFIX
from infra.config import Settings
from infra.dynamic.readiness import NodeReadiness
from infra.node.render import NodeBootstrap, agent_object, render_user_data

SETTINGS_SCHEMA = 1
MAX_PARAMETER = 4096
"""Longest value of an OOS parameter (API reference, CreateParameter)."""


def node_settings(
    settings: Settings, *, gpu_driver: str, data_disk_id: str, bucket: str, ip_address: str
) -> dict[str, Any]:
    """Return the document that the node reads and applies; it holds no secret."""
    hosts = [ip_address, "localhost", "127.0.0.1"]
    if settings.hostname:
        hosts.append(settings.hostname)
    return {
        "schema": SETTINGS_SCHEMA,
        "comfyui_image": settings.comfyui_image,
        "gateway_image": settings.gateway_image,
        "data_disk_id": data_disk_id,
        "gpu_driver": gpu_driver,
        "speed_profile": settings.speed_profile,
        "results": {
            "bucket": bucket,
            "endpoint": _oss_endpoint(settings.region),
            "prefix": RESULTS_PREFIX,
        },
        "gateway": {
            "max_upload_mib": settings.max_upload_mib,
            "allowed_hosts": hosts,
            "plain_http": settings.plain_http,
        },
    }


class Node(pulumi.ComponentResource):
    """One ECS instance with its address, disk, role and settings.

    User data only bootstraps: it installs the node's agent. Everything that may change later is
    in an OOS parameter which the agent applies in place, so that a new image digest or a rotated
    token needs no new machine. A change of the agent itself replaces the machine; address, data
    disk and results stay.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        instance_type: pulumi.Input[str],
        gpu_driver: pulumi.Input[str],
        image_id: str,
        zone: pulumi.Input[str],
        vswitch_id: pulumi.Input[str],
        security_group_id: pulumi.Input[str],
        role_name: pulumi.Input[str],
        data_disk_id: pulumi.Input[str],
        bucket: pulumi.Input[str],
        allocation_id: pulumi.Input[str],
        ip_address: pulumi.Input[str],
        secret_versions: Sequence[pulumi.Input[str]],
        depends_on: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("wanvace:node:Node", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        names = settings.names
        document = pulumi.Output.all(
            driver=gpu_driver, disk=data_disk_id, bucket=bucket, address=ip_address
        ).apply(lambda values: self._document(settings, values))
        parameter = alicloud.oos.Parameter(
            names.settings_parameter,
            parameter_name=names.settings_parameter,
            type="String",
            value=document,
            description="Settings that the Wan VACE node applies",
            tags=settings.tags,
            opts=child,
        )
        packed = agent_object()
        agent = alicloud.oss.BucketObject(
            name,
            bucket=bucket,
            key=packed.key,
            content=packed.content,
            content_type="text/plain",
            server_side_encryption="AES256",
            opts=child,
        )
        spot: dict[str, Any] = {"spot_strategy": "NoSpot"}
        if settings.spot:
            limit = settings.spot_price_limit
            spot = (
                {"spot_strategy": "SpotWithPriceLimit", "spot_price_limit": limit}
                if limit is not None
                else {"spot_strategy": "SpotAsPriceGo"}
            )
        instance = alicloud.ecs.Instance(
            name,
            instance_name=names.prefix,
            instance_type=instance_type,
            image_id=image_id,
            availability_zone=zone,
            vswitch_id=vswitch_id,
            security_groups=[security_group_id],
            instance_charge_type="PostPaid",
            internet_max_bandwidth_out=0,
            system_disk_category="cloud_essd",
            system_disk_performance_level="PL1",
            system_disk_size=settings.system_disk_gib,
            system_disk_encrypted=True,
            http_endpoint="enabled",
            http_tokens="required",
            user_data=pulumi.Output.from_input(bucket).apply(
                lambda name: _user_data(settings, name)
            ),
            deletion_protection=settings.deletion_protection,
            tags=settings.tags,
            volume_tags=settings.tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                # Not on the parameter, which waits for the disk: the agent reads it only once the
                # role is attached, long after.
                depends_on=[agent, *depends_on],
                # cloud-init runs user data once: a new agent needs a new machine.
                replace_on_changes=["user_data"],
                # The data disk can be attached to one machine only.
                delete_before_replace=True,
                # A newer image of the family must not reinstall a running machine.
                ignore_changes=[] if settings.image_id else ["image_id"],
            ),
            **spot,
        )
        # Bound to the instance's life: a replaced machine gets new ones, and no old one lingers.
        bound = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        role = alicloud.ecs.RamRoleAttachment(
            name, instance_id=instance.id, ram_role_name=role_name, opts=bound
        )
        disk = alicloud.ecs.EcsDiskAttachment(
            name,
            instance_id=instance.id,
            disk_id=data_disk_id,
            delete_with_instance=False,
            opts=bound,
        )
        address = alicloud.ecs.EipAssociation(
            name,
            allocation_id=allocation_id,
            instance_id=instance.id,
            instance_type="EcsInstance",
            opts=bound,
        )
        ready = NodeReadiness(
            name,
            region=settings.region,
            instance_id=instance.id,
            triggers=pulumi.Output.all(document, *secret_versions).apply(_fingerprints),
            timeout_seconds=settings.ready_timeout_seconds,
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[role, disk, address, parameter, *depends_on]
            ),
        )
        self.instance_id = instance.id
        self.image_id = instance.image_id
        self.ready = ready
        self.register_outputs({"instance_id": instance.id})

    @staticmethod
    def _document(settings: Settings, values: Mapping[str, str]) -> str:
        text = json.dumps(
            node_settings(
                settings,
                gpu_driver=values["driver"],
                data_disk_id=values["disk"],
                bucket=values["bucket"],
                ip_address=values["address"],
            ),
            sort_keys=True,
        )
        if len(text) > MAX_PARAMETER:
            raise ValueError(
                f"the node's settings have {len(text)} characters; an OOS parameter takes "
                f"{MAX_PARAMETER}. Shorten the image references or the host name"
            )
        return text


def _user_data(settings: Settings, bucket: str) -> str:
    names = settings.names
    return render_user_data(
        NodeBootstrap(
            region=settings.region,
            settings_parameter=names.settings_parameter,
            token_secret=names.token_secret,
            tls_secret=names.tls_secret,
            registry_secret=names.registry_secret if settings.registry_host else None,
            bucket=bucket,
            endpoint=_oss_endpoint(settings.region),
        )
    )


def _oss_endpoint(region: str) -> str:
    """OSS inside the region: no traffic fee, and no way out to the internet needed."""
    return f"https://oss-{region}-internal.aliyuncs.com"


def _fingerprints(values: Sequence[str]) -> list[str]:
    """Short digests: enough to see a change, nothing to read."""
    return [hashlib.sha256(value.encode()).hexdigest()[:16] for value in values]
