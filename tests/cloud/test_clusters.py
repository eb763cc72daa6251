"""What stands in for clusters, and the command line that chooses what runs them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from rehearsal.cloud.clusters import ClusterNotFoundError, ClusterSpec, NullClusters

SPEC = ClusterSpec(
    cluster_id="c1",
    version="1.34.1-aliyun.1",
    vpc_id="vpc-1",
    vswitch_cidr="10.1.1.0/24",
    service_cidr="172.21.0.0/20",
    region="cn-hangzhou",
    account="1234567890123456",
    public=True,
)


def test_a_client_certificate_is_signed_by_the_clusters_authority() -> None:
    """Prevents a kubeconfig that no TLS library would load."""
    clusters = NullClusters(lambda: datetime(2026, 1, 31, 8, tzinfo=UTC))
    clusters.create(SPEC)
    access = clusters.access("c1", 60, public=True)
    authority = x509.load_pem_x509_certificate(access.ca.encode())
    certificate = x509.load_pem_x509_certificate(access.client_certificate.encode())
    certificate.verify_directly_issued_by(authority)
    assert certificate.not_valid_after_utc == datetime(2026, 1, 31, 9, tzinfo=UTC) == access.expires
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert access.client_key not in repr(access)
    again = clusters.access("c1", 15, public=False)
    assert (again.ca, again.server) == (access.ca, clusters.servers("c1")[1])


def test_a_private_cluster_has_no_public_server() -> None:
    """Prevents a cluster without a public endpoint from having one."""
    clusters = NullClusters()
    clusters.create(dataclasses.replace(SPEC, public=False, private_ip="10.1.1.9"))
    assert clusters.servers("c1") == ("", "https://10.1.1.9:6443")
    with pytest.raises(ClusterNotFoundError, match="no address outside its VPC"):
        clusters.access("c1", 60, public=True)


def test_a_deleted_cluster_is_unknown() -> None:
    """Prevents credentials for what is gone; deleting twice is fine."""
    clusters = NullClusters()
    clusters.create(SPEC)
    clusters.delete("c1")
    clusters.delete("c1")
    assert not clusters.running("c1")
    with pytest.raises(ClusterNotFoundError, match="known:"):
        clusters.access("c1", 60, public=True)
