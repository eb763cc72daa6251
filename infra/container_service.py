"""What ACS wants of an account, asked before anything is made: roles, service, room for a cluster.

Without this, a missing role shows itself a quarter of an hour later, when an add-on of the new
cluster does not work, and a failed creation of a cluster is not rolled back by the cloud.
"""

from collections.abc import Callable

from infra import advice, leftover_clusters, openapi, preflight
from infra.config import Settings
from infra.preflight import PreflightError

ROLES = (
    "AliyunServiceRoleForAcc",
    "AliyunCCCSIPluginRole",
    "AliyunCCCCMServiceRole",
    "AliyunCCNECRole",
    "AliyunCCKubernetesAuditRole",
    "AliyunCCManagedLogRole",
    "AliyunCCManagedArmsRole",
    "AliyunCCCISDefaultRole",
    "AliyunCSManagedCsiPluginRole",
    "AliyunCSManagedCsiProvisionerRole",
)
"""ACS's page "Default roles" (2026-03-26); the last two from an installation that works."""
ACR_ROLE = "AliyunCCManagedAcrRole"


def checker(
    settings: Settings, clients: Callable[[str], openapi.Api] | None = None
) -> Callable[[], None]:
    """Return the check for a target; that of ECS asks nothing more."""
    if settings.target != "acs":
        return lambda: None
    made = clients or (
        lambda region: openapi.client("cs", region, retry_seconds=preflight.RETRY_SECONDS)
    )
    return lambda: check(settings, made(settings.region))


def check(settings: Settings, ask: openapi.Api) -> None:
    """Ask, without changing anything, whether ACS will make the cluster.

    Raises:
        PreflightError: the service is not opened, a role is missing, the quota of clusters is used
            up, or the cloud does not answer.
    """
    for question in (_roles, _room):
        try:
            question(settings, ask)
        except PreflightError:
            raise
        except Exception as error:
            # What this identity may not ask, the creation will answer.
            if openapi.forbidden(error) or openapi.code(error) == "StatusForbidden":
                continue
            sentence = advice.of_call(error)
            if not sentence:
                raise
            raise PreflightError(sentence) from error


def _roles(settings: Settings, ask: openapi.Api) -> None:
    wanted = [*ROLES, *([ACR_ROLE] if settings.acr_instance_id else [])]
    answer = ask("CheckServiceRole", {"roles": [{"name": name} for name in wanted]})
    missing = [row["name"] for row in answer.get("roles") or [] if row.get("granted") is False]
    if missing:
        raise PreflightError(
            f"the account has not granted the service roles {', '.join(missing)}, without which "
            "ACS cannot run a cluster's network, disks and logs; open the console of Container "
            "Compute Service (https://acs.console.aliyun.com) once and confirm the authorization, "
            "which makes them"
        )


def _room(settings: Settings, ask: openapi.Api) -> None:
    if leftover_clusters.listed(ask, settings.names.prefix):
        return  # this stack's own is among them
    limit = ask("DescribeUserQuota", {}).get("ask_cluster_quota")
    answer = ask("DescribeClustersV1", {"profile": "Acs", "page_size": "100"})
    used = [str(row.get("name")) for row in answer.get("clusters") or []]
    if isinstance(limit, int) and len(used) >= limit:
        raise PreflightError(
            f"the account has {len(used)} ACS clusters ({', '.join(used)}) and may have {limit}; "
            "delete one that is not needed, or ask for more in the console's Quota Center (\"Total "
            'ACS Clusters", up to 20)'
        )
