"""Names, tags and length limits. Pure: imports no Pulumi.

Limits: RAM role names have at most 64 characters, OSS bucket names 3 to 63 of a-z 0-9 and -,
OOS parameter names 180 of letters, digits, - and _, not starting with ALIYUN, ACS, ALIBABA,
ALICLOUD or OOS (help.aliyun.com, OOS CreateSecretParameter).
"""

import hashlib
import re
from dataclasses import dataclass

MAX_PREFIX = 40
"""Longest prefix; leaves room for the suffixes below in every kind of name."""


@dataclass(frozen=True)
class Names:
    """Every name that a deployment gives to a cloud resource, made from one prefix."""

    prefix: str

    @property
    def settings_parameter(self) -> str:
        """OOS parameter with the node's settings."""
        return f"{self.prefix}-node"

    @property
    def token_secret(self) -> str:
        """OOS secret parameter with the API token."""
        return f"{self.prefix}-token"

    @property
    def tls_secret(self) -> str:
        """OOS secret parameter with the server certificate and its key."""
        return f"{self.prefix}-tls"

    @property
    def registry_secret(self) -> str:
        """OOS secret parameter with the registry's login."""
        return f"{self.prefix}-registry"

    @property
    def role(self) -> str:
        """RAM role of the node."""
        return f"{self.prefix}-node"

    @property
    def policy(self) -> str:
        """RAM policy of the node's role."""
        return f"{self.prefix}-node"

    def bucket(self, suffix: str) -> str:
        """OSS bucket for results; ``suffix`` makes it unique among all accounts."""
        return f"{self.prefix}-results-{suffix}"


def names(project: str, stack: str) -> Names:
    """Return the names of a stack.

    The prefix is ``project-stack`` in lower case with every other character as ``-``. A prefix
    that had to be changed or cut gets a short hash, so that two stacks never share a name.
    """
    wanted = f"{project}-{stack}"
    prefix = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")
    if prefix != wanted or len(prefix) > MAX_PREFIX:
        digest = hashlib.sha256(wanted.encode()).hexdigest()[:6]
        prefix = f"{prefix[: MAX_PREFIX - 7].rstrip('-')}-{digest}"
    return Names(prefix)


def tags(*, project: str, stack: str, owner: str, environment: str, expires: str) -> dict[str, str]:
    """Return the tags that every resource carries; a reaper and the bill go by them."""
    return {
        "project": project,
        "stack": stack,
        "owner": owner,
        "environment": environment,
        "expires": expires,
        "managed-by": "pulumi",
    }
