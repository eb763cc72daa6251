"""ECS 2014-05-26: RunInstances, the action with the most rules."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from rehearsal.cloud import catalogue
from rehearsal.cloud.catalogue import InstanceType
from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.hypervisor import MachineSpec
from rehearsal.cloud.images import Image
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services import machine_work
from rehearsal.cloud.services.addresses import mac_of, take_private
from rehearsal.cloud.services.ecs_common import (
    check_ecs_role,
    known_image,
    known_type,
    live_instances,
)
from rehearsal.cloud.services.ecs_disks import new_disk
from rehearsal.cloud.services.ecs_images import supports
from rehearsal.cloud.services.ecs_launch_disks import DiskPlan, data_disks, system_disk
from rehearsal.cloud.services.ecs_launch_options import (
    Options,
    check_user_data,
    read_options,
)
from rehearsal.cloud.services.ecs_security_group_rules import enforce, find_group
from rehearsal.cloud.services.ecs_stock import NO_STOCK, check_stock
from rehearsal.cloud.services.lookups import (
    ECS,
    Row,
    arn,
    change,
    here,
    minute_stamp,
    new_tags,
    quota,
    refuse_unsupported,
    status_of,
)
from rehearsal.cloud.services.vpc import DEFAULT_RESOURCE_GROUP, dry_run
from rehearsal.cloud.services.vswitches import find_vswitch
from rehearsal.cloud.state import Cloud, RegionState
from rehearsal.cloud.transitions import Transition

LAUNCHING = (Transition("Pending", "Starting", 4.0), Transition("Starting", "Running", 6.0))

# Parameters of the real API that would change what is launched and that the emulator lacks.
NOT_EMULATED = (
    *("LaunchTemplate", "DedicatedHost", "DeploymentSet", "HpcClusterId", "Ipv6Address"),
    *("StorageSet", "SystemDisk.StorageClusterId", "CpuOptions", "PrivatePoolOptions"),
    *("SecondaryPrivateIpAddress", "Arn", "Affinity", "Tenancy", "ManagedHostId"),
    *("HibernationOptions", "SecurityOptions.Tr", "SecurityOptions.C", "Ipv4Prefix"),
)


@dataclass(frozen=True)
class Plan:
    """A checked request: what each of the instances will be."""

    item: InstanceType
    image: Image
    vswitch: Row
    group_ids: list[str]
    system_disk: DiskPlan
    data_disks: list[DiskPlan]
    user_data: str
    role_name: str
    options: Options
    amount: int
    private_ip: str
    tags: dict[str, str]


@action(
    *ECS,
    serialised=False,
    resource=arn("ecs", "instance"),
    secret_params=("Password", "UserData"),
)
def RunInstances(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Launch instances of one kind. Refuses all of them when one cannot be launched."""
    with cloud.lock:
        state = here(request, cloud)
        plan = _plan(request, cloud, state)
        if request.boolean("DryRun"):
            raise dry_run()
        rows = [_create(cloud, state, plan, index) for index in range(plan.amount)]
    try:
        for row in rows:
            _launch(cloud, state, row, plan.item)
    except ApiError:
        _undo(cloud, state, rows)
        raise
    price = catalogue.hourly_price(
        plan.item.type_id, state.name, spot=plan.options.spot_strategy != "NoSpot"
    )
    return {
        "InstanceIdSets": {"InstanceIdSet": [row["InstanceId"] for row in rows]},
        "OrderId": "",
        "TradePrice": round(price * len(rows), 3),
    }


# --- checks -------------------------------------------------------------------------------------


def _plan(request: Request, cloud: Cloud, state: RegionState) -> Plan:
    refuse_unsupported(request, *NOT_EMULATED)
    item = known_type(request.required("InstanceType"))
    if not request.get("ImageId") and not request.get("ImageFamily"):
        request.required("ImageId")
    image = known_image(request.get("ImageId"), request.get("ImageFamily"))
    if not supports(image, item):
        raise ApiError(
            "InvalidInstanceType.NotSupported",
            "The specified instanceType is not supported by the image architecture. "
            f"{image.image_id} is for {image.architecture}; {item.type_id} is "
            f"{item.architecture}.",
        )
    vswitch, group_ids, private_ip = _network(request, cloud, state)
    options = read_options(request, item, state.name)
    system = system_disk(request, item, image)
    data = data_disks(request, item)
    user_data = check_user_data(request.get("UserData"))
    if user_data and not image.cloud_init:
        raise ApiError(
            "ImageNotSupportCloudInit",
            f"The specified image does not support cloud-init. Given: {image.image_id} with "
            "UserData.",
        )
    role_name = request.get("RamRoleName")
    if role_name:
        check_ecs_role(request, cloud, role_name, http_status=401)
    amount = request.integer("Amount", 1) or 0
    if not 1 <= amount <= 100 or (private_ip and amount > 1):
        raise invalid_parameter("Amount", amount, "1 to 100, and 1 when PrivateIpAddress is given")
    _check_quota(cloud, state, item, vswitch["ZoneId"], amount)
    tags = new_tags(request)
    check_stock(cloud, item, state.name, vswitch["ZoneId"])
    # A limit below the market price is answered like an empty shelf, not like a wrong parameter.
    if options.spot_price_limit is not None and options.spot_price_limit < catalogue.hourly_price(
        item.type_id, state.name, spot=True
    ):
        raise ApiError("OperationDenied.NoStock", NO_STOCK, 403)
    return Plan(
        item,
        image,
        vswitch,
        group_ids,
        system,
        data,
        user_data,
        role_name,
        options,
        amount,
        private_ip,
        tags,
    )


def _network(request: Request, cloud: Cloud, state: RegionState) -> tuple[Row, list[str], str]:
    """The vSwitch, the security groups and the wanted private address, in either form.

    The SDK sends VSwitchId and SecurityGroupId(s), or the same inside NetworkInterface.1.
    """
    interfaces = request.structs("NetworkInterface")
    if len(interfaces) > 1:
        raise ApiError(
            "InvalidParam.NetworkInterface",
            f"The emulator gives an instance one network interface. Given: {len(interfaces)}.",
        )
    first = interfaces[0] if interfaces else {}
    vswitch_id = first.get("VSwitchId") or request.required("VSwitchId")
    vswitch = find_vswitch(state, vswitch_id, cloud)
    if status_of(vswitch, cloud) != "Available":
        raise ApiError(
            "IncorrectVSwitchStatus",
            "The current status of vSwitch does not support this operation. "
            f"{vswitch_id} is {status_of(vswitch, cloud)}; wait until it is Available.",
        )
    if request.get("ZoneId") not in ("", vswitch["ZoneId"]):
        raise ApiError(
            "InvalidParameter.Mismatch",
            "Specified virtual switch is not in the specified zone. "
            f"Given: {request.get('ZoneId')}; {vswitch_id} is in {vswitch['ZoneId']}.",
        )
    nested = [v for k, v in sorted(first.items()) if k.startswith("SecurityGroupIds.")]
    single = request.get("SecurityGroupId") or first.get("SecurityGroupId", "")
    group_ids = request.repeated("SecurityGroupIds") or nested or ([single] if single else [])
    if not group_ids:
        request.required("SecurityGroupId")
    for group_id in group_ids:
        group = find_group(state, group_id, cloud)
        if group["VpcId"] != vswitch["VpcId"]:
            raise ApiError(
                "OperationDenied.InconsistentNetwork",
                "The specified security group and vswitch are not in the same vpc. "
                f"{group_id} is in {group['VpcId']}, {vswitch_id} in {vswitch['VpcId']}.",
                403,
            )
    private_ip = request.get("PrivateIpAddress") or first.get("PrimaryIpAddress", "")
    return vswitch, list(dict.fromkeys(group_ids)), private_ip


def _check_quota(
    cloud: Cloud, state: RegionState, item: InstanceType, zone: str, amount: int
) -> None:
    used = sum(
        catalogue.INSTANCE_TYPES[row["InstanceType"]].vcpu
        for row in live_instances(state, cloud)
        if row["ZoneId"] == zone
    )
    limit = quota(state, "vcpus_per_zone")
    if used + amount * item.vcpu > limit:
        raise ApiError(
            "QuotaExceed.ElasticQuota",
            "The number of vCPUs assigned to the ECS instances has exceeded the quota in the "
            f"zone. {zone} has {used} of {limit} in use; {amount} x {item.type_id} needs "
            f"{amount * item.vcpu}. Ask the Quota Center for more.",
            403,
        )


# --- doing it -----------------------------------------------------------------------------------


def _create(cloud: Cloud, state: RegionState, plan: Plan, index: int) -> Row:
    """Put the instance and its disks into the tables."""
    instance_id = cloud.new_id("i", state.name)
    interface_id = cloud.new_id("eni", state.name)
    options = plan.options
    row: Row = {
        "InstanceId": instance_id,
        "InstanceName": options.instance_name(instance_id, index),
        "Description": options.description,
        "HostName": options.host_name(instance_id, index),
        "RegionId": state.name,
        "ZoneId": plan.vswitch["ZoneId"],
        "ImageId": plan.image.image_id,
        "InstanceType": plan.item.type_id,
        "VpcId": plan.vswitch["VpcId"],
        "VSwitchId": plan.vswitch["VSwitchId"],
        "SecurityGroupIds": list(plan.group_ids),
        "NetworkInterfaceId": interface_id,
        "Mac": mac_of(interface_id),
        "PrivateIp": take_private(cloud, plan.vswitch, plan.private_ip),
        "RamRoleName": plan.role_name,
        "UserData": plan.user_data,
        "MetadataOptions": dict(options.metadata),
        "InstanceChargeType": "PostPaid",
        "SpotStrategy": options.spot_strategy,
        "SpotPriceLimit": options.spot_price_limit or 0.0,
        "SpotDuration": options.spot_duration,
        "SpotInterruptionBehavior": options.spot_interruption,
        "DeletionProtection": options.deletion_protection,
        "AutoReleaseTime": options.auto_release_time,
        "CreditSpecification": "",
        "LoginAsNonRoot": options.login_as_non_root,
        "StoppedMode": "Not-applicable",
        "SerialNumber": cloud.request_id().lower(),
        "ResourceGroupId": options.resource_group or DEFAULT_RESOURCE_GROUP,
        "CreationTime": minute_stamp(cloud.clock()),
        "StartTime": "",
        "Tags": dict(plan.tags),
    }
    change(row, cloud, *LAUNCHING)
    state.table("instances")[instance_id] = row
    for disk in (plan.system_disk, *plan.data_disks):
        system = disk is plan.system_disk
        new_disk(
            cloud,
            state,
            disk.shape,
            kind="system" if system else "data",
            zone=row["ZoneId"],
            **disk.fields,
            Status="In_use",
            InstanceId=instance_id,
            Device="/dev/xvda" if system else "",
            AttachedTime=cloud.timestamp(),
            Tags=dict(plan.tags),
        )
    return row


def _launch(cloud: Cloud, state: RegionState, row: Row, item: InstanceType) -> None:
    """Make the machine run, with its data disks and its firewall; without ``cloud.lock``."""
    instance_id = row["InstanceId"]
    hypervisor = cloud.hypervisor
    spec = machine_spec(row, item)
    disks = [
        d
        for d in list(state.table("disks").values())
        if d["InstanceId"] == instance_id and d["Type"] == "data"
    ]
    with machine_work.working(instance_id):
        machine_work.ask(f"launch {instance_id}", lambda: hypervisor.launch(spec))
        for disk in disks:
            disk_id, size = disk["DiskId"], disk["Size"]
            machine_work.ask(
                f"create disk {disk_id}", partial(hypervisor.create_disk, disk_id, size)
            )
            device = machine_work.ask(
                f"attach {disk_id} to {instance_id}",
                partial(hypervisor.attach_disk, instance_id, disk_id),
            )
            with cloud.lock:
                disk["Device"] = device
    with cloud.lock:
        row["StartTime"] = minute_stamp(cloud.clock())
        enforce(state, cloud, set(row["SecurityGroupIds"]), launched=instance_id)


def machine_spec(row: Row, item: InstanceType) -> MachineSpec:
    """What the hypervisor needs to know of an instance."""
    return MachineSpec(
        instance_id=row["InstanceId"],
        hostname=row["HostName"],
        private_ip=row["PrivateIp"],
        mac=row["Mac"],
        zone_id=row["ZoneId"],
        memory_mib=item.memory_mib,
        image_id=row["ImageId"],
    )


def _undo(cloud: Cloud, state: RegionState, rows: list[Row]) -> None:
    """Leave nothing of a launch that failed; what cannot be undone is in the log."""
    for row in rows:
        instance_id = row["InstanceId"]
        with suppress(ApiError):
            machine_work.ask(
                f"destroy {instance_id}", partial(cloud.hypervisor.destroy, instance_id)
            )
        with cloud.lock:
            state.table("instances").pop(instance_id, None)
            table = state.table("disks")
            disks = [table.pop(k) for k, d in list(table.items()) if d["InstanceId"] == instance_id]
        for disk in disks:
            if disk["Type"] == "data":
                with suppress(ApiError):
                    machine_work.ask(
                        f"delete disk {disk['DiskId']}",
                        partial(cloud.hypervisor.delete_disk, disk["DiskId"]),
                    )
