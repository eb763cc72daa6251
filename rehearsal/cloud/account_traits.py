"""What an account has or lacks: opened services, service roles, GPU cards, quotas.

A new account of the rehearsal has everything. A test or a person takes something away through the
control interface (``POST /account``), to see how a deployment fails for want of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rehearsal.cloud.state import Cloud

TABLE = "_account_traits"

# Roles that ACS needs once in an account. Most are from the list of its default roles, the two
# AliyunCS... ones from a field-tested installation script; both as of 2026.
SERVICE_ROLES = (
    "AliyunServiceRoleForAcc",
    "AliyunCCCSIPluginRole",
    "AliyunCCCCMServiceRole",
    "AliyunCCNECRole",
    "AliyunCCKubernetesAuditRole",
    "AliyunCCManagedLogRole",
    "AliyunCCManagedArmsRole",
    "AliyunCCCISDefaultRole",
    "AliyunCCManagedAcrRole",
    "AliyunCSManagedCsiPluginRole",
    "AliyunCSManagedCsiProvisionerRole",
)
CLOSABLE_SERVICES = ("acs", "cs", "slb")

_LISTS = {
    "closed_services": "services that the account has not opened",
    "missing_service_roles": "default roles that the account has not granted",
    "gpu_cards_out_of_stock": "GPU cards that no zone has any more, by their label value",
    "gpu_cards_without_permission": "GPU cards that the account may not use, by their label value",
}


class TraitError(ValueError):
    """A trait cannot be set so; the message says what was given and what is allowed."""


def read(cloud: Cloud, account: str = "") -> dict[str, Any]:
    """All traits of an account (the emulator's own when left out), with their defaults."""
    with cloud.lock:
        row = cloud.account(account or cloud.settings.account).table(TABLE).get("traits", {})
        return {**{name: list(row.get(name, [])) for name in _LISTS}, "quotas": _quotas(cloud)}


def write(cloud: Cloud, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the named traits and save; gives all of them back.

    ``quotas`` maps names of limits to numbers, null meaning the default; it is for the emulator's
    own account and region.

    Raises:
        TraitError: an unknown name, or a value of the wrong kind.
    """
    unknown = sorted(set(changes) - set(_LISTS) - {"quotas"})
    if unknown:
        known = ", ".join([*_LISTS, "quotas"])
        raise TraitError(f"unknown traits {', '.join(unknown)}; allowed: {known}")
    for name, meaning in _LISTS.items():
        items = changes.get(name, [])
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise TraitError(f"{name} is {items!r}; it must be a list of strings: {meaning}")
    closed = set(changes.get("closed_services", [])) - set(CLOSABLE_SERVICES)
    if closed:
        raise TraitError(
            f"closed_services names {', '.join(sorted(closed))}; allowed: "
            f"{', '.join(CLOSABLE_SERVICES)}, because no other service checks it"
        )
    quotas = changes.get("quotas", {})
    if not isinstance(quotas, dict) or not all(
        value is None or (isinstance(value, int) and value >= 0) for value in quotas.values()
    ):
        raise TraitError(f"quotas is {quotas!r}; it must map names to numbers from 0, or to null")
    with cloud.lock:
        settings = cloud.settings
        row = cloud.account(settings.account).table(TABLE).setdefault("traits", {})
        row.update({name: changes[name] for name in _LISTS if name in changes})
        limits = cloud.region(settings.account, settings.region).table("quotas")
        for name, value in quotas.items():
            if value is None:
                limits.pop(name, None)
            else:
                limits[name] = {"Limit": value}
        cloud.save()
        return read(cloud)


def missing_roles(cloud: Cloud, account: str) -> list[str]:
    """The service roles that the account lacks."""
    return list(read(cloud, account)["missing_service_roles"])


def is_closed(cloud: Cloud, account: str, service: str) -> bool:
    """Whether the account has not opened a service."""
    return service in read(cloud, account)["closed_services"]


def _quotas(cloud: Cloud) -> dict[str, int]:
    settings = cloud.settings
    table = cloud.region(settings.account, settings.region).table("quotas")
    return {name: int(row["Limit"]) for name, row in table.items()}
