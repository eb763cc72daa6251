"""Target "acs": the chart on a serverless GPU Kubernetes cluster, behind a load balancer."""

from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pulumi_alicloud as alicloud

from infra import cards, provider
from infra.components.cluster import Cluster
from infra.components.cluster_network import ClusterNetwork
from infra.components.cluster_results import ClusterResults
from infra.components.load_balancer import LoadBalancer
from infra.components.release import Release
from infra.config import Settings
from infra.placement import PlacementError

GATEWAY_COST = 0.09
"""CNY per hour of the gateway's 1 vCPU and 1 GiB: 0.06 and 0.03 on the mainland (ACS billing)."""


class RegionError(PlacementError):
    """The region has nothing to build a cluster in."""


def deploy(
    settings: Settings, *, before_creation: Callable[[], None] = lambda: None
) -> Mapping[str, pulumi.Input[Any]]:
    """Declare every resource of the target and return the stack's outputs.

    Args:
        before_creation: called when all questions are asked and nothing is declared yet; may
            raise what makes the rest pointless.

    Raises:
        cards.CardError: ACS would refuse such a pod, or the image would not start in it.
        RegionError: the region has no zone, or ACS no Kubernetes version there.
    """
    card = cards.check(pod(settings))
    cloud = provider.make(settings.region)
    invoke = pulumi.InvokeOptions(provider=cloud)
    opts = pulumi.ResourceOptions(provider=cloud)
    zones = _zones(settings, invoke)
    version = _version(settings, invoke)
    before_creation()
    if not card.card.label_sure and not settings.gpu_card_label:
        pulumi.log.info(
            f"the label value {card.label} of the card {card.card.name} is inferred; if ACS does "
            "not know it, set gpuCardLabel to what your account's documents say"
        )

    network = ClusterNetwork("network", settings=settings, zones=zones, opts=opts)
    balancer = LoadBalancer(
        "balancer", settings=settings, vswitch_id=network.vswitch_ids[0], opts=opts
    )
    cluster = Cluster(
        "cluster",
        settings=settings,
        version=version,
        vpc_id=network.vpc_id,
        vswitch_ids=network.vswitch_ids,
        # Pods of the cluster itself pull images, too.
        depends_on=network.ready,
        opts=opts,
    )
    results = None
    ready: list[pulumi.Resource] = [*cluster.ready, *balancer.entries]
    if settings.results_in_bucket:
        results = ClusterResults(
            "results",
            settings=settings,
            provider_arn=cluster.oidc_provider_arn,
            issuer=cluster.oidc_issuer,
            opts=opts,
        )
        ready.append(results.attachment)
    release = Release(
        "release",
        settings=settings,
        card=card,
        cluster_id=cluster.cluster_id,
        kubeconfig=cluster.kubeconfig,
        address=balancer.address,
        annotations=balancer.annotations,
        results=(results.bucket, results.role_name) if results else None,
        depends_on=ready,
        opts=opts,
    )
    host: pulumi.Input[str] = settings.hostname or balancer.address
    return {
        "url": pulumi.Output.concat("https://", host, "/"),
        "caCertificate": release.ca_certificate,
        "certificateExpires": release.certificate_expires,
        "apiToken": release.token,
        "kubeconfig": cluster.kubeconfig,
        "clusterId": cluster.cluster_id,
        "kubernetesVersion": cluster.version,
        "loadBalancerAddress": balancer.address,
        "namespace": release.namespace,
        "gpuCard": card.card.name,
        "region": settings.region,
        "resultsBucket": results.bucket if results else "",
        "costPerHour": cost(settings),
        "sessionCommand": pulumi.Output.concat(
            "pulumi stack output kubeconfig --show-secrets > kubeconfig && "
            "KUBECONFIG=kubeconfig kubectl -n ",
            release.namespace,
            " get pods",
        ),
        "smokeTestCommand": (
            "pulumi stack output --json --show-secrets | "
            ".venv/bin/python -m smoke_tests --outputs -"
        ),
    }


def pod(settings: Settings) -> cards.Pod:
    """Return what the config asks of ACS for ComfyUI's pod."""
    return cards.Pod(
        card=settings.gpu_card,
        count=settings.gpu_count,
        vcpu=settings.pod_vcpu,
        memory_gib=settings.pod_memory_gib,
        ephemeral_gib=settings.pod_ephemeral_gib,
        driver=settings.gpu_driver_version,
        region=settings.region,
        variant=settings.image_variant,
        profile=settings.speed_profile,
        label=settings.gpu_card_label or "",
    )


def cost(settings: Settings) -> str:
    """Return in words what is known of the price: ACS publishes none for GPUs."""
    besides = ["load balancer", *(["NAT gateway"] if settings.nat_gateway else [])]
    spare = "; spare capacity (bestEffort) costs less" if settings.best_effort else ""
    return (
        f"no published price for an ACS pod with the card {settings.gpu_card}, "
        f"{settings.pod_vcpu} vCPU and {settings.pod_memory_gib} GiB; ask Alibaba Cloud{spare}. "
        f"The gateway's pod costs {GATEWAY_COST:.2f} CNY/hour (ACS billing page, 2026), the "
        f"cluster itself nothing; {', '.join(besides)}, disk and traffic come on top"
    )


def _zones(settings: Settings, invoke: pulumi.InvokeOptions) -> tuple[str, str]:
    if settings.zone != "auto":
        return settings.zone, settings.second_zone
    answer = alicloud.get_zones(available_resource_creation="VSwitch", opts=invoke)
    names = sorted(answer.ids)
    if not names:
        raise RegionError(
            f'zone: "auto" finds no zone in {settings.region} that takes a vSwitch. Name two with '
            "zone and secondZone, or choose another region"
        )
    # A region of one zone is possible; both networks lie in it then.
    return names[0], names[min(1, len(names) - 1)]


def _version(settings: Settings, invoke: pulumi.InvokeOptions) -> str:
    answer = alicloud.cs.get_kubernetes_version(
        cluster_type="ManagedKubernetes", profile="Acs", opts=invoke
    )
    known = [row.version for row in answer.metadatas]
    if settings.kubernetes_version == "auto":
        if not known:
            raise RegionError(
                f"region: ACS offers no Kubernetes version in {settings.region}, so it has no "
                "clusters there. Choose another region"
            )
        return known[0]
    if known and settings.kubernetes_version not in known:
        # An older one that a cluster has already is no mistake; only a new cluster is refused.
        pulumi.log.warn(
            f'kubernetesVersion: "{settings.kubernetes_version}" is not offered for new clusters '
            f"in {settings.region} now; offered: {', '.join(known)}. Use one of them, or auto"
        )
    return settings.kubernetes_version
