"""ACS clusters through Alibaba's own SDK, and through its older one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from alibabacloud_cs20151215 import models as cs
from alibabacloud_vpc20160428 import models as vpc
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest
from cryptography import x509
from darabonba.exceptions import DaraException

from .conftest import RunningCloud
from .ecs_world import World

Eventually = Callable[..., Any]


@pytest.fixture
def net(cloud: RunningCloud) -> World:
    """A VPC with a vSwitch that are there."""
    return World(cloud)


def body(net: World, **changes: Any) -> cs.CreateClusterRequest:
    """What the provider sends for an ACS cluster."""
    fields: dict[str, Any] = {
        "name": "films",
        "region_id": "cn-hangzhou",
        "cluster_type": "ManagedKubernetes",
        "profile": "Acs",
        "cluster_spec": "ack.pro.small",
        "vpcid": net.vpc_id,
        "vswitch_ids": [net.vswitch_id],
        "service_cidr": "172.21.0.0/20",
        "endpoint_public_access": True,
        "deletion_protection": False,
        "proxy_mode": "ipvs",
        "node_cidr_mask": "24",
        "cluster_domain": "cluster.local",
        "tags": [cs.Tag(key="owner", value="tests")],
        **changes,
    }
    return cs.CreateClusterRequest(**fields)


def created(
    cloud: RunningCloud, net: World, eventually: Eventually, **changes: Any
) -> dict[str, Any]:
    """A running cluster's detail."""
    client = cloud.client("cs")
    answer = client.create_cluster(body(net, **changes)).body
    eventually(lambda: client.describe_task_info(answer.task_id).body.state == "success")
    detail: dict[str, Any] = client.describe_cluster_detail(answer.cluster_id).body.to_map()
    assert detail["state"] == "running"
    return detail


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(DaraException) as raised:
        call()
    error: Any = raised.value
    return f"{error.code} {error.message}"


def test_a_cluster_runs_is_described_and_goes(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents a cluster from lacking what the provider reads, or from leaving anything."""
    client = cloud.client("cs")
    before = cloud.control("GET", "/status")["resources"]
    detail = created(cloud, net, eventually)
    assert detail["vswitch_ids"] == [net.vswitch_id]
    assert detail["tags"] == [{"key": "owner", "value": "tests"}]
    assert "timezone" not in detail
    assert "auto_mode" not in detail
    assert json.loads(detail["meta_data"])["RRSAConfig"] == {"enabled": False}
    endpoints = json.loads(detail["master_url"])
    assert {urlsplit(url).scheme for url in endpoints.values()} == {"https"}
    resources = client.describe_cluster_resources(
        detail["cluster_id"], cs.DescribeClusterResourcesRequest()
    ).body
    assert {item.resource_type for item in resources} == {"SLB", "SecurityGroup"}
    assert "cn-hangzhou/clusters" in cloud.control("GET", "/status")["resources"]

    options = [cs.DeleteClusterRequestDeleteOptions(delete_mode="delete", resource_type="SLB")]
    gone = client.delete_cluster(
        detail["cluster_id"], cs.DeleteClusterRequest(delete_options=options)
    )
    eventually(lambda: client.describe_task_info(gone.body.task_id).body.state == "success")
    told = refusal(lambda: client.describe_cluster_detail(detail["cluster_id"]))
    assert "ErrorClusterNotFound" in told
    assert cloud.control("GET", "/status")["resources"] == before
    assert cloud.control("GET", "/status")["unknown_actions"] == []


def test_the_older_client_reads_the_same_cluster_and_its_signature_counts(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """The provider polls a cluster's state with a client of the older signature."""
    detail = created(cloud, net, eventually)

    def ask(secret: str) -> dict[str, Any]:
        client = AcsClient(cloud.key.access_key_id, secret, "cn-hangzhou", verify=str(cloud.ca))
        request = CommonRequest(
            domain=cloud.endpoint,
            version="2015-12-15",
            uri_pattern=f"/clusters/{detail['cluster_id']}",
        )
        request.set_method("GET")
        request.set_protocol_type("https")
        answer: dict[str, Any] = json.loads(client.do_action_with_exception(request))
        return answer

    assert ask(cloud.key.secret)["state"] == "running"
    with pytest.raises(ServerException) as raised:
        ask("not the secret")
    assert raised.value.get_error_code() == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"profile": "Serverless"}, "InvalidParameter"),
        ({"cluster_type": "Kubernetes"}, "InvalidParameter"),
        ({"kubernetes_version": "1.20.1"}, "InvalidParameter"),
        ({"cluster_spec": "huge"}, "InvalidParameter"),
        ({"service_cidr": "172.21.0.0/25"}, "InvalidServiceCidr"),
        ({"service_cidr": "8.8.0.0/20"}, "InvalidServiceCidr"),
        ({"service_cidr": "10.0.0.0/16"}, "InvalidServiceCidr.Conflict"),
        ({"vswitch_ids": ["vsw-none"]}, "InvalidVSwitchId.NotFound"),
        ({"vpcid": "vpc-other"}, "InvalidVSwitchIds"),
        ({"security_group_id": "sg-none"}, "InvalidSecurityGroupId.NotFound"),
        ({"snat_entry": True}, "UnsupportedParameter"),
        ({"num_of_nodes": 3}, "UnsupportedParameter"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(
    cloud: RunningCloud, net: World, changes: dict[str, Any], code: str
) -> None:
    """Prevents a rehearsal from creating what the real service refuses."""
    client = cloud.client("cs")
    assert refusal(lambda: client.create_cluster(body(net, **changes))).startswith(code)
    assert "cn-hangzhou/clusters" not in cloud.control("GET", "/status")["resources"]


@pytest.mark.parametrize(
    ("traits", "code"),
    [
        ({"closed_services": ["acs"]}, "ErrorServiceNotOpen"),
        ({"missing_service_roles": ["AliyunCCCCMServiceRole"]}, "ErrorRoleNotAuthorized"),
        ({"quotas": {"clusters": 0}}, "ErrorQuotaExceeded"),
    ],
)
def test_what_the_account_lacks_is_told(
    cloud: RunningCloud, net: World, traits: dict[str, Any], code: str
) -> None:
    """Prevents the common first failures of a new account from being untestable."""
    cloud.control("POST", "/account", traits)
    assert refusal(lambda: cloud.client("cs").create_cluster(body(net))).startswith(code)


def test_the_fourth_cluster_is_over_the_quota(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents the default of three clusters from being forgotten."""
    client = cloud.client("cs")
    for _ in range(3):
        client.create_cluster(body(net))
    assert refusal(lambda: client.create_cluster(body(net))).startswith("ErrorQuotaExceeded")
    assert client.describe_user_quota().body.ask_cluster_quota == 3


def test_service_roles_are_checked_by_name(cloud: RunningCloud) -> None:
    """Prevents a pre-flight check from being told that everything is granted."""
    cloud.control("POST", "/account", {"missing_service_roles": ["AliyunCCCCMServiceRole"]})
    names = ("AliyunCCCCMServiceRole", "AliyunCCNECRole", "NobodysRole")
    roles = [cs.CheckServiceRoleRequestRoles(name=name) for name in names]
    answer = cloud.client("cs").check_service_role(cs.CheckServiceRoleRequest(roles=roles)).body
    assert [role.granted for role in answer.roles] == [False, True, False]


def test_an_engine_that_fails_ends_the_task_with_its_words(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents a failed creation from being waited for until a timeout."""

    def fail(_spec: object) -> None:
        raise RuntimeError("no room on this computer")

    cloud.clusters.fail = fail
    client = cloud.client("cs")
    answer = client.create_cluster(body(net)).body

    def failed() -> Any:
        task = client.describe_task_info(answer.task_id).body
        return task if task.state == "failed" else None

    task = eventually(failed)
    assert "no room" in task.error.message
    assert client.describe_cluster_detail(answer.cluster_id).body.state == "failed"
    cloud.clusters.fail = None
    gone = client.delete_cluster(answer.cluster_id, cs.DeleteClusterRequest()).body
    eventually(lambda: client.describe_task_info(gone.task_id).body.state == "success")


def test_credentials_last_as_long_as_asked(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents a kubeconfig without certificates, or one that outlives what was asked."""
    detail = created(cloud, net, eventually)
    client = cloud.client("cs")

    def config(minutes: int | None) -> cs.DescribeClusterUserKubeconfigResponseBody:
        request = cs.DescribeClusterUserKubeconfigRequest(
            private_ip_address=False, temporary_duration_minutes=minutes
        )
        return client.describe_cluster_user_kubeconfig(detail["cluster_id"], request).body

    answer = config(15)
    kept = dict(line.strip().split(": ", 1) for line in answer.config.splitlines() if ": " in line)
    certificate = x509.load_pem_x509_certificate(base64.b64decode(kept["client-certificate-data"]))
    assert certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ") == answer.expiration
    assert kept["server"] == json.loads(detail["master_url"])["api_server_endpoint"]
    assert "TemporaryDurationMinutes" in refusal(lambda: config(14))
    assert "TemporaryDurationMinutes" in refusal(lambda: config(4321))


def test_a_private_cluster_hands_out_its_private_address(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents a cluster without a public endpoint from costing a public address."""
    detail = created(cloud, net, eventually, endpoint_public_access=False)
    endpoints = json.loads(detail["master_url"])
    assert list(endpoints) == ["intranet_api_server_endpoint"]
    request = cs.DescribeClusterUserKubeconfigRequest(private_ip_address=False)
    client = cloud.client("cs")
    config = client.describe_cluster_user_kubeconfig(detail["cluster_id"], request).body.config
    assert endpoints["intranet_api_server_endpoint"] in config
    assert urlsplit(endpoints["intranet_api_server_endpoint"]).hostname.startswith("10.1.1.")


def test_names_tags_and_protection_change_in_place(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents an update of the provider from being refused or lost."""
    cluster_id = created(cloud, net, eventually)["cluster_id"]
    client = cloud.client("cs")
    client.modify_cluster(
        cluster_id, cs.ModifyClusterRequest(cluster_name="reels", deletion_protection=True)
    )
    client.modify_cluster_tags(
        cluster_id, cs.ModifyClusterTagsRequest(body=[cs.Tag(key="owner", value="us")])
    )
    detail = client.describe_cluster_detail(cluster_id).body
    assert (detail.name, detail.deletion_protection) == ("reels", True)
    assert [(tag.key, tag.value) for tag in detail.tags] == [("owner", "us")]
    told = refusal(lambda: client.delete_cluster(cluster_id, cs.DeleteClusterRequest()))
    assert "ErrorDeletionProtected" in told


def test_rrsa_makes_an_identity_provider_and_cannot_be_switched_off(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents a role that trusts the cluster from naming a provider that is not there."""
    detail = created(cloud, net, eventually, enable_rrsa=True)
    rrsa = json.loads(detail["meta_data"])["RRSAConfig"]
    assert rrsa["oidc_arn"].endswith(f"oidc-provider/ack-rrsa-{detail['cluster_id']}")
    assert rrsa["issuer"].endswith(detail["cluster_id"])
    resources = cloud.control("GET", "/status")["resources"]
    assert resources["ims_oidc_providers"] == 1
    change = cs.ModifyClusterRequest(enable_rrsa=False)
    told = refusal(lambda: cloud.client("cs").modify_cluster(detail["cluster_id"], change))
    assert "RRSA" in told


def test_add_ons_are_installed_configured_and_taken_off(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents the provider's add-on resource from finding nothing to read."""
    cluster_id = created(cloud, net, eventually)["cluster_id"]
    client = cloud.client("cs")
    wanted = cs.InstallClusterAddonsRequest(
        body=[cs.InstallClusterAddonsRequestBody(name="metrics-server", config='{"a":1}')]
    )
    client.install_cluster_addons(cluster_id, wanted)
    change = cs.ModifyClusterAddonRequest(config='{"b":2}')
    client.modify_cluster_addon(cluster_id, "metrics-server", change)
    instance = client.get_cluster_addon_instance(cluster_id, "metrics-server").body
    assert json.loads(instance.config) == {"a": 1, "b": 2}
    addons = [cs.UnInstallClusterAddonsRequestAddons(name="metrics-server")]
    client.un_install_cluster_addons(cluster_id, cs.UnInstallClusterAddonsRequest(addons=addons))
    told = refusal(lambda: client.get_cluster_addon_instance(cluster_id, "metrics-server"))
    assert "AddonNotFound" in told


def test_a_cluster_keeps_its_network(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents a vSwitch from being deleted under a cluster."""
    created(cloud, net, eventually)
    request = vpc.DeleteVSwitchRequest(v_switch_id=net.vswitch_id, region_id="cn-hangzhou")
    assert "DependencyViolation" in refusal(lambda: cloud.client("vpc").delete_vswitch(request))


def test_a_creation_goes_on_after_a_restart(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents a killed emulator from leaving a cluster that is being created for ever."""
    cloud.cloud.settings.time_scale = 50.0  # longer than the test: the stop interrupts it
    answer = cloud.client("cs").create_cluster(body(net)).body
    cloud.restart()
    client = cloud.client("cs")
    eventually(lambda: client.describe_task_info(answer.task_id).body.state == "success")
    assert client.describe_cluster_detail(answer.cluster_id).body.state == "running"


def test_a_cluster_and_an_elastic_address_never_share_one(cloud: RunningCloud, net: World) -> None:
    """Prevents an address from being handed out while a cluster's API server is being made."""
    client = cloud.client("vpc")
    cloud.client("cs").create_cluster(body(net))
    request = vpc.AllocateEipAddressRequest(region_id="cn-hangzhou")
    address = client.allocate_eip_address(request).body.eip_address
    (reserved,) = [row["public_ip"] for _, _, row in cloud.cloud.rows("clusters")]
    assert address != reserved


def test_a_users_key_needs_the_permission(cloud: RunningCloud, net: World) -> None:
    """Prevents a policy without CS from passing a rehearsal, and its refusal from being unread."""
    policy = {
        "Version": "1",
        "Statement": [{"Effect": "Allow", "Action": "cs:Describe*", "Resource": "*"}],
    }
    client = cloud.client("cs", key=cloud.user_key(policy))
    assert client.describe_clusters(cs.DescribeClustersRequest()).body == []
    told = refusal(lambda: client.create_cluster(body(net)))
    assert "StatusForbidden" in told
    assert "cs:CreateCluster" in told


def test_a_running_cluster_runs_again_after_a_restart(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents a cloud that was started again from having clusters that nobody runs."""
    cluster_id = created(cloud, net, eventually)["cluster_id"]
    cloud.emulator.stop()
    cloud.clusters.delete(cluster_id)
    cloud.begin()
    eventually(lambda: cloud.clusters.running(cluster_id))
    request = cs.DescribeClusterUserKubeconfigRequest(private_ip_address=False)
    assert cloud.client("cs").describe_cluster_user_kubeconfig(cluster_id, request).body.config


def test_a_reset_takes_the_clusters_along(
    cloud: RunningCloud, net: World, eventually: Eventually
) -> None:
    """Prevents processes of clusters that the cloud has forgotten."""
    cluster_id = created(cloud, net, eventually)["cluster_id"]
    cloud.control("POST", "/reset")
    assert not cloud.clusters.running(cluster_id)
    assert cloud.control("GET", "/status")["empty"]


def test_versions_are_listed_newest_first(cloud: RunningCloud) -> None:
    """Prevents get_kubernetes_version from finding nothing for the profile Acs."""
    request = cs.DescribeKubernetesVersionMetadataRequest(
        region="cn-hangzhou", cluster_type="ManagedKubernetes", profile="Acs"
    )
    found = cloud.client("cs").describe_kubernetes_version_metadata(request).body
    versions = [item.version for item in found]
    assert versions[0].startswith("1.34")
    assert all(version.endswith("-aliyun.1") for version in versions)
