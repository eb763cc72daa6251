"""A random suffix that makes a name unique among all accounts; made once, kept in the state."""

import secrets
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class _SuffixProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        value = secrets.token_hex(4)
        return CreateResult(id_=value, outs={**props, "value": value})


class RandomSuffix(Resource, module="wanvace", name="RandomSuffix"):
    """Eight hexadecimal digits in ``value``."""

    value: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions) -> None:
        super().__init__(_SuffixProvider(), name, {"value": None}, opts)
