"""The whole ACS deployment on a recording mock engine: what is declared, and with which secrets."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pulumi
import pytest
import yaml

from infra import cards, config
from infra.components import release
from infra.components.cluster_results import permissions, trust_policy
from infra.config import Settings
from infra.deployments import acs
from tests.unit.infra.mock_engine import CERTIFICATE, Recorder
from tests.unit.infra.test_cluster_access import answer

SECRETS = ("t" * 43, "PRIVATE-KEY", "hunter2")


class Cloud(Recorder):
    """Answers what the ACS target asks."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, Any]:
        name, outputs = super().new_resource(args)
        if args.typ.endswith("ManagedKubernetes"):
            outputs["connections"] = {"apiServerIntranet": "https://10.80.0.9:6443"}
            outputs["rrsaMetadata"] = {
                "ramOidcProviderArn": "acs:ram::1:oidc-provider/ack-rrsa-c1",
                "rrsaOidcIssuerUrl": "https://oidc-ack-cn-hangzhou.example.com/c1",
            }
        if args.typ.endswith("ApplicationLoadBalancer"):
            outputs["address"] = "203.0.113.20"
        if args.typ.endswith("NatGateway"):
            outputs["snatTableIds"] = "stb-1"
        return name, outputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        self.calls.append(args)
        if args.token == "alicloud:index/getZones:getZones":
            ids = ["cn-hangzhou-j", "cn-hangzhou-b", "cn-hangzhou-k"]
            return {"ids": ids, "id": "x", "zones": []}
        if args.token == "alicloud:cs/getKubernetesVersion:getKubernetesVersion":
            rows = [{"version": f"1.{minor}.1-aliyun.1", "runtimes": []} for minor in (34, 33)]
            return {"metadatas": rows, "id": "x"}
        if args.token == "alicloud:cs/getClusterCredential:getClusterCredential":
            return {"kubeConfig": answer()["config"], "id": "x", "clusterId": "cluster-id"}
        raise AssertionError(f"unexpected call {args.token}")


@pytest.fixture(autouse=True)
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The mock engine takes the current loop, which tests before may have closed."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


def settings(raw: dict[str, Any], **changes: str) -> Settings:
    return config.parse(
        {**raw, "target": "acs", **changes},
        project="wan-vace",
        stack="dev",
        secret_keys=["registryPassword"],
    )


def deploy(wanted: Settings, cloud: Cloud) -> dict[str, Any]:
    pulumi.runtime.set_mocks(cloud, project="wan-vace", stack="dev", preview=False)
    results: dict[str, Any] = {}

    async def program() -> None:
        for name, value in acs.deploy(wanted).items():
            results[name] = await pulumi.Output.from_input(value).future()

    pulumi.runtime.test(program)()
    return results


def test_the_cluster_says_everything_that_defaults_the_wrong_way(raw: dict[str, Any]) -> None:
    """Prevents a second NAT gateway, client keys in the state, and leftovers that are paid for."""
    cloud = Cloud()
    deploy(settings(raw, apiServerPublic="false", deletionProtection="true"), cloud)
    cluster = cloud.one("ManagedKubernetes")
    assert cluster["profile"] == "Acs"
    assert cluster["newNatGateway"] is False
    assert cluster["slbInternetEnabled"] is False
    assert cluster["enableRrsa"] is True
    assert cluster["isEnterpriseSecurityGroup"] is True
    assert cluster["skipSetCertificateAuthority"] is True
    assert cluster["deletionProtection"] is True
    assert cluster["version"] == "1.34.1-aliyun.1"
    assert cluster["serviceCidr"] == "172.21.0.0/20"
    assert {row["resourceType"] for row in cluster["deleteOptions"]} == {
        "SLB", "ALB", "PrivateZone", "SLS_Data", "SLS_ControlPlane"
    }  # fmt: skip
    assert {row["deleteMode"] for row in cluster["deleteOptions"]} == {"delete"}


def test_pods_have_two_zones_and_an_address_each(raw: dict[str, Any]) -> None:
    cloud = Cloud()
    deploy(settings(raw), cloud)
    switches = [item.inputs for item in cloud.of("switch:Switch")]
    assert [row["zoneId"] for row in switches] == ["cn-hangzhou-b", "cn-hangzhou-j"]
    assert [row["cidrBlock"] for row in switches] == ["10.80.0.0/20", "10.80.16.0/20"]


@pytest.mark.parametrize(("vpc", "first"), [("10.80.0.0/16", 20), ("10.80.0.0/24", 25)])
def test_small_vpcs_are_halved(raw: dict[str, Any], vpc: str, first: int) -> None:
    one, two = settings(raw, vpcCidr=vpc).pod_cidrs
    assert (one.prefixlen, two.prefixlen) == (first, first)
    assert not one.overlaps(two)


def test_a_nat_gateway_is_made_only_when_wanted(raw: dict[str, Any]) -> None:
    cloud = Cloud()
    deploy(settings(raw, natGateway="false"), cloud)
    assert cloud.of("natGateway:NatGateway") == cloud.of("eipAddress:EipAddress") == []
    cloud = Cloud()
    deploy(settings(raw), cloud)
    assert cloud.one("natGateway:NatGateway")["internetChargeType"] == "PayByLcu"
    assert len(cloud.of("snatEntry:SnatEntry")) == 2
    assert cloud.one("eipAssociation:EipAssociation")["instanceType"] == "Nat"


def test_the_list_of_the_load_balancer_is_never_empty(raw: dict[str, Any]) -> None:
    """An empty white list of a CLB lets everybody in; ours holds the VPC at least."""
    cloud = Cloud()
    deploy(settings(raw), cloud)
    assert cloud.one("aclEntryAttachment:AclEntryAttachment")["entry"] == "10.80.0.0/16"
    annotations = cloud.one("helm.sh/v3:Release")["values"]["service"]["annotations"]
    prefix = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-"
    assert annotations[f"{prefix}acl-status"] == "on"
    assert annotations[f"{prefix}acl-type"] == "white"
    assert annotations[f"{prefix}acl-id"] == "balancer-id"
    assert annotations[f"{prefix}force-override-listeners"] == "true"


def test_named_networks_may_come_in(raw: dict[str, Any]) -> None:
    cloud = Cloud()
    deploy(settings(raw, allowedCidrs='["203.0.113.0/24"]'), cloud)
    entries = {item.inputs["entry"] for item in cloud.of("AclEntryAttachment")}
    assert entries == {"10.80.0.0/16", "203.0.113.0/24"}


def test_an_intranet_balancer_lies_in_the_vpc(raw: dict[str, Any]) -> None:
    cloud = Cloud()
    deploy(settings(raw, loadBalancerAddressType="intranet"), cloud)
    balancer = cloud.one("ApplicationLoadBalancer")
    assert (balancer["addressType"], balancer["vswitchId"]) == ("intranet", "network-1-id")


def test_no_plain_resource_holds_a_secret(raw: dict[str, Any]) -> None:
    """Secrets may stand in Kubernetes Secrets and in the resources that make them, only there."""
    login = {
        "registryHost": "registry.example.com",
        "registryUsername": "puller",
        "registryPassword": "hunter2-hunter2",
    }
    cloud = Cloud()
    deploy(settings(raw, **login), cloud)
    makers = ("v1:Secret", "ApiToken", "CertificateAuthority", "ServerCertificate")
    for item in cloud.resources:
        if not item.typ.endswith(makers):
            text = json.dumps(item.inputs, default=str)
            assert not [secret for secret in SECRETS if secret in text], item.typ
    assert len(cloud.of("v1:Secret")) == 3
    assert cloud.one("helm.sh/v3:Release")["values"]["images"]["pullSecrets"] == ["vace-registry"]


def test_the_release_does_not_wait_but_the_rollout_does(raw: dict[str, Any]) -> None:
    cloud = Cloud()
    deploy(settings(raw), cloud)
    helm = cloud.one("helm.sh/v3:Release")
    assert (helm["name"], helm["namespace"], helm["skipAwait"]) == ("vace", "wan-vace-dev", True)
    assert not helm["chart"].startswith("/")
    rollout = cloud.one("Rollout")
    assert rollout["timeout_seconds"] == 2400 + 1800
    assert len(rollout["triggers"]) == 2


def test_values_name_the_card_its_driver_and_a_guaranteed_size(raw: dict[str, Any]) -> None:
    cloud = Cloud()
    deploy(settings(raw, bestEffort="true", gpuCardLabel="GN8IS", hostname="v.example.com"), cloud)
    values = cloud.one("helm.sh/v3:Release")["values"]
    assert values["acs"]["gpuSeries"] == "GN8IS"
    assert values["acs"]["gpuDriverVersion"] == "580.95.05-open"
    assert values["acs"]["computeQos"] == "best-effort"
    assert values["gpu"] == {"count": 1, "resourceName": "nvidia.com/gpu"}
    assert values["comfyui"]["resources"]["memory"] == "64Gi"
    assert values["gateway"]["allowedHosts"] == ["203.0.113.20", "v.example.com"]
    assert values["images"]["gateway"]["tag"] == "1.0"
    assert values["images"]["gateway"]["repository"] == "registry.example.com/vace/gateway"


def test_a_new_token_restarts_the_gateway_and_shows_nothing(raw: dict[str, Any]) -> None:
    cloud = Cloud()
    deploy(settings(raw), cloud)
    seal = cloud.one("helm.sh/v3:Release")["values"]["gateway"]["podAnnotations"][
        release.CREDENTIALS
    ]
    assert seal == release.fingerprint("t" * 43, CERTIFICATE)


def test_results_go_to_a_bucket_by_a_role_of_one_service_account(raw: dict[str, Any]) -> None:
    cloud = Cloud()
    outputs = deploy(settings(raw, resultsInBucket="true"), cloud)
    assert outputs["resultsBucket"] == "wan-vace-dev-results-0a1b2c3d"
    trust = json.loads(cloud.one("role:Role")["assumeRolePolicyDocument"])
    condition = trust["Statement"][0]["Condition"]["StringEquals"]
    assert condition["oidc:sub"] == ["system:serviceaccount:ack-csi-fuse:csi-fuse-ossfs"]
    assert cloud.one("helm.sh/v3:Release")["values"]["persistence"]["output"] == {
        "existingClaim": "results"
    }
    attributes = cloud.one("PersistentVolume")["spec"]["csi"]["volumeAttributes"]
    assert attributes["authType"] == "rrsa"
    assert attributes["url"] == "oss-cn-hangzhou-internal.aliyuncs.com"


def test_without_a_bucket_there_is_no_role(raw: dict[str, Any]) -> None:
    cloud = Cloud()
    outputs = deploy(settings(raw), cloud)
    assert outputs["resultsBucket"] == ""
    assert cloud.of("role:Role") == cloud.of("bucket:Bucket") == []


def test_the_results_role_may_not_delete_and_trusts_nobody_else() -> None:
    assert "Delete" not in permissions("b")
    assert '"acs:oss:*:*:b/outputs/*"' in permissions("b")
    document = trust_policy(provider_arn="arn", issuer="iss", namespace="ns", account="sa")
    statement = json.loads(document)["Statement"][0]
    assert statement["Principal"] == {"Federated": ["arn"]}
    assert set(statement["Condition"]["StringEquals"]) == {"oidc:aud", "oidc:iss", "oidc:sub"}


def test_outputs_say_how_to_use_it_and_what_it_costs(raw: dict[str, Any]) -> None:
    outputs = deploy(settings(raw), Cloud())
    assert outputs["url"] == "https://203.0.113.20/"
    assert outputs["clusterId"] == "cluster-id"
    assert "infra.cluster_access" in outputs["kubeconfig"]
    assert "no published price" in outputs["costPerHour"]
    assert "smoke_tests" in outputs["smokeTestCommand"]


def test_a_private_cluster_is_reached_inside_the_vpc(raw: dict[str, Any]) -> None:
    outputs = deploy(settings(raw, apiServerPublic="false"), Cloud())
    assert "https://10.80.0.9:6443" in outputs["kubeconfig"]
    assert "--private" in outputs["kubeconfig"]


def test_an_enterprise_registry_is_linked_and_needs_no_password(raw: dict[str, Any]) -> None:
    cloud = Cloud()
    deploy(settings(raw, acrInstanceId="cri-abc123"), cloud)
    helper = cloud.one("ManagedKubernetes")["addons"][-1]
    assert helper["name"] == "managed-aliyun-acr-credential-helper"
    assert json.loads(helper["config"])["watchNamespace"] == "wan-vace-dev"
    assert cloud.one("VpcEndpointLinkedVpc")["instanceId"] == "cri-abc123"


def test_nothing_is_declared_when_the_pod_is_impossible(raw: dict[str, Any]) -> None:
    cloud = Cloud()
    with pytest.raises(cards.CardError, match="podVcpu"):
        deploy(settings(raw, podVcpu="9"), cloud)
    assert cloud.resources == []


def test_every_taggable_resource_carries_the_tags(raw: dict[str, Any]) -> None:
    """Prevents an orphan that no reaper and no bill can assign."""
    cloud = Cloud()
    deploy(settings(raw, resultsInBucket="true"), cloud)
    taggable = ("Network", "Switch", "NatGateway", "EipAddress", "ManagedKubernetes", "Acl")
    taggable += ("ApplicationLoadBalancer", "Role", "Policy", "Bucket")
    seen = set()
    for item in cloud.resources:
        kind = item.typ.rsplit(":", 1)[1]
        if item.typ.startswith("alicloud:") and kind in taggable:
            assert item.inputs["tags"]["owner"] == "video-team", item.typ
            seen.add(kind)
    assert seen == set(taggable)


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("registry.example.com/vace/c", ("registry.example.com/vace/c", "")),
        ("registry.example.com:5000/vace/c", ("registry.example.com:5000/vace/c", "")),
        ("registry.example.com:5000/c:1.0", ("registry.example.com:5000/c", "1.0")),
    ],
)
def test_references_are_taken_apart_without_losing_a_port(
    reference: str, parts: tuple[str, str]
) -> None:
    digest = "sha256:" + "ab" * 32
    found = release.image(f"{reference}@{digest}")
    assert (found["repository"], found["tag"], found["digest"]) == (*parts, digest)


def test_every_value_that_is_set_exists_in_the_chart(raw: dict[str, Any]) -> None:
    """The chart refuses unknown names, but only once a cluster was made and paid for."""
    cloud = Cloud()
    login = {
        "registryHost": "registry.example.com",
        "registryUsername": "puller",
        "registryPassword": "hunter2-hunter2",
    }
    deploy(settings(raw, resultsInBucket="true", **login), cloud)
    chart = yaml.safe_load((release.CHART / "values.yaml").read_text(encoding="utf-8"))

    def walk(given: dict[str, Any], known: dict[str, Any], path: str) -> None:
        for key, value in given.items():
            assert key in known, f"{path}{key}"
            if isinstance(value, dict) and known[key]:  # an empty map is free
                walk(value, known[key], f"{path}{key}.")

    walk(cloud.one("helm.sh/v3:Release")["values"], chart, "")
