"""API token, certificate authority and server certificate: made once, kept as Pulumi secrets.

Raising ``generation`` makes a new one in place; ``infra.rotate`` does that. What is secret is
listed in ``additional_secret_outputs``: a dynamic provider's outputs are plain text otherwise.
"""

import secrets
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from infra import pki


def _secret_outputs(opts: pulumi.ResourceOptions, *names: str) -> pulumi.ResourceOptions:
    merged = pulumi.ResourceOptions.merge(
        opts, pulumi.ResourceOptions(additional_secret_outputs=list(names))
    )
    assert isinstance(merged, pulumi.ResourceOptions)  # noqa: S101  narrows the type only
    return merged


class _TokenProvider(ResourceProvider):
    serialize_as_secret_always = False

    def _make(self, props: dict[str, Any]) -> dict[str, Any]:
        # 256 bits: guessing is out of the question, with or without a rate limit.
        return {**props, "value": secrets.token_urlsafe(32)}

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=secrets.token_hex(6), outs=self._make(props))

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=_olds["generation"] != _news["generation"])

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=self._make(_news))


class ApiToken(Resource, module="wanvace", name="ApiToken"):
    """The Bearer token of the service; ``value`` is secret."""

    value: pulumi.Output[str]

    def __init__(self, name: str, *, generation: int, opts: pulumi.ResourceOptions) -> None:
        super().__init__(
            _TokenProvider(),
            name,
            {"generation": generation, "value": None},
            _secret_outputs(opts, "value"),
        )


class _AuthorityProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        pair = pki.make_authority(props["common_name"])
        return CreateResult(
            id_=secrets.token_hex(6),
            outs={**props, "certificate": pair.certificate, "private_key": pair.private_key},
        )

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        # Clients have installed this authority: it never changes by itself.
        return DiffResult(changes=False)


class CertificateAuthority(Resource, module="wanvace", name="CertificateAuthority"):
    """The deployment's private authority; ``private_key`` is secret, ``certificate`` is not."""

    certificate: pulumi.Output[str]
    private_key: pulumi.Output[str]

    def __init__(self, name: str, *, common_name: str, opts: pulumi.ResourceOptions) -> None:
        super().__init__(
            _AuthorityProvider(),
            name,
            {"common_name": common_name, "certificate": None, "private_key": None},
            _secret_outputs(opts, "private_key"),
        )


class _ServerProvider(ResourceProvider):
    serialize_as_secret_always = False

    def _make(self, props: dict[str, Any]) -> dict[str, Any]:
        authority = pki.KeyPair(props["authority_certificate"], props["authority_key"])
        pair = pki.make_server(authority, list(props["names"]))
        return {**props, "certificate": pair.certificate, "private_key": pair.private_key}

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=secrets.token_hex(6), outs=self._make(props))

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        same = all(
            _olds.get(key) == _news.get(key)
            for key in ("generation", "names", "authority_certificate")
        )
        return DiffResult(changes=not same or pki.needs_renewal(_olds["certificate"]))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=self._make(_news))


class ServerCertificate(Resource, module="wanvace", name="ServerCertificate"):
    """The gateway's certificate; renewed by any ``pulumi up`` in its last 30 days.

    ``private_key`` is secret; ``certificate`` is not.
    """

    certificate: pulumi.Output[str]
    private_key: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        authority: CertificateAuthority,
        names: list[pulumi.Input[str]],
        generation: int,
        opts: pulumi.ResourceOptions,
    ) -> None:
        super().__init__(
            _ServerProvider(),
            name,
            {
                "authority_certificate": authority.certificate,
                "authority_key": authority.private_key,
                "names": names,
                "generation": generation,
                "certificate": None,
                "private_key": None,
            },
            _secret_outputs(opts, "private_key", "authority_key"),
        )
