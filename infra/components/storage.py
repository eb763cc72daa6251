"""STORAGE: a private, encrypted bucket for results, and the node's encrypted data disk."""

import pulumi
import pulumi_alicloud as alicloud

from infra.components.results_bucket import results_bucket
from infra.config import Settings


class Storage(pulumi.ComponentResource):
    """The results bucket and the data disk."""

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        zone: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("wanvace:storage:Storage", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        bucket = results_bucket(name, settings=settings, parent=self)
        disk = alicloud.ecs.EcsDisk(
            name,
            zone_id=zone,
            disk_name=f"{settings.names.prefix}-data",
            category="cloud_essd",
            performance_level="PL1",
            size=settings.data_disk_gib,
            encrypted=True,
            delete_with_instance=False,
            description="Inputs and results of the Wan VACE node",
            tags=settings.tags,
            opts=child,
        )
        self.bucket = bucket.bucket.apply(str)
        self.disk_id = disk.id
        self.register_outputs({"bucket": bucket.bucket, "disk_id": disk.id})
