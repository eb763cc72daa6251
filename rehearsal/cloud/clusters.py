"""What the emulated cloud asks of the thing that runs clusters, and a stand-in that runs none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# The stand-in's API server: TCP port 1 on the loopback address, where nothing listens.
NOBODY = "https://127.0.0.1:1"
_AUTHORITY_DAYS = 3650


@dataclass(frozen=True)
class ClusterSpec:
    """What a cluster needs to be started.

    ``version`` is a Kubernetes version without a leading v (``1.34.1-aliyun.1``), ``vswitch_cidr``
    the block of the first vSwitch, and ``public`` says whether the API server is to be reachable
    from outside the VPC. ``private_ip`` and ``public_ip`` are addresses that the cloud keeps free
    for the API server: one of the first vSwitch, and (if ``public``) one of the pool of elastic
    addresses.
    """

    cluster_id: str
    version: str
    vpc_id: str
    vswitch_cidr: str
    service_cidr: str
    region: str
    account: str
    public: bool
    private_ip: str = ""
    public_ip: str = ""


@dataclass(frozen=True)
class Access:
    """A way into a cluster's API server; certificates and key are PEM."""

    server: str
    ca: str
    client_certificate: str
    client_key: str = field(repr=False)
    expires: datetime


class ClusterNotFoundError(LookupError):
    """An operation named a cluster that the engine does not have."""


class ClusterEngine(Protocol):
    """Runs clusters. All methods may be called from any thread."""

    def create(self, spec: ClusterSpec) -> None:
        """Start a cluster and return when its node is ready. Idempotent."""

    def running(self, cluster_id: str) -> bool:
        """Whether the cluster's control plane is alive."""

    def access(self, cluster_id: str, minutes: int, public: bool) -> Access:
        """A client certificate that ends in ``minutes`` minutes, and where to use it."""

    def delete(self, cluster_id: str) -> None:
        """Remove the cluster and everything in it. Idempotent."""

    def servers(self, cluster_id: str) -> tuple[str, str]:
        """The URLs of the API server: (from outside or "", from inside the VPC)."""

    def oidc_issuer(self, cluster_id: str) -> str:
        """The issuer that stands in the cluster's service account tokens."""

    def close(self) -> None:
        """Release what the engine itself holds; clusters stay as they are."""


class NullClusters:
    """Keeps the book on clusters without running any: for tests and runs of the API alone.

    The certificates that it hands out are real ones of an authority of its own; the server that
    they are for does not exist. ``fail`` may be set by a test to make :meth:`create` fail.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._lock = threading.RLock()
        self._clock = clock
        self._authorities: dict[str, tuple[x509.Certificate, ec.EllipticCurvePrivateKey]] = {}
        self.clusters: dict[str, ClusterSpec] = {}
        self.fail: Callable[[ClusterSpec], None] | None = None

    def create(self, spec: ClusterSpec) -> None:
        """Note the cluster as running."""
        if self.fail is not None:
            self.fail(spec)
        with self._lock:
            self.clusters[spec.cluster_id] = spec

    def running(self, cluster_id: str) -> bool:
        """Whether the cluster was created and not deleted since."""
        with self._lock:
            return cluster_id in self.clusters

    def access(self, cluster_id: str, minutes: int, public: bool) -> Access:
        """A certificate of the group system:masters for a server that nobody runs."""
        with self._lock:
            public_url, intranet_url = self.servers(cluster_id)
            if public and not public_url:
                raise ClusterNotFoundError(
                    f"cluster {cluster_id} has no address outside its VPC: it was created without "
                    "endpoint_public_access. Ask for the intranet one."
                )
            authority, authority_key = self._authority(cluster_id)
            now = self._clock()
            expires = now + timedelta(minutes=minutes)
            key = ec.generate_private_key(ec.SECP256R1())
            names = (_name("rehearsal", "system:masters"), authority.subject)
            certificate = _certificate(names, (now, expires), key, None).sign(
                authority_key, hashes.SHA256()
            )
            return Access(
                server=public_url if public else intranet_url,
                ca=_pem(authority),
                client_certificate=_pem(certificate),
                client_key=key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ).decode(),
                expires=expires,
            )

    def delete(self, cluster_id: str) -> None:
        """Forget the cluster."""
        with self._lock:
            self.clusters.pop(cluster_id, None)
            self._authorities.pop(cluster_id, None)

    def servers(self, cluster_id: str) -> tuple[str, str]:
        """An address where nothing listens, and one in the first vSwitch."""
        with self._lock:
            spec = self._known(cluster_id)
            inside = spec.private_ip or IPv4Network(spec.vswitch_cidr)[2]
            return (NOBODY if spec.public else "", f"https://{inside}:6443")

    def oidc_issuer(self, cluster_id: str) -> str:
        """The issuer as ACK names it."""
        with self._lock:
            spec = self._known(cluster_id)
        return f"https://oidc-ack-{spec.region}.oss-{spec.region}.aliyuncs.com/{cluster_id}"

    def close(self) -> None:
        """Nothing to release."""

    def _known(self, cluster_id: str) -> ClusterSpec:
        spec = self.clusters.get(cluster_id)
        if spec is None:
            raise ClusterNotFoundError(
                f"no cluster {cluster_id}; known: {sorted(self.clusters)}. Create it first."
            )
        return spec

    def _authority(self, cluster_id: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        made = self._authorities.get(cluster_id)
        if made is None:
            key = ec.generate_private_key(ec.SECP256R1())
            name = _name(cluster_id, "kubernetes")
            now = self._clock()
            ends = now + timedelta(days=_AUTHORITY_DAYS)
            certificate = _certificate((name, name), (now, ends), key, 0).sign(key, hashes.SHA256())
            made = self._authorities[cluster_id] = (certificate, key)
        return made


def _name(common: str, organization: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _certificate(
    names: tuple[x509.Name, x509.Name],
    valid: tuple[datetime, datetime],
    key: ec.EllipticCurvePrivateKey,
    path_length: int | None,
) -> x509.CertificateBuilder:
    """A certificate to be signed: (subject, issuer), (from, to); an authority's with a length."""
    return (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0] - timedelta(minutes=5))
        .not_valid_after(valid[1])
        .add_extension(
            x509.BasicConstraints(ca=path_length is not None, path_length=path_length),
            critical=True,
        )
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
