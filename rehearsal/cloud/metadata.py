"""The instance metadata service (IMDS) that machines reach at 100.100.100.200, port 80.

An instance is recognised by its private address. ``meta-data/`` can be walked (folders end in a
slash) and ``meta-data/all`` is the same tree as JSON, which cloud-init's AliYun data source reads.
Normal mode answers with and without a token; hardened mode (HttpTokens=required) only with one.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import secrets
import threading
from typing import Any

from rehearsal.cloud import policy
from rehearsal.cloud.credentials import Credential
from rehearsal.cloud.http import HttpRequest, HttpResponse
from rehearsal.cloud.state import Cloud

TOKEN_HEADER = "x-aliyun-ecs-metadata-token"  # noqa: S105 - the name of a header
TTL_HEADER = "x-aliyun-ecs-metadata-token-ttl-seconds"
MAX_TTL_S = 21600
VERSIONS = ("2014-11-05", "2016-01-01", "latest")

_SESSION_S = 6 * 3600
_RENEW_BEFORE_S = 1800.0
_ECS_SERVICE = "ecs.aliyuncs.com"

Row = dict[str, Any]
Tree = dict[str, Any]


class MetadataService:
    """Answers metadata requests from the rows of the table ``instances``."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[str, float]] = {}
        self._sessions: dict[tuple[str, str], tuple[Credential, str]] = {}

    def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer one request; the instance is the one whose private address it comes from."""
        row = self._cloud.instance_by_private_ip(request.source_ip)
        if row is None:
            return _plain(404, "")
        if _option(row, "HttpEndpoint", "enabled") == "disabled":
            return _plain(403, "the metadata service of this instance is disabled (HttpEndpoint)")
        if request.method == "PUT":
            return self._new_token(request, row)
        if request.method not in ("GET", "HEAD"):
            return _plain(405, "")
        return self._refuse_token(request, row) or self._get(request.path, row)

    # ---- tokens

    def _new_token(self, request: HttpRequest, row: Row) -> HttpResponse:
        if request.path.rstrip("/") != "/latest/api/token":
            return _plain(404, "")
        if "x-forwarded-for" in request.headers:
            return _plain(403, "a token is not given to a proxy (X-Forwarded-For)")
        ttl = request.headers.get(TTL_HEADER, "")
        if not ttl.isdigit() or not 1 <= int(ttl) <= MAX_TTL_S:
            return _plain(400, f"{TTL_HEADER} is {ttl!r}; it must be from 1 to {MAX_TTL_S} seconds")
        token = secrets.token_urlsafe(42)
        now = self._cloud.clock()
        with self._lock:
            self._tokens = {k: v for k, v in self._tokens.items() if v[1] > now}
            self._tokens[token] = (str(row["InstanceId"]), now + int(ttl))
        response = _plain(200, token)
        response.headers[TTL_HEADER] = ttl
        return response

    def _refuse_token(self, request: HttpRequest, row: Row) -> HttpResponse | None:
        """Why the request's token (or its absence) is not accepted; None when it is."""
        token = request.headers.get(TOKEN_HEADER, "")
        if _option(row, "HttpTokens", "optional") == "required" and not token:
            return _plain(403, "this instance requires a metadata token (HttpTokens=required)")
        if token and not self._valid(token, row):
            return _plain(401, "the metadata token is not valid, or has expired")
        return None

    def _valid(self, token: str, row: Row) -> bool:
        with self._lock:
            owner, expiry = self._tokens.get(token, ("", 0.0))
        return owner == row["InstanceId"] and self._cloud.clock() < expiry

    # ---- the tree

    def _get(self, path: str, row: Row) -> HttpResponse:
        parts = [part for part in path.split("/") if part]
        if not parts:
            return _plain(200, "\n".join(f"{version}/" for version in VERSIONS))
        if parts[0] not in VERSIONS:
            return _plain(404, "")
        if parts[1:] == ["user-data"]:
            return _user_data(row)
        if parts[1:] == ["meta-data", "all"]:
            document = json.dumps(self._meta_data(row, with_credentials=False))
            return HttpResponse(200, {"Content-Type": "application/json"}, document.encode())
        root: Tree = {
            "dynamic": {"instance-identity": {"document": json.dumps(_identity(row))}},
            "meta-data": self._meta_data(row, with_credentials=parts[2:3] == ["ram"]),
            **({"user-data": ""} if row.get("UserData") else {}),
        }
        return _walk(root, parts[1:])

    def _meta_data(self, row: Row, *, with_credentials: bool) -> Tree:
        """The tree below meta-data; credentials are minted only when somebody asks below ram/."""
        network = self._network(row)
        address = str(row["PrivateIp"])
        mac = str(row.get("Mac", ""))
        interface = {
            "network-interface-id": str(row.get("NetworkInterfaceId", "")),
            "primary-ip-address": address,
            "private-ipv4s": address,
            "netmask": str(network["vswitch"].netmask) if network["vswitch"] else "",
            "gateway": _gateway(network["vswitch"]),
            "vpc-id": str(row.get("VpcId", "")),
            "vpc-cidr-block": str(network["vpc"] or ""),
            "vswitch-id": str(row.get("VSwitchId", "")),
            "vswitch-cidr-block": str(network["vswitch"] or ""),
        }
        tree: Tree = {
            "dns-conf": {"nameservers": "100.100.2.136\n100.100.2.138"},
            "hostname": str(row.get("HostName", "")),
            "image-id": str(row.get("ImageId", "")),
            "instance": {
                "instance-name": str(row.get("InstanceName") or row.get("HostName", "")),
                "instance-type": str(row.get("InstanceType", "")),
            },
            "instance-id": str(row["InstanceId"]),
            "mac": mac,
            "network": {"interfaces": {"macs": {mac: interface}}},
            "network-type": "vpc",
            "ntp-conf": {"ntp-servers": "ntp7.cloud.aliyuncs.com\nntp8.cloud.aliyuncs.com"},
            "owner-account-id": str(row["Account"]),
            "private-ipv4": address,
            "region-id": str(row["RegionId"]),
            "serial-number": str(row.get("SerialNumber") or row["InstanceId"]),
            "vpc-cidr-block": str(network["vpc"] or ""),
            "vpc-id": str(row.get("VpcId", "")),
            "vswitch-cidr-block": str(network["vswitch"] or ""),
            "vswitch-id": str(row.get("VSwitchId", "")),
            "zone-id": str(row.get("ZoneId", "")),
        }
        public_address = self._public_address(row)
        if public_address:
            tree["eipv4"] = public_address
            tree["public-ipv4"] = public_address
        role = str(row.get("RamRoleName") or "")
        if role:
            text = self._role_document(row, role) if with_credentials else ""
            tree["ram"] = {"security-credentials": {role: text}}
        return tree

    def _network(self, row: Row) -> dict[str, Any]:
        region = self._cloud.region(str(row["Account"]), str(row["RegionId"]))
        found: dict[str, Any] = {}
        with self._cloud.lock:
            for name, table, key in (
                ("vpc", "vpcs", "VpcId"),
                ("vswitch", "vswitches", "VSwitchId"),
            ):
                cidr = region.table(table).get(str(row.get(key, "")), {}).get("CidrBlock")
                found[name] = ipaddress.ip_network(cidr) if cidr else None
        return found

    def _public_address(self, row: Row) -> str:
        region = self._cloud.region(str(row["Account"]), str(row["RegionId"]))
        with self._cloud.lock:
            for eip in region.table("eips").values():
                if eip.get("InstanceId") == row["InstanceId"]:
                    return str(eip.get("IpAddress", ""))
        return ""

    # ---- role credentials

    def _role_document(self, row: Row, role: str) -> str:
        """The JSON that the SDKs read below ram/security-credentials/<role>."""
        now = self._cloud.clock()
        account = str(row["Account"])
        with self._cloud.lock:
            role_row = self._cloud.account(account).table("ram_roles").get(role)
        if role_row is None:
            return json.dumps({"Code": "EntityNotExist.Role"})
        trust = json.loads(role_row["AssumeRolePolicyDocument"])
        if not policy.trusts(trust, "Service", _ECS_SERVICE):
            return json.dumps({"Code": "InvalidRamRole.NotEcsRole"})
        key = (str(row["InstanceId"]), role)
        with self._lock:
            session, minted = self._sessions.get(key, (None, ""))
            if (
                session is None
                or (session.expiry or 0) - now < _RENEW_BEFORE_S
                or self._cloud.credentials.find(session.access_key_id) is None
            ):
                session = self._cloud.credentials.create_session(
                    account, role, f"vm-ram-{row['InstanceId']}", _SESSION_S
                )
                minted = self._cloud.timestamp()
                self._sessions[key] = (session, minted)
        return json.dumps(
            {
                "AccessKeyId": session.access_key_id,
                "AccessKeySecret": session.secret,
                "Expiration": self._cloud.timestamp(session.expiry),
                "SecurityToken": session.security_token,
                "LastUpdated": minted,
                "Code": "Success",
            }
        )


def _option(row: Row, name: str, default: str) -> str:
    return str((row.get("MetadataOptions") or {}).get(name) or default)


def _identity(row: Row) -> Row:
    return {
        "zone-id": str(row.get("ZoneId", "")),
        "serial-number": str(row.get("SerialNumber") or row["InstanceId"]),
        "instance-id": str(row["InstanceId"]),
        "region-id": str(row["RegionId"]),
        "private-ipv4": str(row["PrivateIp"]),
        "owner-account-id": str(row["Account"]),
        "mac": str(row.get("Mac", "")),
        "image-id": str(row.get("ImageId", "")),
        "instance-type": str(row.get("InstanceType", "")),
    }


def _user_data(row: Row) -> HttpResponse:
    encoded = str(row.get("UserData") or "")
    if not encoded:
        return _plain(404, "")
    try:
        data = base64.b64decode(encoded, validate=False)
    except binascii.Error:
        return _plain(500, "the user data of this instance is not base64")
    return HttpResponse(200, {"Content-Type": "application/octet-stream"}, data)


def _gateway(network: ipaddress.IPv4Network | None) -> str:
    """Alibaba's vSwitches put the gateway at the third address from the end."""
    return "" if network is None else str(network[-3])


def _walk(root: Tree, parts: list[str]) -> HttpResponse:
    """A leaf's text, or a folder's entries, one a line; folders end in a slash."""
    node: Any = root
    for part in parts:
        if not isinstance(node, dict) or part not in node:
            return _plain(404, "")
        node = node[part]
    if isinstance(node, dict):
        node = "\n".join(f"{k}/" if isinstance(v, dict) else k for k, v in node.items())
    return _plain(200, str(node))


def _plain(status: int, text: str) -> HttpResponse:
    return HttpResponse(status, {"Content-Type": "text/plain"}, text.encode())
