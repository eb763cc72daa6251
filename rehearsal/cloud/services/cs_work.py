"""What happens behind a cluster's tasks: the engine starts and stops it, and the account around it.

An ACS cluster makes three things in the account: the balancer of its API server, a security group
(when none was named), and, with RRSA, an OIDC provider. They go with it.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any
from urllib.parse import urlsplit

from rehearsal.cloud.clusters import ClusterSpec
from rehearsal.cloud.registry import Caller, Request
from rehearsal.cloud.services import ims, slb_common
from rehearsal.cloud.services.cs_common import CLUSTERS, TASKS, InterruptedTaskError, carry_out
from rehearsal.cloud.services.ecs_security_groups import CreateSecurityGroup
from rehearsal.cloud.services.lookups import Row
from rehearsal.cloud.state import Cloud, RegionState

# How long a cluster takes at least, before scaling; the real one takes minutes (estimate).
_BUILD_S, _REMOVE_S = 20.0, 10.0
# The tag by which the cloud controller marks the balancers that it makes for Services.
OWNER_TAG = "ack.aliyun.com"


def build(cloud: Cloud, state: RegionState, row: Row) -> None:
    """Make a cluster run; raises what the engine raises, after noting the failure."""
    cluster_id = row["cluster_id"]
    cloud.closing.wait(_BUILD_S * cloud.settings.time_scale)
    if cloud.closing.is_set():
        raise InterruptedTaskError
    try:
        cloud.clusters.create(_spec(row))
        servers = list(cloud.clusters.servers(cluster_id))
        issuer = cloud.clusters.oidc_issuer(cluster_id)
    except Exception:
        # The real service leaves a failed cluster behind as well: it must be deleted by hand.
        with cloud.lock:
            row["state"] = "failed"
            cloud.save()
        raise
    with cloud.lock:
        forgotten = cluster_id not in state.table(CLUSTERS)
    if forgotten:  # somebody reset the cloud meanwhile
        cloud.clusters.delete(cluster_id)
        return
    with cloud.lock:
        row["servers"] = servers
        row["issuer"] = issuer
        if not row["owned"]:
            _add_owned(cloud, state, row)
        if row["rrsa"]:
            add_oidc_provider(cloud, row)
        row["state"] = "running"
        row["updated"] = cloud.timestamp()
        cloud.save()


def revive(cloud: Cloud, row: Row) -> None:
    """Let a cluster of an earlier process run again, in the background."""

    def work() -> None:
        try:
            cloud.clusters.create(_spec(row))
        except Exception:  # whatever an engine raises: the cluster is there and does not answer
            traceback.print_exc(file=sys.stderr)
            with cloud.lock:
                row["state"] = "unavailable"
                cloud.save()

    cloud.background(f"revive {row['cluster_id']}", work)


def _spec(row: Row) -> ClusterSpec:
    return ClusterSpec(
        cluster_id=row["cluster_id"],
        version=row["current_version"],
        vpc_id=row["vpc_id"],
        vswitch_cidr=row["vswitch_cidr"],
        service_cidr=row["service_cidr"],
        region=row["region_id"],
        account=row["account"],
        public=row["public"],
        private_ip=row["private_ip"],
        public_ip=row["public_ip"],
    )


def remove(cloud: Cloud, state: RegionState, row: Row) -> None:
    """Take a cluster away with what it made; raises what the engine raises."""
    cluster_id = row["cluster_id"]
    cloud.closing.wait(_REMOVE_S * cloud.settings.time_scale)
    if cloud.closing.is_set():
        raise InterruptedTaskError
    try:
        cloud.clusters.delete(cluster_id)
    except Exception:
        with cloud.lock:
            row["state"] = "delete_failed"
            cloud.save()
        raise
    with cloud.lock:
        _drop_owned(cloud, state, row)
        state.table(CLUSTERS).pop(cluster_id, None)
        cloud.save()


def go_on(cloud: Cloud, state: RegionState, row: Row) -> None:
    """Start again what the previous process did not finish for this cluster."""
    making = row["state"] == "initial"
    kind = "cluster_create" if making else "cluster_delete"
    step = build if making else remove
    task = next(
        (
            task
            for task in cloud.account(state.account).table(TASKS).values()
            if task["cluster_id"] == row["cluster_id"]
            and task["task_type"] == kind
            and task["state"] == "running"
        ),
        None,
    )
    if task is not None:
        cloud.background(
            f"{kind} {row['cluster_id']}",
            lambda: carry_out(cloud, task, lambda _: step(cloud, state, row)),
        )


def provider_name(row: Row) -> str:
    """The OIDC provider that RRSA makes for a cluster."""
    return f"ack-rrsa-{row['cluster_id']}"


def add_oidc_provider(cloud: Cloud, row: Row) -> None:
    """Make the account trust the cluster's service account tokens (RRSA); idempotent."""
    table = cloud.account(row["account"]).table(ims.PROVIDERS)
    name = provider_name(row)
    if name not in table:
        table[name] = ims.new_provider(
            cloud,
            row["account"],
            name,
            issuer=row["issuer"],
            client_ids=["sts.aliyuncs.com"],
            description=f"RRSA of cluster {row['cluster_id']}",
            managed_by=row["cluster_id"],
        )


def _add_owned(cloud: Cloud, state: RegionState, row: Row) -> None:
    public, intranet = row["servers"]
    address = urlsplit(public or intranet).hostname or ""
    balancer_id = slb_common.add(
        cloud,
        state,
        name=f"ManagedK8SSlbIntranet-{row['cluster_id']}",
        address=address,
        address_type="internet" if public else "intranet",
        vpc_id=row["vpc_id"],
        vswitch_id=row["vswitch_ids"][0],
        tags={OWNER_TAG: row["cluster_id"]},
        managed_by=row["cluster_id"],
    )
    owned = [{"type": "SLB", "id": balancer_id, "name": "Apiserver load balancer"}]
    if not row["security_group_id"]:
        answer = CreateSecurityGroup(_inner(state, row), cloud)
        group_id: Any = answer["SecurityGroupId"] if isinstance(answer, dict) else ""
        row["security_group_id"] = group_id
        owned.append({"type": "SecurityGroup", "id": group_id, "name": "Cluster security group"})
    row["owned"] = owned


def _inner(state: RegionState, row: Row) -> Request:
    """A request that the service makes for itself."""
    return Request(
        product="ecs",
        version="2014-05-26",
        action="CreateSecurityGroup",
        region=state.name,
        caller=Caller(state.account, "root", state.account),
        params={
            "VpcId": row["vpc_id"],
            "SecurityGroupName": f"alicloud-cs-auto-created-{row['cluster_id']}",
            "SecurityGroupType": "enterprise",
        },
    )


def _drop_owned(cloud: Cloud, state: RegionState, row: Row) -> None:
    retain = row.get("retain", {"balancers": False, "ids": []})
    balancers = state.table(slb_common.BALANCERS)
    for balancer_id, balancer in list(balancers.items()):
        if balancer["Tags"].get(OWNER_TAG) != row["cluster_id"] or balancer_id in retain["ids"]:
            continue
        # Service balancers may be kept; the API server's goes with the API server.
        if balancer["ManagedBy"] or not retain["balancers"]:
            del balancers[balancer_id]
    for item in row["owned"]:
        if item["type"] == "SecurityGroup" and item["id"] not in retain["ids"]:
            state.table("security_groups").pop(item["id"], None)
    cloud.account(row["account"]).table(ims.PROVIDERS).pop(provider_name(row), None)
