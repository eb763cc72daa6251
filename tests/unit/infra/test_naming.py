"""Names stay inside the limits of every kind of resource and never collide."""

import re

from infra import naming


def test_ordinary_stacks_have_plain_names() -> None:
    names = naming.names("wan-vace", "dev")
    assert names.prefix == "wan-vace-dev"
    assert names.bucket("0a1b2c3d") == "wan-vace-dev-results-0a1b2c3d"


def test_long_and_odd_stack_names_stay_in_the_limits_and_apart() -> None:
    """Prevents two stacks from sharing a role because their names were cut alike."""
    stacks = ["Feature_X", "feature-x", "f" * 100, "f" * 101, "日本", "日本国"]
    prefixes = [naming.names("wan-vace", stack).prefix for stack in stacks]
    assert len(set(prefixes)) == len(stacks)
    for prefix in prefixes:
        names = naming.Names(prefix)
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", names.bucket("0a1b2c3d"))
        assert len(names.role) <= 64
        assert not names.token_secret.upper().startswith(
            ("ALIYUN", "ACS", "ALIBABA", "ALICLOUD", "OOS")
        )


def test_every_resource_carries_owner_and_expiry() -> None:
    tags = naming.tags(project="p", stack="s", owner="o", environment="e", expires="2027-01-01")
    assert {"owner", "expires", "environment", "project", "stack", "managed-by"} == set(tags)
