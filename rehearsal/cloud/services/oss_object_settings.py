"""What can be changed on an object without writing it: tags and ACL."""

from __future__ import annotations

from rehearsal.cloud.oss_call import OssCall, empty, owner, xml
from rehearsal.cloud.oss_errors import invalid_argument
from rehearsal.cloud.oss_http import OssHttpResponse
from rehearsal.cloud.oss_xml import parse, text
from rehearsal.cloud.services.oss_objects import checked_acl, find, version_header


def get_tags(call: OssCall) -> OssHttpResponse:
    """GET /bucket/key?tagging."""
    item = find(call)
    tags = [{"Key": key, "Value": value} for key, value in item.tags.items()]
    answer = xml("Tagging", {"TagSet": {"Tag": tags}})
    answer.headers |= version_header(call, item)
    return answer


def put_tags(call: OssCall) -> OssHttpResponse:
    """PUT /bucket/key?tagging: at most ten."""
    item = find(call)
    tags = parse(call.request.body, "Tagging").findall("TagSet/Tag")
    if len(tags) > 10:
        raise invalid_argument("TagSet", str(len(tags)), "at most 10 tags")
    item.tags = {text(tag, "Key"): text(tag, "Value") for tag in tags}
    call.store.update(item)
    return empty(200, version_header(call, item))


def delete_tags(call: OssCall) -> OssHttpResponse:
    """DELETE /bucket/key?tagging."""
    item = find(call)
    item.tags = {}
    call.store.update(item)
    return empty(204, version_header(call, item))


def get_acl(call: OssCall) -> OssHttpResponse:
    """GET /bucket/key?acl."""
    item = find(call)
    value = {"Owner": owner(call.account), "AccessControlList": {"Grant": item.acl}}
    return xml("AccessControlPolicy", value)


def put_acl(call: OssCall) -> OssHttpResponse:
    """PUT /bucket/key?acl; the ACL is a header."""
    item = find(call)
    item.acl = checked_acl(call)
    call.store.update(item)
    return empty(200, version_header(call, item))
