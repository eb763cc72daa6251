"""The only maker of the Alibaba Cloud provider."""

import pulumi
import pulumi_alicloud as alicloud


def make(region: str) -> alicloud.Provider:
    """Return a provider bound to ``region``.

    Credentials, endpoints and trust come from the environment as the provider documents
    (``ALIBABA_CLOUD_ACCESS_KEY_ID``, profile, RAM role, OIDC, ``SSL_CERT_FILE``), so that
    no key is ever an input of the stack and none is kept in its state.
    """
    return alicloud.Provider(
        "alicloud", region=region, configuration_source="wan-vace", opts=pulumi.ResourceOptions()
    )
