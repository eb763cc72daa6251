"""Typed config of the program: the only reader of ``pulumi.Config``.

Every key is declared in ``Pulumi.yaml`` with type, default and description; a test keeps the
two equal. All mistakes are reported at once, key by key.
"""

import ipaddress
import json
import re
from collections.abc import Collection
from datetime import date
from typing import Annotated, Any, Literal, Self

import pulumi
from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from images import profiles, variants
from infra import config_acs, naming, targets
from infra.config_acs import PRIVATE_RANGES, ClusterSettings, OptionalText, empty_to_none

EARLIEST_EXPIRY = date(2026, 11, 1)
"""An absolute day: a config that was right once must stay right, or nothing could be destroyed."""
DIGEST_REFERENCE = re.compile(
    # A registry has a dot or a port in its name; anything else would mean Docker Hub.
    r"(?=.{1,255}@)(?P<registry>[a-z0-9-]+(?:(?:\.[a-z0-9-]+)+(?::\d{1,5})?|:\d{1,5}))/"
    r"(?P<path>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::[\w.-]{1,128})?@sha256:[0-9a-f]{64}"
)
TAG_VALUE = r"^[\w.@-]+( [\w.@-]+)*$"
"""What a tag may hold of people's and environments' names."""
SECRET_KEYS = ("registryPassword",)
"""Keys that must be set with ``--secret``. (Pulumi.yaml cannot say so for a key with a default.)"""
WIDEST_PREFIX = 8
"""No single user's network is larger than a /8; two halves of the internet are everywhere, too."""


class ConfigError(Exception):
    """The stack's config has mistakes; the message lists them all."""


def _from_json(value: object) -> object:
    """Structured values reach the program as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not a list ({error})") from error


OptionalPrice = Annotated[
    Annotated[float, Field(gt=0)] | None,
    BeforeValidator(empty_to_none),
]
Cidrs = Annotated[tuple[ipaddress.IPv4Network, ...], BeforeValidator(_from_json)]


class Settings(ClusterSettings):
    """One deployment, as the stack's config describes it. Frozen; sizes in the unit of the name."""

    project: str = Field(exclude=True)
    stack: str = Field(exclude=True)

    target: Literal["ecs", "acs"]
    owner: Annotated[str, Field(min_length=1, max_length=64, pattern=TAG_VALUE)]
    expires: str
    environment: Annotated[
        Annotated[str, Field(max_length=64, pattern=TAG_VALUE)] | None,
        BeforeValidator(empty_to_none),
    ]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z0-9]+)+$")]
    zone: str
    instance_type: Annotated[str, Field(pattern=r"^(auto|ecs\.[a-z0-9.-]+)$")]
    min_gpu_memory_gib: Annotated[int, Field(ge=0, le=1024, alias="minGpuMemoryGiB")]
    require_fp8: bool
    max_price_per_hour: OptionalPrice
    allowed_cidrs: Cidrs
    allow_from_everywhere: bool
    plain_http: bool
    vpc_cidr: ipaddress.IPv4Network
    eip_bandwidth_mbps: Annotated[int, Field(ge=1, le=200)]
    comfyui_image: str
    gateway_image: str
    registry_host: OptionalText
    registry_username: OptionalText
    registry_password: Annotated[SecretStr | None, BeforeValidator(empty_to_none)]
    image_family: Annotated[str, Field(pattern=r"^[\w:.-]+$")]
    image_id: OptionalText
    image_variant: str
    speed_profile: str
    gpu_driver: Annotated[str, Field(pattern=r"^(auto|none|\d{3}(-server)?(-open)?)$")]
    system_disk_gib: Annotated[int, Field(ge=40, le=2048, alias="systemDiskGiB")]
    data_disk_gib: Annotated[int, Field(ge=20, le=32768, alias="dataDiskGiB")]
    spot: bool
    spot_price_limit: OptionalPrice
    deletion_protection: bool
    results_retention_days: Annotated[int, Field(ge=1, le=3650)]
    delete_results_on_destroy: bool
    max_upload_mib: Annotated[int, Field(ge=1, le=65536, alias="maxUploadMiB")]
    hostname: OptionalText
    token_generation: Annotated[int, Field(ge=1)]
    tls_generation: Annotated[int, Field(ge=1)]
    ready_timeout_seconds: Annotated[int, Field(ge=60, le=7200)]

    @field_validator("expires")
    @classmethod
    def _expires_is_a_date(cls, value: str) -> str:
        if value != "never":
            try:
                day = date.fromisoformat(value)
            except ValueError:
                raise ValueError('must be a date like 2026-12-31, or "never"') from None
            if day < EARLIEST_EXPIRY:
                raise ValueError(
                    f"must be {EARLIEST_EXPIRY} or later; a date before this package is a mistake"
                )
        return value

    @field_validator("comfyui_image", "gateway_image")
    @classmethod
    def _image_has_a_digest(cls, value: str) -> str:
        if not DIGEST_REFERENCE.fullmatch(value):
            raise ValueError(
                "must be an image by digest, like registry.example.com/vace/comfyui@sha256:<64 hex "
                "digits>, because a tag can change under a running deployment. Ask the registry "
                "for the digest of the tag"
            )
        return value

    @field_validator("image_variant")
    @classmethod
    def _variant_exists(cls, value: str) -> str:
        names = [each.name for each in variants.variants()]
        if value not in names:
            raise ValueError(
                f"must be one of {', '.join(names)}, the variants that images are built as; "
                "`python -m images variants` says which GPU and driver each needs"
            )
        return value

    @field_validator("speed_profile")
    @classmethod
    def _profile_exists(cls, value: str) -> str:
        if value not in profiles.names():
            raise ValueError(
                f"must be one of {', '.join(profiles.names())}, because each stands for flags that "
                "were looked at one by one; images/profiles.toml says what each turns on"
            )
        return value

    @field_validator("vpc_cidr")
    @classmethod
    def _vpc_is_private(cls, value: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
        if not 16 <= value.prefixlen <= 24 or not any(value.subnet_of(r) for r in PRIVATE_RANGES):
            raise ValueError(
                "must be a /16 to /24 network in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, the "
                "ranges of an Alibaba Cloud VPC"
            )
        return value

    @field_validator("hostname")
    @classmethod
    def _hostname_is_a_dns_name(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(
            r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}", value
        ):
            raise ValueError("must be a DNS name in lower case, like video.example.com")
        return value

    @field_validator("spot_price_limit")
    @classmethod
    def _spot_limit_has_three_decimals(cls, value: float | None) -> float | None:
        if value is not None and round(value, 3) != value:
            raise ValueError("may have at most three decimals, because the ECS API takes no more")
        return value

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        problems = []
        wide = [
            str(cidr)
            for cidr in ipaddress.collapse_addresses(self.allowed_cidrs)
            if cidr.prefixlen < WIDEST_PREFIX
        ]
        if wide and not self.allow_from_everywhere:
            problems.append(
                f"allowedCidrs: {', '.join(wide)} opens the service to a large part of the "
                f"internet or all of it; /{WIDEST_PREFIX} and smaller networks are allowed. Name "
                "the networks of your users, or set allowFromEverywhere to true if that is what "
                "you want"
            )
        if self.allow_from_everywhere and not wide:
            problems.append(
                "allowFromEverywhere: is true, but allowedCidrs holds no network that needs it. "
                "Set it to false, or add 0.0.0.0/0"
            )
        if len(set(self.allowed_cidrs)) != len(self.allowed_cidrs):
            problems.append("allowedCidrs: a network stands in it twice. Remove one of them")
        # Zones of the mainland and Hong Kong have a hyphen before the letter, others have not.
        letter = "-" if self.region.startswith("cn-") else ""
        if self.zone != "auto" and not re.fullmatch(
            rf"{re.escape(self.region)}{letter}[a-z]", self.zone
        ):
            problems.append(
                f'zone: "{self.zone}" is not in region "{self.region}". Use "auto" or a zone like '
                f'"{self.region}{letter}a"'
            )
        login = (self.registry_host, self.registry_username, self.registry_password)
        if any(login) and not all(login):
            problems.append(
                "registryHost, registryUsername, registryPassword: set all three or none; a login "
                "needs each of them"
            )
        if self.spot and self.deletion_protection:
            problems.append(
                "deletionProtection: Alibaba Cloud protects pay-as-you-go machines only. Set "
                "either spot or deletionProtection to false"
            )
        if self.spot_price_limit is not None and not self.spot:
            problems.append("spotPriceLimit: has no effect without spot. Set spot to true")
        if self.target == "acs":
            problems += config_acs.problems(
                self,
                vpc_cidr=self.vpc_cidr,
                region=self.region,
                zone=self.zone,
                letter=letter,
                registry_login=any(login),
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def names(self) -> naming.Names:
        """Names of the stack's cloud resources."""
        return naming.names(self.project, self.stack)

    @property
    def tags(self) -> dict[str, str]:
        """Tags that every resource carries."""
        return naming.tags(
            project=self.project,
            stack=self.stack,
            owner=self.owner,
            environment=self.environment or self.stack,
            expires=self.expires,
        )

    @property
    def vswitch_cidr(self) -> ipaddress.IPv4Network:
        """First /24 of the VPC; one node needs no more."""
        return next(self.vpc_cidr.subnets(new_prefix=24))

    @property
    def pod_cidrs(self) -> tuple[ipaddress.IPv4Network, ipaddress.IPv4Network]:
        """Two networks of the VPC for pods, of which each takes an address."""
        prefix = max(config_acs.LARGEST_VSWITCH, self.vpc_cidr.prefixlen + 1)
        subnets = self.vpc_cidr.subnets(new_prefix=prefix)
        return next(subnets), next(subnets)


def parse(
    values: dict[str, Any], *, project: str, stack: str, secret_keys: Collection[str] = ()
) -> Settings:
    """Return the settings for raw config values, keyed as in ``Pulumi.yaml``.

    Args:
        secret_keys: keys whose values are encrypted in the stack's config.

    Raises:
        ConfigError: one or more keys are missing, unknown or wrong, or a secret stands in plain
            text; the message lists all.
    """
    lines = [
        f"{project}:{key}: stands in plain text in the stack's config. Change it where it is "
        f"used, since it was written to a file, and run: pulumi config set --secret {key}"
        for key in SECRET_KEYS
        if values.get(key) and key not in secret_keys
    ]
    lines += [f"{project}:{line}" for line in targets.misplaced(values)]
    settings = None
    try:
        settings = Settings.model_validate({**values, "project": project, "stack": stack})
    except ValidationError as error:
        lines += [line for item in error.errors() for line in _explain(item, project)]
    if lines or settings is None:
        raise ConfigError(
            f"the config of stack {stack} has {len(lines)} mistake(s); nothing was changed:\n"
            + "\n".join(f"  - {line}" for line in lines)
        )
    return settings


def _explain(item: Any, project: str) -> list[str]:
    """Turn one pydantic error into lines of key, given value, what is allowed, what to do."""
    key = str(item["loc"][0]) if item["loc"] else ""
    text = str(item["msg"]).removeprefix("Value error, ")
    if not key:
        return [f"{project}:{line}" for line in text.splitlines()]
    if item["type"] == "missing":
        return [f'{project}:{key}: is not set. Run: pulumi config set {key} "..."']
    if item["type"] == "extra_forbidden":
        return [
            f"{project}:{key}: no such key. Compare it with Pulumi.yaml and run: "
            f"pulumi config rm {key}"
        ]
    given = "" if "assword" in key else f' "{item["input"]}"'
    return [f"{project}:{key}:{given} {text[0].lower()}{text[1:]}"]


def load(config: pulumi.Config, *, project: str, stack: str) -> Settings:
    """Read the stack's config.

    Raises:
        ConfigError: see :func:`parse`.
    """
    prefix = f"{config.name}:"
    environment = pulumi.runtime.config.get_config_env()
    keys = [key.removeprefix(prefix) for key in environment if key.startswith(prefix)]
    return parse(
        {key: config.get(key) for key in keys},
        secret_keys=[key for key in keys if pulumi.runtime.is_config_secret(prefix + key)],
        project=project,
        stack=stack,
    )
