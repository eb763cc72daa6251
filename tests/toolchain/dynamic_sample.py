"""A dynamic resource in an importable package, as programs of this repository have them."""

from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, Resource, ResourceProvider, UpdateResult


class UpperCaseProvider(ResourceProvider):
    """Keeps a text in capitals."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("upper", {**props, "upper": props["text"].upper()})

    def update(self, _id: str, _olds: dict[str, Any], props: dict[str, Any]) -> UpdateResult:
        return UpdateResult({**props, "upper": props["text"].upper()})


class UpperCase(Resource):
    """The resource of `UpperCaseProvider`."""

    upper: Output[str]

    def __init__(self, name: str, text: Input[str], opts: ResourceOptions | None = None) -> None:
        super().__init__(UpperCaseProvider(), name, {"text": text, "upper": None}, opts)
