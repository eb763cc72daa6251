"""STORAGE: a private, encrypted bucket for results, and the node's encrypted data disk."""

import pulumi
import pulumi_alicloud as alicloud

from infra.components.identity import RESULTS_PREFIX
from infra.config import Settings
from infra.dynamic.identifiers import RandomSuffix

ABORT_UPLOADS_AFTER_DAYS = 3
"""Parts of broken uploads cost money and show nowhere."""


class Storage(pulumi.ComponentResource):
    """The results bucket and the data disk.

    The bucket outlives ``pulumi destroy`` unless ``deleteResultsOnDestroy`` is set: videos that
    somebody waited for are not thrown away by tearing down a machine.
    """

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
        keep = not settings.delete_results_on_destroy
        kept = pulumi.ResourceOptions(parent=self, retain_on_delete=keep)
        suffix = RandomSuffix(name, opts=child)
        bucket = alicloud.oss.Bucket(
            name,
            bucket=suffix.value.apply(settings.names.bucket),
            storage_class="Standard",
            redundancy_type="LRS",
            force_destroy=settings.delete_results_on_destroy,
            server_side_encryption_rule={"sse_algorithm": "AES256"},
            lifecycle_rules=[
                {
                    "id": "expire-results",
                    "prefix": RESULTS_PREFIX,
                    "enabled": True,
                    "expirations": [{"days": settings.results_retention_days}],
                    "abort_multipart_uploads": [{"days": ABORT_UPLOADS_AFTER_DAYS}],
                }
            ],
            tags=settings.tags,
            opts=kept,
        )
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
