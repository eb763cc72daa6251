"""What an instance may be told at launch: names, spot, protection, metadata mode, user data."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime

from rehearsal.cloud.catalogue import InstanceType
from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request
from rehearsal.cloud.services.lookups import check_description, check_name, refuse_unsupported

MAX_USER_DATA = 32 * 1024
_HOST_NAME = re.compile(r"(?!.*[.\-]{2})[A-Za-z0-9][A-Za-z0-9.\-]{0,62}[A-Za-z0-9]")


@dataclass(frozen=True)
class Options:
    """The checked options of a launch."""

    name: str
    description: str
    host: str
    suffix: bool
    spot_strategy: str
    spot_price_limit: float | None
    spot_duration: int
    spot_interruption: str
    deletion_protection: bool
    auto_release_time: str
    login_as_non_root: bool
    metadata: dict[str, str | int]
    resource_group: str

    def instance_name(self, instance_id: str, index: int) -> str:
        """The name of the instance number ``index``: its id when the request gave none."""
        return self._numbered(self.name, index) or instance_id

    def host_name(self, instance_id: str, index: int) -> str:
        """The host name; the cloud's own pattern (``iZ...Z``) when the request gave none."""
        return self._numbered(self.host, index) or f"iZ{instance_id.removeprefix('i-')}Z"

    def _numbered(self, text: str, index: int) -> str:
        return f"{text}{index + 1:03d}" if text and self.suffix else text


def read_options(request: Request, item: InstanceType, region_id: str) -> Options:
    """Read and check the options of RunInstances.

    ``item`` and ``region_id`` are named in messages. Raises the codes of the RunInstances page.
    """
    if (request.integer("InternetMaxBandwidthOut", 0) or 0) > 0:
        refuse_unsupported(request, "InternetMaxBandwidthOut")
    charge = request.get("InstanceChargeType") or "PostPaid"
    if charge == "PrePaid":
        raise ApiError(
            "OperationDenied.PrepayNotAvailable", "Prepay instance is not available now.", 403
        )
    if charge != "PostPaid":
        raise ApiError(
            "InvalidInstanceChargeType.NotFound",
            f"The InstanceChargeType does not exist in our records. Given: {charge!r}.",
            404,
        )
    if request.get("KeyPairName"):
        raise ApiError(
            "InvalidKeyPairName.NotFound",
            "The specified parameter KeyPairName does not exist in our records. "
            f"Given: {request.get('KeyPairName')!r}. The emulator has no key pairs.",
            404,
        )
    strategy, limit = _spot(request, item, region_id)
    protected = request.boolean("DeletionProtection")
    check_protection(protected, strategy)
    duration = request.integer("SpotDuration", 1 if strategy != "NoSpot" else 0) or 0
    if duration not in (0, 1):
        raise ApiError(
            "InvalidSpotDuration",
            f"The specified SpotDuration is not valid. Given: {duration}. Allowed: 0, 1.",
        )
    interruption = request.get("SpotInterruptionBehavior")
    if interruption not in ("", "Terminate", "Stop"):
        raise ApiError(
            "InvalidSpotInterruptionBehavior",
            f"The specified SpotInterruptionBehavior is not valid. Given: {interruption!r}. "
            "Allowed: Terminate, Stop.",
        )
    return Options(
        name=check_name(
            request.get("InstanceName"),
            code="InvalidInstanceName.Malformed",
            parameter="InstanceName",
        ),
        description=check_description(request.get("Description")),
        host=check_host_name(request.get("HostName")),
        suffix=request.boolean("UniqueSuffix"),
        spot_strategy=strategy,
        spot_price_limit=limit,
        spot_duration=duration,
        spot_interruption=interruption or ("Terminate" if strategy != "NoSpot" else ""),
        deletion_protection=protected,
        auto_release_time=check_release_time(request.get("AutoReleaseTime")),
        login_as_non_root=request.boolean("ImageOptions.LoginAsNonRoot"),
        metadata=check_metadata(request, {}),
        resource_group=request.get("ResourceGroupId"),
    )


def _spot(request: Request, item: InstanceType, region_id: str) -> tuple[str, float | None]:
    strategy = request.get("SpotStrategy") or "NoSpot"
    if strategy not in ("NoSpot", "SpotWithPriceLimit", "SpotAsPriceGo"):
        raise ApiError(
            "InvalidSpotStrategy",
            f"The specified SpotStrategy is not valid. Given: {strategy!r}. Allowed: NoSpot, "
            "SpotWithPriceLimit, SpotAsPriceGo.",
        )
    if strategy != "SpotWithPriceLimit":
        return strategy, None
    text = request.get("SpotPriceLimit")
    decimals = len(text.partition(".")[2].rstrip("0"))
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if limit <= 0 or decimals > 3:
        raise ApiError(
            "InvalidSpotPriceLimit",
            f"The specified SpotPriceLimitis not valid. Given: {text!r} for {item.type_id} in "
            f"{region_id}. Allowed: a price per hour above 0 with up to 3 decimals.",
        )
    return strategy, limit


def check_protection(protected: bool, spot_strategy: str) -> None:
    """Refuse deletion protection of a spot instance: InvalidChargeType.ValueNotSupported (403)."""
    if protected and spot_strategy != "NoSpot":
        raise ApiError(
            "InvalidChargeType.ValueNotSupported",
            "Deletion protection is only valid for postPaid instance, not for prePaid or spot "
            f"instance. The instance has SpotStrategy {spot_strategy}.",
            403,
        )


def check_host_name(name: str) -> str:
    """Return a Linux host name, or refuse it. Empty means unset."""
    if name and not _HOST_NAME.fullmatch(name):
        raise ApiError(
            "InvalidHostName.Malformed",
            f'The specified parameter "HostName" is not valid. Given: {name!r}. Allowed: 2 to 64 '
            "letters, digits, periods and hyphens, no two of the last together and none at the "
            "ends.",
        )
    return name


def check_release_time(text: str) -> str:
    """Return an automatic release time (``2026-01-31T08:00:00Z``), or refuse it."""
    if text:
        try:
            datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007 - the Z is in the text
        except ValueError:
            raise ApiError(
                "InvalidAutoReleaseTime.Malformed",
                "The specified parameter AutoReleaseTime is not valid. "
                f"Given: {text!r}. Allowed: UTC as 2026-01-31T08:00:00Z.",
            ) from None
    return text


def check_metadata(request: Request, current: dict[str, str | int]) -> dict[str, str | int]:
    """The metadata options after a request: ``current`` with what the request changes."""
    options: dict[str, str | int] = {
        "HttpEndpoint": "enabled",
        "HttpTokens": "optional",
        "HttpPutResponseHopLimit": 0,
        **current,
    }
    endpoint, tokens = request.get("HttpEndpoint"), request.get("HttpTokens")
    if endpoint not in ("", "enabled", "disabled"):
        raise ApiError(
            "InvalidHttpEndpoint.NotSupported",
            "The specified HttpEndpoint not supported, you can use enabled(default) or disabled. "
            f"Given: {endpoint!r}.",
        )
    if tokens not in ("", "optional", "required"):
        raise ApiError(
            "InvalidHttpTokens.NotSupported",
            "The specified HttpTokens not supported, you can use optional(default) or required. "
            f"Given: {tokens!r}.",
        )
    hop_limit = request.integer("HttpPutResponseHopLimit", 0) or 0
    if hop_limit and not 1 <= hop_limit <= 64:
        raise invalid_parameter(
            "HttpPutResponseHopLimit",
            hop_limit,
            "1 to 64",
            code="InvalidHttpPutResponseHopLimit.NotSupported",
        )
    options["HttpEndpoint"] = endpoint or options["HttpEndpoint"]
    options["HttpTokens"] = tokens or options["HttpTokens"]
    options["HttpPutResponseHopLimit"] = hop_limit or options["HttpPutResponseHopLimit"]
    return options


def check_user_data(text: str) -> str:
    """Return user data as sent (Base64), or refuse it.

    Raises InvalidUserData.Base64FormatInvalid (403) and InvalidUserData.SizeExceeded (400) above
    32 KB before Base64.
    """
    if not text:
        return ""
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise ApiError(
            "InvalidUserData.Base64FormatInvalid",
            "The specified UserData is not valid. It must be Base64 without line breaks.",
            403,
        ) from None
    if size > MAX_USER_DATA:
        raise ApiError(
            "InvalidUserData.SizeExceeded",
            'The specified parameter "UserData" exceeds the size. '
            f"Given: {size} bytes before Base64. Allowed: {MAX_USER_DATA}.",
        )
    return text
