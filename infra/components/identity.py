"""IDENTITY: the node's RAM role, which may read its own secrets and write its own results."""

import json
from typing import Any

import pulumi
import pulumi_alicloud as alicloud

from infra.config import Settings
from infra.node.render import AGENT_PREFIX

RESULTS_PREFIX = "outputs/"
"""Folder in the bucket; the role may write nowhere else."""


def trust_policy() -> str:
    """Return the document that lets ECS, and nobody else, assume the role."""
    statement = {
        "Action": "sts:AssumeRole",
        "Effect": "Allow",
        "Principal": {"Service": ["ecs.aliyuncs.com"]},
    }
    return json.dumps({"Version": "1", "Statement": [statement]}, sort_keys=True)


def permissions(*, region: str, parameter: str, secrets: list[str], bucket: str) -> str:
    """Return the role's policy document.

    The account in an ARN is ``*``: a role's policies reach only its own account anyway. Reading
    an OOS secret parameter also calls KMS GetSecretValue in the caller's name (OOS API
    reference, GetSecretParameter). No document says what KMS calls the secret behind a parameter,
    so any name that contains the parameter's is allowed, and no other.
    """
    statements: list[dict[str, Any]] = [
        {
            "Effect": "Allow",
            "Action": ["oos:GetParameter"],
            "Resource": [f"acs:oos:{region}:*:parameter/{parameter}"],
        },
        {
            "Effect": "Allow",
            "Action": ["oos:GetSecretParameter"],
            "Resource": [f"acs:oos:{region}:*:secretparameter/{name}" for name in secrets],
        },
        {
            "Effect": "Allow",
            "Action": ["kms:GetSecretValue"],
            "Resource": [f"acs:kms:{region}:*:secret/*{name}*" for name in secrets],
        },
        {
            "Effect": "Allow",
            "Action": ["oss:GetObject"],
            "Resource": [f"acs:oss:*:*:{bucket}/{AGENT_PREFIX}*"],
        },
        {
            "Effect": "Allow",
            "Action": ["oss:PutObject", "oss:AbortMultipartUpload"],
            "Resource": [f"acs:oss:*:*:{bucket}/{RESULTS_PREFIX}*"],
        },
    ]
    return json.dumps({"Version": "1", "Statement": statements}, sort_keys=True)


class Identity(pulumi.ComponentResource):
    """The RAM role of the node with one custom policy."""

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        secret_names: list[str],
        bucket: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("wanvace:identity:Identity", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        names = settings.names
        role = alicloud.ram.Role(
            name,
            role_name=names.role,
            assume_role_policy_document=trust_policy(),
            description="Wan VACE node: reads its settings and secrets, writes its results",
            tags=settings.tags,
            opts=child,
        )
        policy = alicloud.ram.Policy(
            name,
            policy_name=names.policy,
            policy_document=pulumi.Output.from_input(bucket).apply(
                lambda value: permissions(
                    region=settings.region,
                    parameter=names.settings_parameter,
                    secrets=secret_names,
                    bucket=value,
                )
            ),
            description="What the Wan VACE node may do",
            # A changed policy adds a version; five is the limit, so the oldest goes.
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
        self.role_name = role.role_name
        self.register_outputs({"role_name": role.role_name})
