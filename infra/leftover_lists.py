"""Kinds of cloud resources that have a list with tags: how each is found and deleted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

RELEASE = "kubernetes:helm.sh/v3:Release"
CLUSTER = "alicloud:cs/managedKubernetes:ManagedKubernetes"
BALANCER = "alicloud:slb/applicationLoadBalancer:ApplicationLoadBalancer"
ACCESS_LIST = "alicloud:slb/acl:Acl"
NAT_GATEWAY = "alicloud:vpc/natGateway:NatGateway"
INSTANCE = "alicloud:ecs/instance:Instance"
DISK = "alicloud:ecs/ecsDisk:EcsDisk"
ADDRESS = "alicloud:ecs/eipAddress:EipAddress"
SECURITY_GROUP = "alicloud:ecs/securityGroup:SecurityGroup"
VSWITCH = "alicloud:vpc/switch:Switch"
VPC = "alicloud:vpc/network:Network"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """How a kind that has a list with tags is found and deleted.

    Attributes:
        action: lists them; ``rows`` leads to the list in its answer.
        filters: parameter of the action by input of the resource; ``fixed``: more parameters.
        name: field of a row and the input that it must equal, where the filters do not see to it.
        id_key: field of a row, and parameter of the action ``delete``; ``force``: more of those.
    """

    product: str
    action: str
    rows: tuple[str, str]
    filters: Mapping[str, str]
    fixed: Mapping[str, str] = field(default_factory=dict)
    name: tuple[str, str] | None = None
    id_key: str
    delete: str
    force: Mapping[str, str] = field(default_factory=dict)


LISTED: Mapping[str, Listing] = {
    INSTANCE: Listing(
        product="ecs", action="DescribeInstances", rows=("Instances", "Instance"),
        filters={"InstanceName": "instanceName", "VSwitchId": "vswitchId"},
        fixed={"PageSize": "100"},
        id_key="InstanceId", delete="DeleteInstance", force={"Force": "true"},
    ),
    DISK: Listing(
        product="ecs", action="DescribeDisks", rows=("Disks", "Disk"),
        filters={"DiskName": "diskName"}, fixed={"PageSize": "100"},
        id_key="DiskId", delete="DeleteDisk",
    ),
    ADDRESS: Listing(
        product="vpc", action="DescribeEipAddresses", rows=("EipAddresses", "EipAddress"),
        filters={"EipName": "addressName"}, fixed={"PageSize": "100"},
        name=("Name", "addressName"), id_key="AllocationId", delete="ReleaseEipAddress",
    ),
    BALANCER: Listing(
        product="slb", action="DescribeLoadBalancers", rows=("LoadBalancers", "LoadBalancer"),
        filters={"LoadBalancerName": "loadBalancerName"}, fixed={"PageSize": "100"},
        name=("LoadBalancerName", "loadBalancerName"),
        id_key="LoadBalancerId", delete="DeleteLoadBalancer",
    ),
    ACCESS_LIST: Listing(
        product="slb", action="DescribeAccessControlLists", rows=("Acls", "Acl"),
        filters={"AclName": "name"}, fixed={"PageSize": "50"},
        name=("AclName", "name"), id_key="AclId", delete="DeleteAccessControlList",
    ),
    NAT_GATEWAY: Listing(
        product="vpc", action="DescribeNatGateways", rows=("NatGateways", "NatGateway"),
        filters={"VpcId": "vpcId"}, fixed={"PageSize": "50"},
        name=("Name", "natGatewayName"), id_key="NatGatewayId", delete="DeleteNatGateway",
        # With the rules of its tables.
        force={"Force": "true"},
    ),
    SECURITY_GROUP: Listing(
        product="ecs", action="DescribeSecurityGroups", rows=("SecurityGroups", "SecurityGroup"),
        filters={"VpcId": "vpcId", "SecurityGroupName": "securityGroupName"},
        id_key="SecurityGroupId", delete="DeleteSecurityGroup",
    ),
    VSWITCH: Listing(
        product="vpc", action="DescribeVSwitches", rows=("VSwitches", "VSwitch"),
        filters={"VpcId": "vpcId"}, fixed={"PageSize": "50"},
        name=("VSwitchName", "vswitchName"), id_key="VSwitchId", delete="DeleteVSwitch",
    ),
    VPC: Listing(
        product="vpc", action="DescribeVpcs", rows=("Vpcs", "Vpc"),
        filters={"VpcName": "vpcName"}, fixed={"PageSize": "50"},
        name=("VpcName", "vpcName"), id_key="VpcId", delete="DeleteVpc",
    ),
}  # fmt: skip
