"""An ACS cluster and what stands around it, by the real provider: VPC, NAT gateway, CLB."""

import json
from pathlib import Path

import pytest

from tests.deploy.conftest import Deployment

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

PROGRAM = """\
import pulumi
import pulumi_alicloud as alicloud

tags = {"owner": "tests"}
vpc = alicloud.vpc.Network("vpc", vpc_name="films", cidr_block="10.0.0.0/16", tags=tags)
zones = ("cn-hangzhou-i", "cn-hangzhou-j")
switches = [
    alicloud.vpc.Switch(
        f"vswitch-{n}", vpc_id=vpc.id, cidr_block=f"10.0.{n}.0/24", zone_id=zone, tags=tags
    )
    for n, zone in enumerate(zones)
]
nat = alicloud.vpc.NatGateway(
    "nat",
    vpc_id=vpc.id,
    vswitch_id=switches[0].id,
    nat_gateway_name="films",
    nat_type="Enhanced",
    payment_type="PayAsYouGo",
    internet_charge_type="PayByLcu",
    tags=tags,
)
eip = alicloud.ecs.EipAddress(
    "eip", address_name="films-nat", internet_charge_type="PayByTraffic", bandwidth="10", tags=tags
)
bound = alicloud.ecs.EipAssociation(
    "bound", allocation_id=eip.id, instance_id=nat.id, instance_type="Nat"
)
entries = [
    alicloud.vpc.SnatEntry(
        f"snat-{n}",
        snat_table_id=nat.snat_table_ids,
        source_vswitch_id=switch.id,
        snat_ip=eip.ip_address,
        opts=pulumi.ResourceOptions(depends_on=[bound]),
    )
    for n, switch in enumerate(switches)
]
config = pulumi.Config()
cluster = alicloud.cs.ManagedKubernetes(
    "cluster",
    name=config.get("clusterName") or "films",
    profile="Acs",
    cluster_spec="ack.pro.small",
    version=alicloud.cs.get_kubernetes_version(
        cluster_type="ManagedKubernetes", profile="Acs"
    ).metadatas[0].version,
    vswitch_ids=[switch.id for switch in switches],
    service_cidr="172.21.0.0/20",
    new_nat_gateway=False,
    slb_internet_enabled=True,
    deletion_protection=False,
    enable_rrsa=True,
    skip_set_certificate_authority=True,
    is_enterprise_security_group=True,
    ip_stack="ipv4",
    control_plane_log_components=["apiserver", "kcm", "scheduler", "ccm"],
    control_plane_log_ttl="30",
    addons=[{"name": "managed-coredns"}],
    delete_options=[{"delete_mode": "delete", "resource_type": "SLB"}],
    tags=tags,
    opts=pulumi.ResourceOptions(depends_on=entries),
)
addon = alicloud.cs.KubernetesAddon(
    "addon", cluster_id=cluster.id, name="metrics-server", config='{"a":"1"}'
)
acl = alicloud.slb.Acl("acl", name="films", ip_version="ipv4", tags=tags)
entry = alicloud.slb.AclEntryAttachment(
    "entry", acl_id=acl.id, entry="198.51.100.0/24", comment="office"
)
balancer = alicloud.slb.ApplicationLoadBalancer(
    "balancer",
    load_balancer_name="films",
    address_type="internet",
    instance_charge_type="PayByCLCU",
    internet_charge_type="PayByTraffic",
    payment_type="PayAsYouGo",
    tags=tags,
)
inner = alicloud.slb.ApplicationLoadBalancer(
    "inner",
    load_balancer_name="films-inner",
    address_type="intranet",
    vswitch_id=switches[0].id,
    instance_charge_type="PayByCLCU",
    payment_type="PayAsYouGo",
)
identity = alicloud.ims.OidcProvider(
    "identity",
    oidc_provider_name="films",
    issuer_url="https://token.example.com",
    client_ids=["sts.aliyuncs.com"],
    fingerprints=["902ef2deeb3c5b13ea4c3d5193629309e231ae55"],
)
credential = alicloud.cs.get_cluster_credential_output(
    cluster_id=cluster.id, temporary_duration_minutes=60
)
pulumi.export("address", balancer.address)
pulumi.export("innerAddress", inner.address)
pulumi.export("server", cluster.connections.api_server_internet)
pulumi.export("clusterId", cluster.id)
pulumi.export("issuer", cluster.rrsa_metadata.rrsa_oidc_issuer_url)
pulumi.export("ca", credential.certificate_authority.cluster_cert)
"""


def put(deployment: Deployment) -> None:
    """Replace the workspace's program by the one of this test."""
    folder: Path = deployment.workspace.folder
    (folder / "acs_network").mkdir(exist_ok=True)
    (folder / "acs_network" / "__main__.py").write_text(PROGRAM)
    project = folder / "Pulumi.yaml"
    lines = project.read_text().splitlines()
    kept = ["main: acs_network" if line.startswith("main:") else line for line in lines]
    if "main: acs_network" not in kept:
        kept.insert(1, "main: acs_network")
    project.unlink()
    project.write_text("\n".join(kept) + "\n")


def test_a_cluster_with_its_network_lives_and_leaves_nothing(deployment: Deployment) -> None:
    """The emulator's acceptance test for ACS: nothing drifts, nothing is unknown, nothing stays."""
    put(deployment)
    deployment.pulumi("up", "--yes")
    first = deployment.workspace.outputs()
    assert first["address"].startswith("203.0.113.")
    assert first["innerAddress"].startswith("10.0.0.")
    assert first["server"].startswith("https://")
    assert first["issuer"].endswith(first["clusterId"])
    deployment.pulumi("preview", "--expect-no-changes")
    deployment.pulumi("refresh", "--yes", "--expect-no-changes")
    deployment.pulumi("preview", "--expect-no-changes")

    deployment.workspace.configure({"clusterName": "reels"})
    deployment.pulumi("up", "--yes")
    assert deployment.workspace.outputs()["clusterId"] == first["clusterId"]
    deployment.pulumi("preview", "--expect-no-changes")

    deployment.pulumi("destroy", "--yes")
    assert deployment.left() == {}, json.dumps(deployment.left())
    assert deployment.unknown_actions() == []


def test_a_missing_service_role_is_told_by_name(deployment: Deployment) -> None:
    """Prevents a new account's first failure from being a riddle or a long wait."""
    put(deployment)
    deployment.control("POST", "/account", {"missing_service_roles": ["AliyunCCCCMServiceRole"]})
    told = deployment.fails("up", "--yes")
    assert "AliyunCCCCMServiceRole" in told
    deployment.control("POST", "/account", {"missing_service_roles": []})
    deployment.pulumi("destroy", "--yes")
    assert deployment.left() == {}
