"""Which speed profile a machine may run: the rule is the table of ``images/profiles.toml``. Pure.

The image refuses such a start, too; here it is an error at preview, before a machine is paid for.
"""

from images import profiles
from infra import catalogue
from infra.placement import PlacementError


class SpeedError(PlacementError):
    """Speed profile and GPU do not go together."""


def check(type_name: str, profile: str) -> None:
    """Refuse a profile that the machine's GPU must not run.

    Args:
        type_name: instance type; of one that the catalogue lacks nothing is known, and the image
            decides when it starts.
        profile: ``speedProfile`` of the config.

    Raises:
        SpeedError: what was given, what is allowed there, why, and what to do.
    """
    row = catalogue.find(type_name)
    if row is None:
        return
    capability = ".".join(map(str, row.compute_capability))
    reason = profiles.refusal(profile, capability, f"the {row.gpu} of {type_name}")
    if reason:
        raise SpeedError(
            f"speedProfile: {reason} (requireFp8 true makes instanceType auto choose one with FP8 "
            "units)"
        )
