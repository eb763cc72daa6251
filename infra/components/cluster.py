"""CLUSTER: the ACS cluster, with everything said that would otherwise default the wrong way."""

import json
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_alicloud as alicloud

from infra import cluster_access
from infra.config import Settings

ADDONS = ("managed-coredns", "metrics-server", "managed-csiprovisioner")
"""Names of DNS, metrics and disk claims in ACS; what else ACS needs comes by itself."""
LOG_COMPONENTS = ("apiserver", "kcm", "scheduler", "ccm")
LEFT_BY_CLUSTERS = ("SLB", "ALB", "PrivateZone", "SLS_Data", "SLS_ControlPlane")
"""What a cluster makes beside itself; all of it is deleted with the cluster."""


def addons(settings: Settings, namespace: str) -> list[dict[str, Any]]:
    """Return the add-ons of a new cluster; later changes are made by the console."""
    found: list[dict[str, Any]] = [{"name": name} for name in ADDONS]
    if settings.acr_instance_id:
        config = {
            "AcrInstanceInfo": [
                {"instanceId": settings.acr_instance_id, "regionId": settings.region}
            ],
            "watchNamespace": namespace,
            "serviceAccount": "default",
            "expiringThreshold": "15m",
        }
        found.append(
            {
                "name": "managed-aliyun-acr-credential-helper",
                "config": json.dumps(config, sort_keys=True),
            }
        )
    return found


class Cluster(pulumi.ComponentResource):
    """``alicloud.cs.ManagedKubernetes`` of the profile Acs, and a kubeconfig without secrets."""

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        version: str,
        vpc_id: pulumi.Input[str],
        vswitch_ids: Sequence[pulumi.Input[str]],
        depends_on: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("wanvace:cluster:Cluster", name, None, opts)
        names = settings.names
        logs: dict[str, Any] = {}
        if settings.log_days:
            logs = {
                "control_plane_log_components": list(LOG_COMPONENTS),
                "control_plane_log_ttl": str(settings.log_days),
            }
        cluster = alicloud.cs.ManagedKubernetes(
            name,
            name=names.prefix,
            profile="Acs",
            cluster_spec="ack.pro.small",
            version=version,
            vswitch_ids=list(vswitch_ids),
            service_cidr=str(settings.service_cidr),
            ip_stack="ipv4",
            # Both are on by default in the provider: a second NAT gateway, and a public door.
            new_nat_gateway=False,
            slb_internet_enabled=settings.api_server_public,
            # One group for all pods, made and ruled by the service.
            is_enterprise_security_group=True,
            # It cannot be turned off again, and costs nothing.
            enable_rrsa=True,
            # No certificate of a client in the state: access is short-lived, see cluster_access.
            skip_set_certificate_authority=True,
            deletion_protection=settings.deletion_protection,
            addons=[
                alicloud.cs.ManagedKubernetesAddonArgs(**each)
                for each in addons(settings, names.prefix)
            ],
            delete_options=[
                {"resource_type": kind, "delete_mode": "delete"} for kind in LEFT_BY_CLUSTERS
            ],
            tags=settings.tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=list(depends_on),
                # A newer version must not upgrade a running cluster; add-ons are upgraded by ACS.
                ignore_changes=["addons"]
                + (["version"] if settings.kubernetes_version == "auto" else []),
                custom_timeouts=pulumi.CustomTimeouts(create="90m", update="60m", delete="60m"),
            ),
            **logs,
        )
        self.ready: list[pulumi.Resource] = [cluster]
        if settings.acr_instance_id:
            link = alicloud.cr.VpcEndpointLinkedVpc(
                name,
                instance_id=settings.acr_instance_id,
                vpc_id=vpc_id,
                vswitch_id=vswitch_ids[0],
                module_name="Registry",
                enable_create_dns_record_in_pvzt=True,
                opts=pulumi.ResourceOptions(parent=self),
            )
            self.ready.append(link)
        credential = alicloud.cs.get_cluster_credential_output(
            cluster_id=cluster.id,
            temporary_duration_minutes=cluster_access.LEAST_MINUTES,
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        private = not settings.api_server_public
        made: pulumi.Output[str] = pulumi.Output.all(
            cluster.id, credential.kube_config, cluster.connections.api_server_intranet
        ).apply(lambda found: self._kubeconfig(settings, found, private=private))
        self.kubeconfig: pulumi.Output[str] = pulumi.Output.secret(made)
        self.cluster_id = cluster.id
        self.version = cluster.version
        self.oidc_provider_arn = cluster.rrsa_metadata.ram_oidc_provider_arn
        self.oidc_issuer = cluster.rrsa_metadata.rrsa_oidc_issuer_url
        self.register_outputs({"cluster_id": cluster.id})

    @staticmethod
    def _kubeconfig(settings: Settings, found: Sequence[Any], *, private: bool) -> str:
        cluster_id, given, intranet = found
        access = cluster_access.parse(given)
        return cluster_access.exec_kubeconfig(
            name=settings.names.prefix,
            server=str(intranet) if private and intranet else access.server,
            authority=access.authority,
            region=settings.region,
            cluster_id=str(cluster_id),
            private=private,
        )
