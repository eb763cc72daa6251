"""What the cloud's error codes mean here and what to do about them: one sentence a code.

The provider prints the cloud's codes from its own process. The program adds these sentences where
an operation fails (:mod:`infra.explain`), and our own calls use them in place of a code.

Codes and meanings: ECS API error center (page of 2026-01-15), the error lists of VPC, RAM, OOS and
OSS, and ``errors.go`` of terraform-provider-alicloud 1.285.0.
"""

import re
from dataclasses import dataclass

from infra import openapi


@dataclass(frozen=True)
class Advice:
    """One cause.

    Attributes:
        codes: wire codes; one that ends in ``*`` stands for all that begin like it.
        why: what has happened and why, without a final stop.
        remedy: what to do, without a final stop.
        phrases: messages that have no code of their own.
    """

    codes: tuple[str, ...]
    why: str
    remedy: str
    phrases: tuple[str, ...] = ()


CREDENTIALS = (
    "check ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or the profile that "
    "ALIBABA_CLOUD_PROFILE names"
)

TABLE = (
    # Who asks
    Advice(
        ("InvalidAccessKeyId*",),
        "the cloud does not know the access key, or it was disabled",
        CREDENTIALS,
    ),
    Advice(
        ("SignatureDoesNotMatch", "IncompleteSignature", "InvalidAccessKeySecret"),
        "the access key exists, but its secret is wrong",
        CREDENTIALS,
    ),
    Advice(
        ("InvalidSecurityToken.Expired", "SecurityTokenExpired"),
        "the temporary credentials have expired",
        "get new ones (a new SSO or AssumeRole session), set ALIBABA_CLOUD_SECURITY_TOKEN with "
        "their key and secret, and go on; a longer MaxSessionDuration of the role prevents it",
    ),
    Advice(
        ("InvalidSecurityToken*", "MissingSecurityToken"),
        "the security token does not belong to the access key",
        "set ALIBABA_CLOUD_SECURITY_TOKEN from the same session as the key, or unset it for a "
        "permanent key",
    ),
    Advice(
        ("InvalidTimeStamp.Expired", "RequestTimeTooSkewed"),
        "this computer's clock is wrong by more than 15 minutes, so signatures are refused",
        "set the clock (chrony or systemd-timesyncd)",
    ),
    Advice(
        ("Forbidden.RAM", "NoPermission", "Forbidden", "AccessDenied", "Forbidden.Unauthorized"),
        "the identity that runs Pulumi lacks a permission",
        "give it the action that the failed call names, by a RAM policy",
    ),
    Advice(
        ("InvalidUser.PassRoleForbidden",),
        "the identity that runs Pulumi may not hand the node's role to a machine",
        "give it ram:PassRole on that role",
    ),
    Advice(
        ("InvalidRamRole.NotEcsRole",),
        "the node's role does not let ECS assume it, because its trust policy was changed",
        "run `pulumi refresh` and then `pulumi up`, which put ecs.aliyuncs.com back into it",
    ),
    Advice(
        ("EntityNotExist.Role", "InvalidRamRole.NotFound"),
        "the node's RAM role does not exist, because it was deleted outside of Pulumi",
        "run `pulumi refresh` and then `pulumi up`, which make it again",
    ),
    # The account
    Advice(
        ("InvalidAccountStatus.NotEnoughBalance", "InsufficientBalance", "Account.Arrearage"),
        "the account has not enough money: pay-as-you-go machines want at least 100 CNY available",
        "top it up and run `pulumi up` again, which goes on where it stopped",
    ),
    Advice(
        ("RealNameAuthenticationError", "PaymentMethodNotFound", "UserDisable"),
        "the account may not buy anything: it is not verified, has no payment method, or is "
        "suspended",
        "complete that in the console's account center",
    ),
    Advice(
        ("RegionUnauthorized",),
        "the account may not use this region",
        "choose another region, or ask Alibaba Cloud's support to open it",
    ),
    Advice(
        ("InvalidRegionId*",),
        "there is no such region",
        "set the config key region to one that `aliyun ecs DescribeRegions` lists",
        phrases=("Invalid Alibaba Cloud region",),
    ),
    # Limits
    Advice(
        ("QuotaExceed.ElasticQuota",),
        "the account's quota of this instance type is used up, and for GPU types it often starts "
        "at 0",
        "ask for more in the console's Quota Center (ECS), or set instanceType to another type",
    ),
    Advice(
        ("QuotaExceeded.PrivateIpAddress",),
        "the vSwitch has no free private address",
        "choose a larger vpcCidr",
    ),
    Advice(
        ("QuotaExceed*", "LimitExceeded*", "TooManyBuckets"),
        "a quota of the account is used up",
        "delete what is not needed any more, or ask for more in the console's Quota Center",
    ),
    Advice(
        ("InvalidOperation.PublicIpAddressNoStock",),
        "the region has no public addresses left",
        "try later, or choose another region",
    ),
    # What is sold where
    Advice(
        ("OperationDenied.NoStock", "NoInstanceStock"),
        "the instance type was sold out in this zone a moment ago, or spotPriceLimit is below the "
        "market price",
        "run `pulumi up` again with zone, instanceType or spot set otherwise",
        phrases=("resource is out of usage",),
    ),
    Advice(
        ("Zone.NotOnSale", "Zone.NotOpen"),
        "this zone sells nothing to your account",
        "set zone to another one, or to auto",
    ),
    Advice(
        ("InvalidInstanceType.ZoneNotSupported", "InvalidResourceType.NotSupported"),
        "the zone does not offer this instance type with this disk",
        "set zone to auto",
    ),
    Advice(
        ("InstanceType.Offline", "InvalidInstanceType.ValueNotSupported"),
        "this instance type is not sold any more, or not here",
        "set instanceType to another one, or to auto",
    ),
    # Disks and images
    Advice(
        (
            "InvalidInstanceType.NotSupportDiskCategory",
            "InvalidDiskCategory.NotSupported",
            "InvalidDiskCategory.ValueNotSupported",
            "InvalidSystemDiskCategory.ValueNotSupported",
            "InvalidDataDiskCategory.ValueNotSupported",
            "CategoryNotSupported",
        ),
        "the instance type or zone does not take this kind of disk (cloud_essd, the one that GPU "
        "types of today take)",
        "set instanceType or zone to another one",
    ),
    Advice(
        ("InvalidDiskSize*", "InvalidSystemDiskSize*", "InvalidDataDiskSize*"),
        "the disk is smaller than the image or than its kind allows",
        "raise systemDiskGiB or dataDiskGiB",
    ),
    Advice(
        ("InvalidEncrypted.NotMatchDiskDefaultEncryption", "InvalidParameter.KmsNotEnabled"),
        "the disk cannot be encrypted as asked, because KMS is not activated or the region's "
        "default encryption differs",
        "activate KMS in the console, which costs nothing with the default key",
    ),
    Advice(
        ("ImageNotSupportInstanceType", "ImageNotSubscribed", "InvalidImageFamily*"),
        "the system image does not fit the instance type, does not exist here, or needs a "
        "subscription",
        "correct imageFamily or imageId",
    ),
    Advice(
        ("InvalidChargeType.ValueNotSupported",),
        "only pay-as-you-go machines can be protected against deletion",
        "set deletionProtection or spot to false",
    ),
    Advice(
        ("InvalidOperation.DeletionProtection", "OperationDenied.DeletionProtection"),
        "the machine is protected against deletion",
        "set deletionProtection to false and run `pulumi up` first",
    ),
    # Networks and names
    Advice(
        ("InvalidCidrBlock.Overlapped", "InvalidVSwitch.CidrOverlapped"),
        "the vSwitch's network overlaps one that is already in this VPC",
        "delete that vSwitch if an interrupted run has left it (python -m infra.recover), or set "
        "vpcCidr to another network",
    ),
    Advice(
        ("InvalidCidrBlock*", "InvalidVpcCidr*"),
        "the VPC cannot have this network",
        "set vpcCidr to a /16 to /24 in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
    ),
    Advice(
        ("EntityAlreadyExist*", "BucketAlreadyExists"),
        "something has this name already: another stack, or what an interrupted run has left",
        "run `python -m infra.recover`, or give this stack another name",
    ),
    # Clusters and load balancers
    Advice(
        ("ErrorServiceNotOpen",),
        "the account has not opened the container service",
        "open Container Compute Service (ACS) once in the console, and confirm its authorization",
    ),
    Advice(
        ("ErrorRoleNotAuthorized",),
        "the account lacks service roles that ACS needs",
        "open the console of ACS once and confirm the authorization, which makes them",
    ),
    Advice(
        ("ErrorQuotaExceeded",),
        "the account has as many clusters as it may have",
        "delete one that is not needed, or ask for more in the console's Quota Center (\"Total ACS "
        'Clusters")',
    ),
    Advice(
        ("ErrorClusterNotFound",),
        "the cluster does not exist, because it was deleted outside of Pulumi",
        "run `pulumi refresh` and then `pulumi up`, which make it again",
    ),
    Advice(
        ("ErrorClusterState", "ErrorClusterNotRunning"),
        "the cluster is still being made, changed or deleted",
        "wait until the console says that it is running, and run the same command again",
    ),
    Advice(
        ("ErrorRamPolicyConfig", "StatusForbidden", "ForbiddenGrantPermissions"),
        "the identity that runs Pulumi lacks a permission for ACS, which AliyunCSFullAccess does "
        "not give",
        "give it AliyunAccFullAccess as well, and the cluster's RBAC role of an administrator",
    ),
    Advice(
        ("InvalidServiceCidr*",),
        "the cluster cannot have this network for its Services",
        "set serviceCidr to a /16 to /24 in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16 that "
        "overlaps neither vpcCidr nor another cluster's",
    ),
    Advice(
        ("ResourceNotAvailable.PublicAddress",),
        "the region has no public addresses for load balancers left",
        "try later, or set loadBalancerAddressType to intranet",
    ),
    Advice(
        ("AclEntryOverLimit", "AclNumberOverLimit"),
        "the load balancer's list of networks is full, or the account has too many lists",
        "put fewer and larger networks into allowedCidrs, or delete lists that are not used",
    ),
    Advice(
        ("AclInUsed",),
        "a listener still uses the list of networks, because the cluster's controller has not "
        "removed it yet",
        "run the same command again in a minute",
    ),
    Advice(
        ("OperationDenied.DeleteProtectionIsOn",),
        "the load balancer is protected against deletion",
        "set deletionProtection to false and run `pulumi up` first",
    ),
    # What passes
    Advice(
        ("IncorrectVpcStatus*", "IncorrectVSwitchStatus*"),
        "the network was still being made",
        "run `pulumi up` again",
    ),
    Advice(
        ("DependencyViolation*", "DeleteConflict*", "BucketNotEmpty"),
        "something that Pulumi does not know still hangs on it",
        "remove that in the console, and run the same command again",
    ),
    Advice(
        ("Throttling*", *sorted(openapi.BUSY_CODES), "Rejected.Throttling"),
        "the cloud was busy or throttled the account for longer than the provider waits",
        "run the same command again in a few minutes",
    ),
)

_EXACT = {code: item for item in TABLE for code in item.codes if not code.endswith("*")}
_FAMILIES = {code[:-1]: item for item in TABLE for code in item.codes if code.endswith("*")}
_WORD = re.compile(r"[A-Z][A-Za-z]*(?:\.[A-Z][A-Za-z]*)*")
_NOISE = re.compile(r"https?://\S+|RequestId\W+\S+|\x1b\[\d*m")
"""Where a code stands a second time, or letters only look like one."""


def find(code: str) -> Advice | None:
    """Return the advice for a code; a code of its own goes before its family."""
    if code in _EXACT:
        return _EXACT[code]
    fitting = [prefix for prefix in _FAMILIES if code.startswith(prefix)]
    return _FAMILIES[max(fitting, key=len)] if fitting else None


def remedy(code: str) -> str:
    """Return what to do about a code, capitalised; empty for one that is not known."""
    item = find(code)
    return item.remedy[0].upper() + item.remedy[1:] if item else ""


def sentence(code: str) -> str:
    """Return the sentence for a code; empty for one that is not known."""
    item = find(code)
    return _sentence(code, item) if item else ""


def sentences(text: str) -> list[str]:
    """Return a sentence for each known code or phrase in a text, in order, no cause twice."""
    text = _NOISE.sub(" ", text)
    found: dict[Advice, tuple[int, str]] = {}
    for match in _WORD.finditer(text):
        item = find(match.group())
        if item:
            found.setdefault(item, (match.start(), match.group()))
    for item in TABLE:
        for phrase in item.phrases:
            if phrase in text:
                found.setdefault(item, (text.index(phrase), phrase))
    ordered = sorted(found.items(), key=lambda entry: entry[1][0])
    return [_sentence(name, item) for item, (_, name) in ordered]


def of_call(error: Exception) -> str:
    """Return one sentence for what a call of ours raised; empty when it is not the cloud's."""
    known = sentence(openapi.code(error))
    if known:
        return known
    if openapi.uncredentialed(error):
        return (
            "no credentials were found, neither in the environment nor in a profile or a role, so "
            "the cloud cannot be asked; set ALIBABA_CLOUD_ACCESS_KEY_ID and "
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET, or configure a profile, a RAM role or OIDC"
        )
    if openapi.unreachable(error):
        return (
            f"the cloud did not answer ({openapi.said(error)}); check the network, HTTPS_PROXY, "
            "SSL_CERT_FILE and the ALIBABA_CLOUD_ENDPOINT_ variables"
        )
    if openapi.code(error):
        return f"the cloud refused a call ({openapi.said(error)})"
    return ""


def _sentence(name: str, item: Advice) -> str:
    return f"{name}: {item.why}; {item.remedy}"
