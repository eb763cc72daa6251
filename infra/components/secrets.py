"""SECRETS: made once, encrypted in Pulumi's state, handed to the node by the OOS secret store.

The node reads them with its role. They are never in user data, logs, argv or plain state.
"""

import json

import pulumi
import pulumi_alicloud as alicloud

from infra import pki
from infra.config import Settings
from infra.dynamic.credentials import ApiToken, CertificateAuthority, ServerCertificate


class Secrets(pulumi.ComponentResource):
    """API token, TLS identity and the optional registry login, each an OOS secret parameter."""

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        ip_address: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("wanvace:secrets:Secrets", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        names = settings.names
        self._tags = settings.tags
        token = ApiToken(name, generation=settings.token_generation, opts=child)
        authority = CertificateAuthority(name, common_name=f"{names.prefix} CA", opts=child)
        server_names: list[pulumi.Input[str]] = [ip_address]
        if settings.hostname:
            server_names.append(settings.hostname)
        server = ServerCertificate(
            name,
            authority=authority,
            names=server_names,
            generation=settings.tls_generation,
            opts=child,
        )
        self.stored = [
            self._store(names.token_secret, "API token of the Wan VACE gateway", token.value),
            self._store(
                names.tls_secret,
                "Server certificate and key of the Wan VACE gateway",
                pulumi.Output.json_dumps(
                    {"certificate": server.certificate, "private_key": server.private_key}
                ),
            ),
        ]
        secret = None
        if settings.registry_host and settings.registry_password:
            login = {
                settings.registry_host: {
                    "username": settings.registry_username,
                    "password": settings.registry_password.get_secret_value(),
                }
            }
            secret = pulumi.Output.secret(json.dumps(login))
            self.stored.append(
                self._store(names.registry_secret, "Login of the image registry", secret)
            )
        self.token = token.value
        self.ca_certificate = authority.certificate
        self.certificate_expires = server.certificate.apply(pki.expires)
        # What the node must pick up: the node is asked to apply it when one of these changes.
        self.versions = [
            pulumi.Output.from_input(f"token-{settings.token_generation}"),
            server.certificate,
            *([secret] if secret is not None else []),
        ]
        self.register_outputs({})

    def _store(
        self, secret_name: str, description: str, value: pulumi.Output[str]
    ) -> alicloud.oos.SecretParameter:
        return alicloud.oos.SecretParameter(
            secret_name,
            secret_parameter_name=secret_name,
            type="Secret",
            value=value,
            description=description,
            tags=self._tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
