"""A mock engine that records what the program declares and asks."""

from typing import Any

import pulumi

from infra import pki
from infra.config import Settings
from infra.deployments import ecs

ZONE = "cn-hangzhou-h"
CERTIFICATE = pki.make_authority("mock").certificate


class Recorder(pulumi.runtime.Mocks):
    """Remembers every resource and call; answers with the inputs and a predictable id."""

    def __init__(self) -> None:
        self.resources: list[pulumi.runtime.MockResourceArgs] = []
        self.calls: list[pulumi.runtime.MockCallArgs] = []
        self.images = ["ubuntu_24_04_x64_20G_alibase_20260901.vhd"]

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, Any]:
        self.resources.append(args)
        outputs = dict(args.inputs)
        if args.typ.endswith("eipAddress:EipAddress"):
            outputs["ipAddress"] = "203.0.113.10"
        if args.typ.endswith("ApiToken"):
            outputs["value"] = "t" * 43
        if args.typ.endswith("RandomSuffix"):
            outputs["value"] = "0a1b2c3d"
        if args.typ.endswith(("CertificateAuthority", "ServerCertificate")):
            outputs |= {"certificate": CERTIFICATE, "private_key": "PRIVATE-KEY"}
        if args.typ.endswith("policy:Policy"):
            outputs["type"] = "Custom"
        return f"{args.name}-id", outputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        self.calls.append(args)
        if args.token == "alicloud:ecs/getInstanceTypes:getInstanceTypes":
            rows = [
                {"id": kind, "availabilityZones": [ZONE]}
                for kind in ("ecs.gn7i-c8g1.2xlarge", "ecs.gn8is.2xlarge")
            ]
            return {"instanceTypes": rows, "id": "x", "ids": []}
        if args.token == "alicloud:ecs/getImages:getImages":
            return {"images": [{"id": image} for image in self.images], "id": "x", "ids": []}
        raise AssertionError(f"unexpected call {args.token}")

    def of(self, suffix: str) -> list[pulumi.runtime.MockResourceArgs]:
        return [item for item in self.resources if item.typ.endswith(suffix)]

    def one(self, suffix: str) -> Any:
        found = self.of(suffix)
        assert len(found) == 1, [item.typ for item in self.resources]
        return found[0].inputs


def deploy(settings: Settings, recorder: Recorder) -> dict[str, Any]:
    """Run the program to its end on the mock engine; absence may only be asserted after that."""
    pulumi.runtime.set_mocks(recorder, project="wan-vace", stack="dev", preview=False)
    results: dict[str, Any] = {}

    async def program() -> None:
        outputs = ecs.deploy(settings)
        for name, value in outputs.items():
            results[name] = await pulumi.Output.from_input(value).future()

    pulumi.runtime.test(program)()
    return results
