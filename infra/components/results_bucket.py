"""The results bucket: private, encrypted, with an end to what lies in it; alike on both targets."""

import pulumi
import pulumi_alicloud as alicloud

from infra.components.identity import RESULTS_PREFIX
from infra.config import Settings
from infra.dynamic.identifiers import RandomSuffix

ABORT_UPLOADS_AFTER_DAYS = 3
"""Parts of broken uploads cost money and show nowhere."""


def results_bucket(
    name: str, *, settings: Settings, parent: pulumi.Resource
) -> alicloud.oss.Bucket:
    """Declare the bucket under ``parent``.

    It outlives ``pulumi destroy`` unless ``deleteResultsOnDestroy`` is set: videos that somebody
    waited for are not thrown away by tearing down a machine.
    """
    suffix = RandomSuffix(name, opts=pulumi.ResourceOptions(parent=parent))
    return alicloud.oss.Bucket(
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
        opts=pulumi.ResourceOptions(
            parent=parent, retain_on_delete=not settings.delete_results_on_destroy
        ),
    )
