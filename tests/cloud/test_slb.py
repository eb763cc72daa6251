"""Classic load balancers, their access lists, listeners and server groups, by Alibaba's SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest
from alibabacloud_slb20140515 import models as slb
from alibabacloud_vpc20160428 import models as vpc

from .conftest import RunningCloud
from .ecs_world import REGION, World, refused


def made(cloud: RunningCloud, **fields: Any) -> Any:
    """A new load balancer's answer."""
    request = slb.CreateLoadBalancerRequest(region_id=REGION, **fields)
    return cloud.client("slb").create_load_balancer(request).body


def shown(cloud: RunningCloud, balancer_id: str) -> Any:
    cloud.clock.advance(1)
    request = slb.DescribeLoadBalancerAttributeRequest(
        region_id=REGION, load_balancer_id=balancer_id
    )
    return cloud.client("slb").describe_load_balancer_attribute(request).body


def new_acl(cloud: RunningCloud, *entries: str) -> str:
    client = cloud.client("slb")
    request = slb.CreateAccessControlListRequest(region_id=REGION, acl_name="office")
    acl_id = str(client.create_access_control_list(request).body.acl_id)
    if entries:
        text = json.dumps([None, *({"entry": entry, "comment": "a"} for entry in entries)])
        client.add_access_control_list_entry(
            slb.AddAccessControlListEntryRequest(region_id=REGION, acl_id=acl_id, acl_entrys=text)
        )
    return acl_id


def test_a_public_balancer_has_an_address_of_the_pool(cloud: RunningCloud) -> None:
    """Prevents a balancer and an elastic address from having the same address."""
    answer = made(cloud, load_balancer_name="films")
    eip = (
        cloud.client("vpc")
        .allocate_eip_address(vpc.AllocateEipAddressRequest(region_id=REGION))
        .body
    )
    assert answer.address.startswith("203.0.113.")
    assert answer.address != eip.eip_address
    detail = shown(cloud, answer.load_balancer_id)
    assert (detail.load_balancer_status, detail.address_type) == ("active", "internet")
    assert (detail.pay_type, detail.instance_charge_type) == ("PayOnDemand", "PayByCLCU")


def test_the_pool_of_public_addresses_ends(cloud: RunningCloud) -> None:
    """Prevents addresses from being handed out that nothing routes."""
    for _ in range(13):
        made(cloud)
    with refused("ResourceNotAvailable.PublicAddress"):
        made(cloud)


def test_a_private_balancer_takes_an_address_of_its_vswitch_and_holds_it(
    cloud: RunningCloud,
) -> None:
    """Prevents a vSwitch from going under a balancer, and an address from being used twice."""
    world = World(cloud)
    answer = made(cloud, address_type="intranet", v_switch_id=world.vswitch_id)
    other = made(cloud, address_type="intranet", v_switch_id=world.vswitch_id)
    assert answer.address.startswith("10.1.1.")
    assert answer.address != other.address
    request = vpc.DeleteVSwitchRequest(region_id=REGION, v_switch_id=world.vswitch_id)
    with refused("DependencyViolation", answer.load_balancer_id):
        cloud.client("vpc").delete_vswitch(request)


def test_settings_change_in_place_and_protection_holds(cloud: RunningCloud) -> None:
    """Prevents a change of the provider from being lost, or protection from being ignored."""
    client = cloud.client("slb")
    balancer_id = made(cloud, delete_protection="on").load_balancer_id
    client.set_load_balancer_name(
        slb.SetLoadBalancerNameRequest(
            region_id=REGION, load_balancer_id=balancer_id, load_balancer_name="reels"
        )
    )
    client.set_load_balancer_status(
        slb.SetLoadBalancerStatusRequest(
            region_id=REGION, load_balancer_id=balancer_id, load_balancer_status="inactive"
        )
    )
    detail = shown(cloud, balancer_id)
    assert (detail.load_balancer_name, detail.load_balancer_status) == ("reels", "inactive")
    delete = slb.DeleteLoadBalancerRequest(region_id=REGION, load_balancer_id=balancer_id)
    with refused("OperationDenied.DeleteProtectionIsOn"):
        client.delete_load_balancer(delete)
    client.set_load_balancer_delete_protection(
        slb.SetLoadBalancerDeleteProtectionRequest(
            region_id=REGION, load_balancer_id=balancer_id, delete_protection="off"
        )
    )
    client.delete_load_balancer(delete)
    with refused("InvalidLoadBalancerId.NotFound", status=404):
        shown(cloud, balancer_id)
    assert cloud.control("GET", "/status")["empty"]


def test_a_service_that_is_not_opened_is_refused(cloud: RunningCloud) -> None:
    """Prevents the first failure of a new account from being untestable."""
    cloud.control("POST", "/account", {"closed_services": ["slb"]})
    with refused("SERVICE_NOT_OPEN"):
        made(cloud)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"address_type": "intranet"}, "InvalidParameter.VSwitchId"),
        ({"load_balancer_spec": "huge"}, "InvalidParameter.LoadBalancerSpec"),
        ({"address_ipversion": "ipv6"}, "InvalidParameter.AddressIPVersion"),
        ({"pay_type": "PrePay"}, "InvalidParameter.PayType"),
        ({"master_zone_id": "cn-nowhere-a"}, "InvalidParameter.MasterZoneId"),
        ({"address_type": "intranet", "v_switch_id": "vsw-none"}, "InvalidVSwitchId.NotFound"),
    ],
)
def test_a_balancer_that_cannot_be_is_refused(
    cloud: RunningCloud, fields: dict[str, Any], code: str
) -> None:
    """Prevents a rehearsal from creating what the real service refuses."""
    with refused(code):
        made(cloud, **fields)


def test_access_list_entries_come_and_go(cloud: RunningCloud) -> None:
    """Prevents an attached entry from not being found again by its text."""
    client = cloud.client("slb")
    acl_id = new_acl(cloud, "198.51.100.0/24", "10.0.0.0/8")
    detail = client.describe_access_control_list_attribute(
        slb.DescribeAccessControlListAttributeRequest(region_id=REGION, acl_id=acl_id)
    ).body
    assert [e.acl_entry_ip for e in detail.acl_entrys.acl_entry] == [
        "198.51.100.0/24",
        "10.0.0.0/8",
    ]
    remove = slb.RemoveAccessControlListEntryRequest(
        region_id=REGION, acl_id=acl_id, acl_entrys='[{"entry":"10.0.0.0/8"}]'
    )
    client.remove_access_control_list_entry(remove)
    with refused("AclEntryEmpty"):
        client.remove_access_control_list_entry(remove)
    for entry, code in (
        ("198.51.100.0/24", "DuplicateAclEntry"),
        ("198.51.100.1/24", "InvalidParam.AclEntry"),
    ):
        with refused(code):
            client.add_access_control_list_entry(
                slb.AddAccessControlListEntryRequest(
                    region_id=REGION, acl_id=acl_id, acl_entrys=json.dumps([{"entry": entry}])
                )
            )


def test_a_listener_forwards_from_a_group_and_keeps_its_access_list(cloud: RunningCloud) -> None:
    """Prevents what a cloud controller makes for a Service from being refused or half kept."""
    client = cloud.client("slb")
    balancer_id = made(cloud).load_balancer_id
    acl_id = new_acl(cloud, "198.51.100.0/24")
    servers = [{"ServerId": "eni-1", "ServerIp": "10.1.1.7", "Port": "8443", "Type": "eni"}]
    group = client.create_vserver_group(
        slb.CreateVServerGroupRequest(
            region_id=REGION,
            load_balancer_id=balancer_id,
            vserver_group_name="k8s/443",
            backend_servers=json.dumps(servers),
        )
    ).body
    create = slb.CreateLoadBalancerTCPListenerRequest(
        region_id=REGION,
        load_balancer_id=balancer_id,
        listener_port=443,
        bandwidth=-1,
        vserver_group_id=group.vserver_group_id,
        acl_id=acl_id,
        acl_status="on",
        acl_type="white",
        established_timeout=900,
    )
    client.create_load_balancer_tcplistener(create)
    with refused("ListenerAlreadyExists"):
        client.create_load_balancer_tcplistener(create)
    start = slb.StartLoadBalancerListenerRequest(
        region_id=REGION, load_balancer_id=balancer_id, listener_port=443
    )
    client.start_load_balancer_listener(start)
    listener = client.describe_load_balancer_tcplistener_attribute(
        slb.DescribeLoadBalancerTCPListenerAttributeRequest(
            region_id=REGION, load_balancer_id=balancer_id, listener_port=443
        )
    ).body
    assert (listener.status, listener.acl_id, listener.acl_status) == ("running", acl_id, "on")
    assert listener.vserver_group_id == group.vserver_group_id
    ports = shown(cloud, balancer_id).listener_ports.listener_port
    assert [int(port) for port in ports] == [443]
    with refused("AclInUsed", balancer_id):
        client.delete_access_control_list(
            slb.DeleteAccessControlListRequest(region_id=REGION, acl_id=acl_id)
        )
    with refused("RspoolVipExist"):
        client.delete_vserver_group(
            slb.DeleteVServerGroupRequest(region_id=REGION, vserver_group_id=group.vserver_group_id)
        )
    client.delete_load_balancer_listener(
        slb.DeleteLoadBalancerListenerRequest(
            region_id=REGION, load_balancer_id=balancer_id, listener_port=443
        )
    )
    client.delete_access_control_list(
        slb.DeleteAccessControlListRequest(region_id=REGION, acl_id=acl_id)
    )
    client.delete_load_balancer(
        slb.DeleteLoadBalancerRequest(region_id=REGION, load_balancer_id=balancer_id)
    )
    assert cloud.control("GET", "/status")["empty"]


def test_backends_come_and_go_and_change_their_weight(cloud: RunningCloud) -> None:
    """Prevents a group from keeping pods that are gone, or from inventing ones."""
    client = cloud.client("slb")
    balancer_id = made(cloud).load_balancer_id

    def servers(port: int, weight: int = 100) -> str:
        return json.dumps([{"ServerId": "eni-1", "Port": port, "Weight": weight, "Type": "eni"}])

    group_id = client.create_vserver_group(
        slb.CreateVServerGroupRequest(
            region_id=REGION, load_balancer_id=balancer_id, backend_servers=servers(1)
        )
    ).body.vserver_group_id
    named = {"region_id": REGION, "vserver_group_id": group_id}
    client.add_vserver_group_backend_servers(
        slb.AddVServerGroupBackendServersRequest(**named, backend_servers=servers(2))
    )
    client.remove_vserver_group_backend_servers(
        slb.RemoveVServerGroupBackendServersRequest(**named, backend_servers=servers(1))
    )
    client.set_vserver_group_attribute(
        slb.SetVServerGroupAttributeRequest(**named, backend_servers=servers(2, 10))
    )
    shown_group = client.describe_vserver_group_attribute(
        slb.DescribeVServerGroupAttributeRequest(**named)
    ).body
    backends = shown_group.backend_servers.backend_server
    assert [(one.port, one.weight) for one in backends] == [(2, 10)]
    with refused("InvalidParameter.BackendServers"):
        client.set_vserver_group_attribute(
            slb.SetVServerGroupAttributeRequest(**named, backend_servers=servers(3))
        )


def test_tags_of_balancers_and_lists_are_kept(cloud: RunningCloud) -> None:
    """Prevents the provider from seeing a difference in tags at every refresh."""
    client = cloud.client("slb")
    for kind, resource_id in (("instance", made(cloud).load_balancer_id), ("acl", new_acl(cloud))):
        client.tag_resources(
            slb.TagResourcesRequest(
                region_id=REGION,
                resource_type=kind,
                resource_id=[resource_id],
                tag=[slb.TagResourcesRequestTag(key="owner", value="us")],
            )
        )
        answer = client.list_tag_resources(
            slb.ListTagResourcesRequest(
                region_id=REGION, resource_type=kind, resource_id=[resource_id]
            )
        ).body
        assert [(t.tag_key, t.tag_value) for t in answer.tag_resources.tag_resource] == [
            ("owner", "us")
        ]
