"""One OSS call while it is handled: where it goes, who makes it, and the bucket's row."""

from __future__ import annotations

import ipaddress
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

from rehearsal.cloud.credentials import Credential
from rehearsal.cloud.oss_errors import OssError, invalid_argument, no_such_bucket
from rehearsal.cloud.oss_http import OssHttpRequest, OssHttpResponse
from rehearsal.cloud.oss_storage import ObjectStore
from rehearsal.cloud.oss_xml import Node, document
from rehearsal.cloud.state import Cloud

BUCKETS = "oss_buckets"
_OSS_HOST = re.compile(
    r"^(?:(?P<bucket>[a-z0-9-]+)\.)?oss-(?P<region>[a-z0-9-]+?)(?P<internal>-internal)?\.aliyuncs\.com$"
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Address:
    """What host and path name.

    Attributes:
        bucket: bucket name, or empty for the service itself.
        key: object key, decoded, or empty for the bucket itself.
        region: region of a host name such as ``oss-cn-hangzhou.aliyuncs.com``, or empty.
    """

    bucket: str
    key: str
    region: str


def address_of(request: OssHttpRequest) -> Address:
    """Read bucket and key: path style on IP addresses, host style on OSS's names.

    Raises:
        OssError: SecondLevelDomainForbidden when a bucket is addressed by path on an OSS name.
    """
    host = request.host.rpartition(":")[0] if ":" in request.host else request.host
    path = unquote(request.path).removeprefix("/")
    match = _OSS_HOST.match(host.lower())
    if match is None:
        if not _is_address(host):
            raise invalid_argument("Host", host, "an IP address or an OSS name of Alibaba Cloud")
        bucket, _, key = path.partition("/")
        return Address(bucket, key, "")
    if match["bucket"]:
        return Address(match["bucket"], path, match["region"])
    if path:
        raise OssError(
            "SecondLevelDomainForbidden",
            "The bucket you are attempting to access must be addressed using OSS third level "
            f"domain. Given: {host}/{path}; use {path.partition('/')[0]}.{host}.",
            403,
        )
    return Address("", "", match["region"])


def _is_address(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


@dataclass
class OssCall:
    """A call with everything that operations need.

    Attributes:
        credential: who signed; None for an anonymous call.
        region: region that the call is meant for.
        row: the bucket's row; empty until `load_bucket` found it.
        account: account that owns the bucket.
    """

    request: OssHttpRequest
    cloud: Cloud
    address: Address
    credential: Credential | None
    region: str
    row: Row = field(default_factory=dict)
    account: str = ""

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.address.bucket

    @property
    def key(self) -> str:
        """The object's key."""
        return self.address.key

    @property
    def store(self) -> ObjectStore:
        """The bucket's objects."""
        return store_of(self.cloud, self.row)

    def query(self, name: str, default: str = "") -> str:
        """A query parameter."""
        return self.request.query.get(name, default)

    def header(self, name: str, default: str = "") -> str:
        """A header, by lower-case name."""
        return self.request.headers.get(name, default)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from the query.

        Raises:
            OssError: InvalidArgument outside the range.
        """
        given = self.query(name)
        if not given:
            return default
        if not given.isdigit() or not low <= int(given) <= high:
            raise invalid_argument(name, given, f"a whole number from {low} to {high}")
        return int(given)

    def load_bucket(self) -> None:
        """Find the bucket's row.

        Raises:
            OssError: NoSuchBucket.
        """
        found = find_bucket(self.cloud, self.bucket)
        if found is None:
            raise no_such_bucket(self.bucket)
        self.account, self.row = found


def find_bucket(cloud: Cloud, name: str) -> tuple[str, Row] | None:
    """Account and row of a bucket; names are unique over all accounts."""
    for account in cloud.accounts():
        row = account.table(BUCKETS).get(name)
        if row is not None:
            return account.name, row
    return None


def store_of(cloud: Cloud, row: Row) -> ObjectStore:
    """The objects of a bucket."""
    return ObjectStore(cloud.state_dir / "oss" / str(row["Folder"]))


def new_folder() -> str:
    """A folder name that no bucket ever had, so that a new bucket never shows old objects."""
    return uuid.uuid4().hex


def xml(root: str, value: Node, status: int = 200) -> OssHttpResponse:
    """An answer with an XML document."""
    return OssHttpResponse(status, {"Content-Type": "application/xml"}, document(root, value))


def empty(status: int = 200, headers: dict[str, str] | None = None) -> OssHttpResponse:
    """An answer without a body."""
    return OssHttpResponse(status, headers or {})


def iso(moment: float) -> str:
    """A moment as OSS's documents write it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def http_date(moment: float) -> str:
    """A moment as HTTP headers write it."""
    return formatdate(moment, usegmt=True)


def owner(account: str) -> dict[str, str]:
    """The Owner element."""
    return {"ID": account, "DisplayName": account}
