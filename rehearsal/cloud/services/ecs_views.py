"""ECS 2014-05-26: what an instance looks like from outside: the Describe actions."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import base64
from typing import Any

from rehearsal.cloud import catalogue
from rehearsal.cloud.errors import missing_parameter
from rehearsal.cloud.images import IMAGES
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.ecs_common import (
    eip_of,
    find_instance,
    instance_status,
    live_instances,
)
from rehearsal.cloud.services.ecs_instances import INSTANCE
from rehearsal.cloud.services.lookups import (
    ECS,
    Row,
    among,
    arn,
    here,
    matching,
    page,
    tag_list,
    with_tags,
)
from rehearsal.cloud.state import Cloud, RegionState

NEVER = "2099-12-31T15:59Z"
_INSTANCES = arn("ecs", "instance")


@action(*ECS, read_only=True, resource=_INSTANCES)
def DescribeInstances(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Instances of a region, with filters and pages."""
    state = here(request, cloud)
    rows = _filtered(request, cloud, state)
    chosen, paging = page(request, rows)
    return {
        "Instances": {"Instance": [_view(row, state, cloud) for row in chosen]},
        **paging,
    }


def _filtered(request: Request, cloud: Cloud, state: RegionState) -> list[Row]:
    rows = among(live_instances(state, cloud), request.repeated("InstanceIds"), "InstanceId")
    rows = among(rows, request.repeated("PrivateIpAddresses"), "PrivateIp")
    rows = matching(
        rows,
        request,
        VpcId="VpcId",
        VSwitchId="VSwitchId",
        ZoneId="ZoneId",
        InstanceType="InstanceType",
        InstanceName="InstanceName",
        InstanceChargeType="InstanceChargeType",
        ImageId="ImageId",
        ResourceGroupId="ResourceGroupId",
    )
    family = request.get("InstanceTypeFamily")
    group = request.get("SecurityGroupId")
    status = request.get("Status")
    public = request.repeated("EipAddresses") + request.repeated("PublicIpAddresses")
    return [
        row
        for row in with_tags(rows, request)
        if family in ("", catalogue.INSTANCE_TYPES[row["InstanceType"]].family)
        and (not group or group in row["SecurityGroupIds"])
        and (not status or instance_status(row, cloud) == status)
        and (not public or _eip_view(state, row)["IpAddress"] in public)
    ]


@action(*ECS, read_only=True, resource=_INSTANCES)
def DescribeInstanceStatus(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Only the status of instances."""
    state = here(request, cloud)
    rows = among(live_instances(state, cloud), request.repeated("InstanceId"), "InstanceId")
    rows = matching(rows, request, ZoneId="ZoneId")
    chosen, paging = page(request, rows, maximum=50)
    paging.pop("NextToken")
    return {
        "InstanceStatuses": {
            "InstanceStatus": [
                {"InstanceId": row["InstanceId"], "Status": instance_status(row, cloud)}
                for row in chosen
            ]
        },
        **paging,
    }


@action(*ECS, read_only=True, resource=INSTANCE)
def DescribeInstanceAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One instance, in the older form."""
    state = here(request, cloud)
    row = find_instance(state, request.required("InstanceId"), cloud)
    view = _view(row, state, cloud)
    kept = (
        *("InstanceId", "InstanceName", "Description", "Status", "ImageId", "InstanceType"),
        *("RegionId", "ZoneId", "ClusterId", "HostName", "SerialNumber", "Memory", "Cpu"),
        *("InstanceChargeType", "InternetChargeType", "InternetMaxBandwidthIn"),
        *("InternetMaxBandwidthOut", "InstanceNetworkType", "VpcAttributes", "EipAddress"),
        *("SecurityGroupIds", "PublicIpAddress", "InnerIpAddress", "CreationTime"),
        *("ExpiredTime", "StoppedMode", "OperationLocks", "VlanId", "CreditSpecification"),
        "DedicatedHostAttribute",
    )
    return {
        **{key: view[key] for key in kept},
        "IoOptimized": "optimized",
        "EnableJumboFrame": False,
    }


@action(*ECS, read_only=True, resource=INSTANCE)
def DescribeUserData(request: Request, cloud: Cloud) -> dict[str, Any]:
    """An instance's user data, in the Base64 in which it was sent."""
    state = here(request, cloud)
    row = find_instance(state, request.required("InstanceId"), cloud)
    return {
        "RegionId": state.name,
        "InstanceId": row["InstanceId"],
        "UserData": row["UserData"],
    }


@action(*ECS, read_only=True)
def DescribeInstanceMaintenanceAttributes(request: Request, cloud: Cloud) -> dict[str, Any]:
    """What should happen to instances when their host needs maintenance."""
    state = here(request, cloud)
    rows = among(live_instances(state, cloud), request.repeated("InstanceId"), "InstanceId")
    chosen, paging = page(request, rows)
    paging.pop("NextToken")
    found = []
    for row in chosen:
        kept = row.get("Maintenance", {})
        found.append(
            {
                "InstanceId": row["InstanceId"],
                "ActionOnMaintenance": {
                    "Value": kept.get("Action", "AutoRecover"),
                    "DefaultValue": "AutoRecover",
                    "SupportedValues": {"SupportedValue": ["Stop", "AutoRecover"]},
                },
                "NotifyOnMaintenance": kept.get("Notify", False),
                "MaintenanceWindows": {"MaintenanceWindow": kept.get("Windows", [])},
            }
        )
    return {"MaintenanceAttributes": {"MaintenanceAttribute": found}, **paging}


@action(*ECS, read_only=True)
def DescribeInstanceAttachmentAttributes(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Which private pools instances may use; there are none."""
    state = here(request, cloud)
    ids = request.repeated("InstanceIds")
    if not ids:
        raise missing_parameter("InstanceIds")
    rows = among(live_instances(state, cloud), ids, "InstanceId")
    chosen, paging = page(request, rows)
    paging.pop("NextToken")
    return {
        "Instances": {
            "Instance": [
                {
                    "InstanceId": row["InstanceId"],
                    "PrivatePoolOptionsMatchCriteria": "Open",
                    "PrivatePoolOptionsId": "",
                }
                for row in chosen
            ]
        },
        **paging,
    }


@action(*ECS, read_only=True)
def DescribeInstanceAutoRenewAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """How subscription instances are renewed; pay-as-you-go ones, all there are, are left out."""
    here(request, cloud)
    return {
        "InstanceRenewAttributes": {"InstanceRenewAttribute": []},
        "TotalCount": 0,
        "PageNumber": 1,
        "PageSize": 10,
    }


@action(*ECS, serialised=False, read_only=True, resource=INSTANCE)
def GetInstanceConsoleOutput(request: Request, cloud: Cloud) -> dict[str, Any]:
    """What an instance wrote to its console, in Base64."""
    with cloud.lock:
        row = find_instance(here(request, cloud), request.required("InstanceId"), cloud)
    text = cloud.hypervisor.console_output(row["InstanceId"])
    return {
        "InstanceId": row["InstanceId"],
        "ConsoleOutput": base64.b64encode(text.encode()).decode(),
        "LastUpdateTime": cloud.timestamp(),
    }


# --- the view -----------------------------------------------------------------------------------


def _eip_view(state: RegionState, row: Row) -> dict[str, Any]:
    eip = eip_of(state, row["InstanceId"])
    if eip is None:
        return {"AllocationId": "", "IpAddress": "", "Bandwidth": 0, "InternetChargeType": ""}
    return {
        "AllocationId": eip["AllocationId"],
        "IpAddress": eip["IpAddress"],
        "Bandwidth": int(eip["Bandwidth"]),
        "InternetChargeType": eip["InternetChargeType"],
        "IsSupportUnassociate": True,
    }


def interface_summary(row: Row) -> dict[str, Any]:
    """The primary network interface as DescribeInstances names it."""
    return {
        "NetworkInterfaceId": row["NetworkInterfaceId"],
        "Type": "Primary",
        "MacAddress": row["Mac"],
        "PrimaryIpAddress": row["PrivateIp"],
        "PrivateIpSets": {
            "PrivateIpSet": [{"PrivateIpAddress": row["PrivateIp"], "Primary": True}]
        },
        "Ipv6Sets": {"Ipv6Set": []},
        "Ipv4PrefixSets": {"Ipv4PrefixSet": []},
        "Ipv6PrefixSets": {"Ipv6PrefixSet": []},
    }


def _view(row: Row, state: RegionState, cloud: Cloud) -> dict[str, Any]:
    item = catalogue.INSTANCE_TYPES[row["InstanceType"]]
    image = IMAGES[row["ImageId"]]
    status = instance_status(row, cloud)
    return {
        **{
            key: row[key]
            for key in (
                *("InstanceId", "InstanceName", "Description", "HostName", "RegionId", "ZoneId"),
                *("ImageId", "InstanceType", "InstanceChargeType", "SpotStrategy", "SpotDuration"),
                *("SpotPriceLimit", "SpotInterruptionBehavior", "DeletionProtection"),
                *("AutoReleaseTime", "CreditSpecification", "SerialNumber", "ResourceGroupId"),
                *("CreationTime", "StartTime", "MetadataOptions"),
            )
        },
        "Status": status,
        "StoppedMode": row["StoppedMode"] if status == "Stopped" else "Not-applicable",
        "InstanceTypeFamily": item.family,
        "Cpu": item.vcpu,
        "Memory": item.memory_mib,
        "GPUAmount": item.gpu_amount,
        "GPUSpec": item.gpu_spec,
        # An object is required here: the provider crashes on anything else.
        "CpuOptions": {"CoreCount": item.vcpu // 2, "ThreadsPerCore": 2, "Numa": "ON"},
        "OSName": image.os_name,
        "OSNameEn": image.os_name.replace("64位", "64 bit"),
        "OSType": "linux",
        "IoOptimized": True,
        "DeviceAvailable": True,
        "Recyclable": False,
        "ExpiredTime": NEVER,
        "SaleCycle": "",
        "ClusterId": "",
        "VlanId": "",
        "KeyPairName": "",
        "HpcClusterId": "",
        "DeploymentSetId": "",
        "LocalStorageAmount": 0,
        "LocalStorageCapacity": 0,
        "InstanceNetworkType": "vpc",
        "InternetChargeType": "PayByTraffic",
        "InternetMaxBandwidthIn": -1,
        "InternetMaxBandwidthOut": 0,
        "PublicIpAddress": {"IpAddress": []},
        "InnerIpAddress": {"IpAddress": []},
        "RdmaIpAddress": {"IpAddress": []},
        "EipAddress": _eip_view(state, row),
        "VpcAttributes": {
            "VpcId": row["VpcId"],
            "VSwitchId": row["VSwitchId"],
            "NatIpAddress": "",
            "PrivateIpAddress": {"IpAddress": [row["PrivateIp"]]},
        },
        "SecurityGroupIds": {"SecurityGroupId": row["SecurityGroupIds"]},
        "NetworkInterfaces": {"NetworkInterface": [interface_summary(row)]},
        "AdditionalInfo": {"EnableHighDensityMode": False},
        "ImageOptions": {"LoginAsNonRoot": row["LoginAsNonRoot"]},
        "HibernationOptions": {"Configured": False},
        "PrivateDnsNameOptions": {},
        "DedicatedHostAttribute": {"DedicatedHostId": "", "DedicatedHostName": ""},
        "DedicatedInstanceAttribute": {"Affinity": "", "Tenancy": ""},
        "EcsCapacityReservationAttr": {
            "CapacityReservationId": "",
            "CapacityReservationPreference": "",
        },
        "OperationLocks": {"LockReason": []},
        "Tags": tag_list(row["Tags"]),
    }
