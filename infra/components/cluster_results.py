"""CLUSTER RESULTS: the results bucket as ComfyUI's output folder, by a role that only it has."""

import json

import pulumi
import pulumi_alicloud as alicloud

from infra.components.identity import RESULTS_PREFIX
from infra.components.results_bucket import results_bucket
from infra.config import Settings

FUSE_NAMESPACE, FUSE_ACCOUNT = "ack-csi-fuse", "csi-fuse-ossfs"
"""Who mounts: OSS's CSI driver runs ossfs in pods of its own (ACK's page on ossfs with RRSA)."""


def trust_policy(*, provider_arn: str, issuer: str, namespace: str, account: str) -> str:
    """Return the document that lets one service account of one cluster assume the role."""
    statement = {
        "Action": "sts:AssumeRole",
        "Effect": "Allow",
        "Principal": {"Federated": [provider_arn]},
        "Condition": {
            "StringEquals": {
                "oidc:aud": ["sts.aliyuncs.com"],
                "oidc:iss": [issuer],
                "oidc:sub": [f"system:serviceaccount:{namespace}:{account}"],
            }
        },
    }
    return json.dumps({"Version": "1", "Statement": [statement]}, sort_keys=True)


def permissions(bucket: str) -> str:
    """Return the role's policy: what a mounted folder needs below the prefix, and no deletion."""
    statements = [
        {
            "Effect": "Allow",
            "Action": ["oss:ListObjects"],
            "Resource": [f"acs:oss:*:*:{bucket}"],
            "Condition": {"StringLike": {"oss:Prefix": [f"{RESULTS_PREFIX}*"]}},
        },
        {
            "Effect": "Allow",
            "Action": [
                "oss:GetObject",
                "oss:PutObject",
                "oss:AbortMultipartUpload",
                "oss:ListParts",
            ],
            "Resource": [f"acs:oss:*:*:{bucket}/{RESULTS_PREFIX}*"],
        },
    ]
    return json.dumps({"Version": "1", "Statement": statements}, sort_keys=True)


class ClusterResults(pulumi.ComponentResource):
    """Bucket, role (RRSA: by the cluster's OIDC tokens, no key anywhere)."""

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        provider_arn: pulumi.Input[str],
        issuer: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("wanvace:storage:ClusterResults", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        bucket = results_bucket(name, settings=settings, parent=self)
        role_name = f"{settings.names.prefix}-results"
        role = alicloud.ram.Role(
            name,
            role_name=role_name,
            assume_role_policy_document=pulumi.Output.all(provider_arn, issuer).apply(
                lambda found: trust_policy(
                    provider_arn=str(found[0]),
                    issuer=str(found[1]),
                    namespace=FUSE_NAMESPACE,
                    account=FUSE_ACCOUNT,
                )
            ),
            description="Wan VACE on ACS: writes its results",
            tags=settings.tags,
            opts=child,
        )
        policy = alicloud.ram.Policy(
            name,
            policy_name=role_name,
            policy_document=bucket.bucket.apply(permissions),
            description="What the results of Wan VACE on ACS need",
            rotate_strategy="DeleteOldestNonDefaultVersionWhenLimitExceeded",
            tags=settings.tags,
            opts=child,
        )
        self.attachment = alicloud.ram.RolePolicyAttachment(
            name,
            policy_name=policy.policy_name,
            policy_type=policy.type,
            role_name=role.role_name,
            opts=child,
        )
        self.bucket = bucket.bucket.apply(str)
        self.role_name = role.role_name
        self.register_outputs({"bucket": bucket.bucket})
