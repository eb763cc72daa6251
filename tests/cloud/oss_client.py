"""Alibaba's official OSS SDK, pointed at a running emulator over TLS."""

from __future__ import annotations

from typing import Any

import alibabacloud_oss_v2 as oss
import pytest
import requests
from alibabacloud_oss_v2.transport import RequestsHttpClient

from rehearsal.cloud.credentials import Credential
from tests.cloud.conftest import RunningCloud


class _Session(requests.Session):
    """Trusts the emulator's CA; the SDK itself offers only "the system's" or "none"."""

    def __init__(self, ca: str) -> None:
        super().__init__()
        self.trust_env = False
        self._ca = ca

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        return super().request(*args, **{**kwargs, "verify": self._ca})


def client(cloud: RunningCloud, key: Credential | None = None, **options: Any) -> oss.Client:
    """A client that signs with V4 unless ``signature_version="v1"`` is given."""
    signer = key or cloud.key
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(
        signer.access_key_id, signer.secret, signer.security_token
    )
    config.region = cloud.cloud.settings.region
    config.endpoint = f"https://{cloud.endpoint}"
    config.use_path_style = True
    config.retry_max_attempts = 1
    config.http_client = RequestsHttpClient(session=_Session(str(cloud.ca)))
    for name, value in options.items():
        setattr(config, name, value)
    return oss.Client(config)


def refused(code: str, call: Any, *args: Any) -> oss.exceptions.ServiceError:
    """Call and return the service's refusal; fails unless its code is ``code``."""
    with pytest.raises(oss.exceptions.OperationError) as caught:
        call(*args)
    error = caught.value.unwrap()
    assert isinstance(error, oss.exceptions.ServiceError), repr(error)
    assert error.code == code, f"{error.code}: {error.message}"
    return error
