"""RELEASE: the chart on the cluster, its Secrets, and the wait until its pods serve."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.helm.v3 import Release as HelmRelease

from infra import pki
from infra.cards import Answer
from infra.config import DIGEST_REFERENCE, Settings
from infra.dynamic.credentials import ApiToken, CertificateAuthority, ServerCertificate
from infra.dynamic.emptied import Emptied
from infra.dynamic.rollout import Rollout

CHART = Path(__file__).resolve().parents[2] / "charts" / "comfyui-vace"
RELEASE = "vace"
"""Name of the Helm release; namespaces keep stacks apart."""
TOKEN_SECRET, TLS_SECRET, LOGIN_SECRET = "vace-token", "vace-tls", "vace-registry"
CREDENTIALS = "wan-vace/credentials"
RESULTS_CLAIM = "results"


def image(reference: str) -> dict[str, str]:
    """Return an image by digest as the chart wants it.

    Raises:
        ValueError: it is none; :mod:`infra.config` refuses such before.
    """
    if not DIGEST_REFERENCE.fullmatch(reference):
        raise ValueError(f"{reference!r} is not an image by digest")
    name, digest = reference.split("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # a port, not a tag
        repository, tag = name, ""
    return {"repository": repository, "digest": digest, "tag": tag}


def values(
    settings: Settings, card: Answer, *, address: str, annotations: Mapping[str, str], seal: str
) -> dict[str, Any]:
    """Return the chart's values; none is secret.

    Args:
        address: the load balancer's.
        annotations: of the Service.
        seal: fingerprint of token and certificate, so that a new one restarts the gateway.
    """
    hosts = [address, *([settings.hostname] if settings.hostname else [])]
    data = {
        "enabled": True,
        "size": f"{settings.storage_gib}Gi",
        "storageClassName": settings.storage_class,
    }
    persistence: dict[str, Any] = {"keep": False, "data": data}
    if settings.results_in_bucket:
        persistence["output"] = {"existingClaim": RESULTS_CLAIM}
    return {
        "fullnameOverride": RELEASE,
        "images": {
            "comfyui": image(settings.comfyui_image),
            "gateway": image(settings.gateway_image),
            "pullSecrets": [LOGIN_SECRET] if settings.registry_host else [],
        },
        "auth": {"existingSecret": TOKEN_SECRET},
        "tls": {"existingSecret": TLS_SECRET, "caKey": "ca.crt", "selfSigned": False},
        "speedProfile": settings.speed_profile,
        "gpu": {"count": settings.gpu_count, "resourceName": card.card.resource},
        "acs": {
            "enabled": True,
            "computeQos": "best-effort" if settings.best_effort else "default",
            "gpuSeries": card.label,
            "gpuDriverVersion": card.driver,
            "networkPolicyAgent": settings.network_policy,
        },
        "comfyui": {
            "resources": {
                "cpu": str(settings.pod_vcpu),
                "memory": f"{settings.pod_memory_gib}Gi",
                "ephemeralStorage": f"{settings.pod_ephemeral_gib}Gi",
            }
        },
        "startup": {"timeoutSeconds": settings.ready_timeout_seconds},
        "drain": {"seconds": settings.drain_seconds},
        "persistence": persistence,
        "gateway": {
            "allowedHosts": hosts,
            "maxUploadMiB": settings.max_upload_mib,
            "podAnnotations": {CREDENTIALS: seal},
        },
        "service": {"type": "LoadBalancer", "annotations": dict(annotations)},
        "networkPolicy": {"enabled": settings.network_policy},
    }


def fingerprint(*parts: str) -> str:
    """Return a short digest: enough to see a change, nothing to read."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def chart_fingerprint(chart: Path = CHART) -> str:
    """Return a digest of the chart's files."""
    digest = hashlib.sha256()
    for path in sorted(chart.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(chart)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


class Release(pulumi.ComponentResource):
    """Namespace, Secrets, Helm release and the rollout, in one cluster."""

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        card: Answer,
        cluster_id: pulumi.Output[str],
        kubeconfig: pulumi.Output[str],
        address: pulumi.Output[str],
        annotations: pulumi.Output[dict[str, str]],
        results: tuple[pulumi.Output[str], pulumi.Output[str]] | None,
        depends_on: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("wanvace:release:Release", name, None, opts)
        self._name, self._settings = name, settings
        self.namespace = settings.names.prefix
        plain = pulumi.ResourceOptions(parent=self)
        private = not settings.api_server_public
        provider = kubernetes.Provider(
            name,
            kubeconfig=kubeconfig,
            # Another address of the same cluster must not replace everything in it.
            cluster_identifier=cluster_id,
            # A new token or certificate changes its Secret; replacing it would take it away from
            # running pods for a moment.
            enable_secret_mutable=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(depends_on)),
        )
        emptied = Emptied(
            name,
            region=settings.region,
            cluster_id=cluster_id,
            private=private,
            namespace=self.namespace,
            opts=plain,
        )
        namespace = kubernetes.core.v1.Namespace(
            name,
            metadata={"name": self.namespace},
            opts=pulumi.ResourceOptions(parent=self, provider=provider, depends_on=[emptied]),
        )
        self._inside = pulumi.ResourceOptions(
            parent=self, provider=provider, depends_on=[namespace]
        )
        made = [*self._credentials(address), *(self._results(*results) if results else [])]
        seal = pulumi.Output.unsecret(
            pulumi.Output.all(self.token, self.certificate).apply(
                lambda found: fingerprint(*map(str, found))
            )
        )
        described: pulumi.Output[dict[str, Any]] = pulumi.Output.all(
            address, annotations, seal
        ).apply(
            lambda found: values(
                settings, card, address=found[0], annotations=found[1], seal=found[2]
            )
        )
        release = HelmRelease(
            name,
            name=RELEASE,
            namespace=self.namespace,
            # Relative: an absolute path would differ on another machine, and so would the stack.
            chart=os.path.relpath(CHART),
            values=described,
            # The rollout below waits, and knows why when it fails.
            skip_await=True,
            opts=pulumi.ResourceOptions(
                parent=self, provider=provider, depends_on=[namespace, *made]
            ),
        )
        self.rollout = Rollout(
            name,
            region=settings.region,
            cluster_id=cluster_id,
            private=private,
            namespace=self.namespace,
            release=RELEASE,
            triggers=described.apply(
                lambda found: [fingerprint(json.dumps(found, sort_keys=True)), chart_fingerprint()]
            ),
            # An old pod may finish its videos before a new one is made.
            timeout_seconds=settings.ready_timeout_seconds + settings.drain_seconds,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[release]),
        )
        self.register_outputs({"namespace": self.namespace})

    def _credentials(self, address: pulumi.Output[str]) -> list[pulumi.Resource]:
        name, settings = self._name, self._settings
        child = pulumi.ResourceOptions(parent=self)
        token = ApiToken(name, generation=settings.token_generation, opts=child)
        authority = CertificateAuthority(
            name, common_name=f"{settings.names.prefix} CA", opts=child
        )
        names: list[pulumi.Input[str]] = [address, f"{RELEASE}.{self.namespace}.svc"]
        if settings.hostname:
            names.append(settings.hostname)
        server = ServerCertificate(
            name,
            authority=authority,
            names=names,
            generation=settings.tls_generation,
            opts=child,
        )
        self.token = token.value
        self.ca_certificate = authority.certificate
        self.certificate = server.certificate
        self.certificate_expires = server.certificate.apply(pki.expires)
        tls = {
            "tls.crt": server.certificate,
            "tls.key": server.private_key,
            "ca.crt": authority.certificate,
        }
        made: list[pulumi.Resource] = [
            self._secret(TOKEN_SECRET, "Opaque", {"token": token.value}),
            self._secret(TLS_SECRET, "kubernetes.io/tls", tls),
        ]
        if settings.registry_host and settings.registry_password:
            login = {
                "username": settings.registry_username,
                "password": settings.registry_password.get_secret_value(),
            }
            document = json.dumps({"auths": {settings.registry_host: login}})
            made.append(
                self._secret(
                    LOGIN_SECRET,
                    "kubernetes.io/dockerconfigjson",
                    {".dockerconfigjson": pulumi.Output.secret(document)},
                )
            )
        return made

    def _secret(
        self, secret_name: str, kind: str, data: Mapping[str, pulumi.Input[str]]
    ) -> kubernetes.core.v1.Secret:
        return kubernetes.core.v1.Secret(
            f"{self._name}-{secret_name}",
            metadata={"name": secret_name, "namespace": self.namespace},
            type=kind,
            string_data=dict(data),
            opts=self._inside,
        )

    def _results(
        self, bucket: pulumi.Output[str], role: pulumi.Output[str]
    ) -> list[pulumi.Resource]:
        """The bucket's folder as a claim. OSS volumes are made by hand on ACS, not by a class."""
        volume_name = f"{self.namespace}-{RESULTS_CLAIM}"
        size = {"storage": "1Ti"}  # nominal; a bucket has no size
        volume = kubernetes.core.v1.PersistentVolume(
            f"{self._name}-{RESULTS_CLAIM}",
            metadata={"name": volume_name},
            spec={
                "capacity": size,
                "access_modes": ["ReadWriteMany"],
                "persistent_volume_reclaim_policy": "Retain",
                "storage_class_name": "",
                "csi": {
                    "driver": "ossplugin.csi.alibabacloud.com",
                    "volume_handle": volume_name,
                    "volume_attributes": {
                        "bucket": bucket,
                        "url": f"oss-{self._settings.region}-internal.aliyuncs.com",
                        "path": "/outputs",
                        "fuseType": "ossfs",
                        "authType": "rrsa",
                        "roleName": role,
                        "otherOpts": "-o umask=022 -o uid=10001 -o gid=10001 -o allow_other",
                    },
                },
            },
            opts=self._inside,
        )
        claim = kubernetes.core.v1.PersistentVolumeClaim(
            f"{self._name}-{RESULTS_CLAIM}",
            metadata={"name": RESULTS_CLAIM, "namespace": self.namespace},
            spec={
                "access_modes": ["ReadWriteMany"],
                "storage_class_name": "",
                "volume_name": volume_name,
                "resources": {"requests": size},
            },
            opts=pulumi.ResourceOptions.merge(
                self._inside, pulumi.ResourceOptions(depends_on=[volume])
            ),
        )
        return [volume, claim]
