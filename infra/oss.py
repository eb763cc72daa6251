"""The few OSS calls that recovery needs, by Alibaba Cloud's own SDK."""

import os
import ssl
from typing import Any

import alibabacloud_oss_v2 as oss
from alibabacloud_credentials.client import Client as Credentials
from alibabacloud_oss_v2.transport.requests_client import RequestsHttpClient
from requests.adapters import HTTPAdapter


class _Chain(oss.credentials.CredentialsProvider):  # type: ignore[misc]  # the SDK is untyped
    """Alibaba Cloud's default credential chain, for an SDK that knows only the environment."""

    def __init__(self) -> None:
        self._chain = Credentials()

    def get_credentials(self) -> "oss.credentials.Credentials":
        found = self._chain.get_credential()
        return oss.credentials.Credentials(
            found.access_key_id, found.access_key_secret, found.security_token
        )


class _SystemTrust(HTTPAdapter):
    """Trusts what Python trusts, so also ``SSL_CERT_FILE``, besides the SDK's own list."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=ssl.create_default_context())


def _client(region: str) -> "oss.Client":
    config = oss.config.load_default()
    config.http_client = RequestsHttpClient(adapter=_SystemTrust())
    config.credentials_provider = _Chain()
    config.region = region
    endpoint = os.environ.get("ALIBABA_CLOUD_ENDPOINT_OSS")
    if endpoint:
        config.endpoint = f"https://{endpoint}"
        # An address instead of a name cannot carry the bucket as a host name.
        config.use_path_style = endpoint.split(":")[0].replace(".", "").isdigit()
    return oss.Client(config)


def owns_bucket(region: str, name: str) -> bool:
    """Whether this account has a bucket called ``name`` in ``region``."""
    listed = _client(region).list_buckets(oss.ListBucketsRequest(prefix=name, max_keys=10))
    return any(bucket.name == name for bucket in listed.buckets or [])


def bucket_tags(region: str, name: str) -> dict[str, str]:
    """Return the tags of a bucket; empty when it has none."""
    answer = _client(region).get_bucket_tags(oss.GetBucketTagsRequest(bucket=name))
    tag_set = answer.tagging.tag_set if answer.tagging else None
    return {tag.key: tag.value for tag in (tag_set.tags if tag_set else None) or []}


def delete_bucket(region: str, name: str) -> None:
    """Delete an empty bucket."""
    _client(region).delete_bucket(oss.DeleteBucketRequest(bucket=name))
