"""Config keys of the target "acs" alone: a part of :class:`infra.config.Settings`."""

import ipaddress
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

PRIVATE_RANGES = tuple(
    ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
LABEL_VALUE = r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
LARGEST_VSWITCH = 20
"""Prefix of the largest vSwitch: 4092 addresses, one for each pod, and room for more in the VPC."""


def empty_to_none(value: object) -> object:
    """Config has no null; an empty text means: not given."""
    return None if value == "" else value


OptionalText = Annotated[str | None, BeforeValidator(empty_to_none)]


class ClusterSettings(BaseModel):
    """What describes a cluster and its pods; sizes in the unit of the name."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    second_zone: str
    service_cidr: ipaddress.IPv4Network
    nat_gateway: bool
    api_server_public: bool
    load_balancer_address_type: Literal["internet", "intranet"]
    kubernetes_version: Annotated[str, Field(pattern=r"^(auto|\d+\.\d+\.\d+-aliyun\.\d+)$")]
    acr_instance_id: Annotated[
        Annotated[str, Field(pattern=r"^cri-[a-z0-9]+$")] | None, BeforeValidator(empty_to_none)
    ]
    gpu_card: Annotated[str, Field(min_length=1)]
    gpu_card_label: Annotated[
        Annotated[str, Field(pattern=LABEL_VALUE)] | None, BeforeValidator(empty_to_none)
    ]
    gpu_count: int
    gpu_driver_version: Annotated[str, Field(pattern=r"^(auto|none|\d+(\.\d+){1,3}(-[a-z]+)?)$")]
    pod_vcpu: int
    pod_memory_gib: Annotated[int, Field(alias="podMemoryGiB")]
    pod_ephemeral_gib: Annotated[int, Field(alias="podEphemeralGiB")]
    best_effort: bool
    storage_gib: Annotated[int, Field(ge=20, le=32768, alias="storageGiB")]
    storage_class: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
    results_in_bucket: bool
    network_policy: bool
    drain_seconds: Annotated[int, Field(ge=60, le=14400)]
    log_days: Annotated[int, Field(ge=0, le=3000)]

    @field_validator("service_cidr")
    @classmethod
    def _services_are_private(cls, value: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
        if not 16 <= value.prefixlen <= 24 or not any(value.subnet_of(r) for r in PRIVATE_RANGES):
            raise ValueError(
                "must be a /16 to /24 network in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, the "
                "ranges that ACS takes for Services; it cannot be changed later"
            )
        return value


def problems(
    settings: ClusterSettings,
    *,
    vpc_cidr: ipaddress.IPv4Network,
    region: str,
    zone: str,
    letter: str,
    registry_login: bool,
) -> list[str]:
    """Return what does not go together, a line for each mistake; ``letter`` precedes a zone's."""
    found = []
    if settings.service_cidr.overlaps(vpc_cidr):
        free = next(
            each
            for outer in reversed(PRIVATE_RANGES)
            for each in outer.subnets(new_prefix=max(20, outer.prefixlen))
            if not each.overlaps(vpc_cidr)
        )
        found.append(
            f'serviceCidr: "{settings.service_cidr}" overlaps vpcCidr "{vpc_cidr}", so an address '
            "would be a Service's and a pod's at once, and ACS refuses it. Set it to a network "
            f"outside, for example {free}"
        )
    second = settings.second_zone
    if second != "auto" and (
        not second.startswith(f"{region}{letter}") or len(second) != len(f"{region}{letter}a")
    ):
        found.append(
            f'secondZone: "{second}" is not in region "{region}". Use "auto" or a zone like '
            f'"{region}{letter}b"'
        )
    if (zone == "auto") != (second == "auto"):
        found.append(
            "zone, secondZone: one is auto and the other is not, so both could become the same. "
            'Name two zones, or set both to "auto"'
        )
    elif zone == second != "auto":
        found.append(
            f'secondZone: "{second}" is the same as zone; a second one is for when the first has '
            "no card in stock. Name another zone"
        )
    if settings.acr_instance_id and registry_login:
        found.append(
            "acrInstanceId: is set together with registryHost; pods pull from an Enterprise "
            "instance without a login. Remove one of the two"
        )
    return found
