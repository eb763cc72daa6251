"""A bucket's settings: one XML (or JSON) document each, with OSS's answers for "not set"."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from rehearsal.cloud.oss_call import OssCall, empty
from rehearsal.cloud.oss_errors import OssError, access_denied, invalid_argument, malformed_xml
from rehearsal.cloud.oss_http import OssHttpResponse
from rehearsal.cloud.oss_xml import inner, json_object, parse, text, wrapped
from rehearsal.cloud.services.oss_buckets import blocks_public

XML = {"Content-Type": "application/xml"}
MAX_RULES = 1000


@dataclass(frozen=True)
class Setting:
    """One sub-resource of a bucket.

    Attributes:
        root: root element of its document.
        action: what follows GetBucket, PutBucket and DeleteBucket in RAM actions.
        missing: error code when it is not set; empty when `default` is answered instead.
        message: the sentence of that error.
        default: inner XML of the answer when it is not set.
        check: looks at a new document and may complete it.
    """

    root: str
    action: str
    missing: str = ""
    message: str = ""
    default: str = ""
    check: Callable[[Element], None] | None = None


def _check_lifecycle(node: Element) -> None:
    rules = node.findall("Rule")
    if not 1 <= len(rules) <= MAX_RULES:
        raise malformed_xml(f"{len(rules)} lifecycle rules; allowed are 1 to {MAX_RULES}")
    actions = ("Expiration", "Transition", "AbortMultipartUpload", "NoncurrentVersionExpiration",
               "NoncurrentVersionTransition")  # fmt: skip
    for rule in rules:
        if text(rule, "Status") not in ("Enabled", "Disabled"):
            raise malformed_xml("Rule/Status must be Enabled or Disabled")
        if not any(rule.find(action) is not None for action in actions):
            raise malformed_xml(f"a lifecycle rule needs one of {', '.join(actions)}")
        if not text(rule, "ID"):
            for old in rule.findall("ID"):
                rule.remove(old)
            SubElement(rule, "ID").text = uuid.uuid4().hex


def _check_status(*allowed: str) -> Callable[[Element], None]:
    def check(node: Element) -> None:
        if text(node, "Status") not in allowed:
            raise invalid_argument("Status", text(node, "Status"), " or ".join(allowed))

    return check


def _check_tags(node: Element) -> None:
    tags = node.findall("TagSet/Tag")
    if len(tags) > 20:
        raise invalid_argument("TagSet", str(len(tags)), "at most 20 tags")
    keys = [text(tag, "Key") for tag in tags]
    if len(set(keys)) != len(keys) or not all(keys):
        raise malformed_xml("tag keys must be there and differ from each other")


def _check_encryption(node: Element) -> None:
    path = "ApplyServerSideEncryptionByDefault/SSEAlgorithm"
    if text(node, path) not in ("AES256", "KMS", "SM4"):
        raise malformed_xml("SSEAlgorithm must be AES256, KMS or SM4")


SETTINGS = {
    "cors": Setting(
        "CORSConfiguration", "Cors", "NoSuchCORSConfiguration",
        "The CORS Configuration does not exist.",
    ),
    "website": Setting(
        "WebsiteConfiguration", "Website", "NoSuchWebsiteConfiguration",
        "The specified bucket does not have a website configuration.",
    ),
    "lifecycle": Setting(
        "LifecycleConfiguration", "Lifecycle", "NoSuchLifecycle",
        "No Row found in Lifecycle Table.", check=_check_lifecycle,
    ),
    "policy": Setting(
        "Policy", "Policy", "NoSuchBucketPolicy", "The bucket policy does not exist."
    ),
    "transferAcceleration": Setting(
        "TransferAccelerationConfiguration", "TransferAcceleration",
        "NoSuchTransferAccelerationConfiguration",
        "The transfer acceleration configuration does not exist.",
    ),
    "encryption": Setting(
        "ServerSideEncryptionRule", "Encryption", "NoSuchServerSideEncryptionRule",
        "The server side encryption configuration does not exist.", check=_check_encryption,
    ),
    "publicAccessBlock": Setting(
        "PublicAccessBlockConfiguration", "PublicAccessBlock",
        "NoSuchPublicAccessBlockConfiguration",
        "The public access block configuration was not found.",
    ),
    "tagging": Setting("Tagging", "Tagging", default="<TagSet/>", check=_check_tags),
    "logging": Setting("BucketLoggingStatus", "Logging"),
    "referer": Setting(
        "RefererConfiguration", "Referer",
        default="<AllowEmptyReferer>true</AllowEmptyReferer><RefererList/>",
    ),
    "versioning": Setting(
        "VersioningConfiguration", "Versioning", check=_check_status("Enabled", "Suspended")
    ),
    "accessmonitor": Setting(
        "AccessMonitorConfiguration", "AccessMonitor", default="<Status>Disabled</Status>",
        check=_check_status("Enabled", "Disabled"),
    ),
    "requestPayment": Setting(
        "RequestPaymentConfiguration", "RequestPayment", default="<Payer>BucketOwner</Payer>"
    ),
    "archiveDirectRead": Setting(
        "ArchiveDirectReadConfiguration", "ArchiveDirectRead", default="<Enabled>false</Enabled>"
    ),
    "httpsConfig": Setting(
        "HttpsConfiguration", "HttpsConfig", default="<TLS><Enable>false</Enable></TLS>"
    ),
    "resourceGroup": Setting("BucketResourceGroupConfiguration", "ResourceGroup"),
}  # fmt: skip


def get(call: OssCall, name: str) -> OssHttpResponse:
    """GET /bucket?<name>.

    Raises:
        OssError: 404 with the setting's own code when it is not set.
    """
    setting, stored = SETTINGS[name], call.row["Settings"].get(name)
    if name == "resourceGroup":
        group = call.row["ResourceGroupId"]
        return _answer(setting, f"<ResourceGroupId>{group}</ResourceGroupId>")
    if stored is None:
        if setting.missing:
            raise OssError(setting.missing, setting.message, 404, BucketName=call.bucket)
        stored = setting.default
    if name == "policy":
        return OssHttpResponse(200, {"Content-Type": "application/json"}, stored.encode())
    return _answer(setting, stored)


def _answer(setting: Setting, content: str) -> OssHttpResponse:
    return OssHttpResponse(200, dict(XML), wrapped(setting.root, content))


def put(call: OssCall, name: str) -> OssHttpResponse:
    """PUT /bucket?<name>.

    Raises:
        OssError: MalformedXML or InvalidArgument when the document is not the setting's;
            AccessDenied for a public policy on a bucket that blocks public access.
    """
    setting, body = SETTINGS[name], call.request.body
    settings = call.row["Settings"]
    if name == "policy":
        policy = json_object(body)
        if not isinstance(policy.get("Statement"), list):
            raise malformed_xml("the policy has no list of statements")
        if blocks_public(call.row) and _is_public(policy["Statement"]):
            raise access_denied("Put public bucket policy is not allowed.")
        settings[name] = json.dumps(policy)
    else:
        node = parse(body, setting.root)
        if setting.check is not None:
            setting.check(node)
        if name == "resourceGroup":
            call.row["ResourceGroupId"] = text(node, "ResourceGroupId")
        else:
            settings[name] = inner(node)
    call.cloud.save()
    return empty()


def _is_public(statements: list[dict[str, object]]) -> bool:
    return any(
        statement.get("Effect") == "Allow" and "*" in str(statement.get("Principal"))
        for statement in statements
    )


def delete(call: OssCall, name: str) -> OssHttpResponse:
    """DELETE /bucket?<name>; also fine when it is not set."""
    if call.row["Settings"].pop(name, None) is not None:
        call.cloud.save()
    return empty(204)
