"""Short-lived access to the cluster: a kubeconfig without secrets, and what it asks for them.

The kubeconfig that the program gives to Pulumi, and that the stack shows, holds the API server's
address and authority and no credential: whoever uses it runs ``python -m infra.cluster_access``,
which asks Alibaba Cloud in the user's own name for a client certificate of an hour. So nothing
changes between two ``pulumi up``, nothing expires in a long run, and a leaked file opens nothing.

``--kubeconfig`` prints a file that stands for itself, for tools on another machine: it holds such a
certificate, so keep it as a secret until it expires.
"""

import argparse
import base64
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from infra import advice, openapi

MINUTES = 60
"""Life of a certificate; CS takes 15 to 4320."""
LEAST_MINUTES, MOST_MINUTES = 15, 4320

# The engine runs plugins beside the program, people run tools in the repository; an absolute path
# would differ from machine to machine, and so would the stack.
_PLUGIN = (
    'for d in . ..; do if [ -f "$d/infra/cluster_access.py" ]; then cd "$d" && '
    'exec .venv/bin/python -m infra.cluster_access "$@"; fi; done; '
    'echo "run this in the repository: .venv and infra are not here" >&2; exit 1'
)


class AccessError(Exception):
    """The cluster gives no access; the message says why and what to do."""


@dataclass(frozen=True)
class Access:
    """One client's way in: address, authority and a certificate with its key, all PEM texts.

    ``expires`` is a time like 2026-11-24T12:00:00Z, or empty when the cloud did not say.
    """

    server: str
    authority: str
    certificate: str
    private_key: str
    expires: str = ""


def fetch(
    ask: openapi.Api, cluster_id: str, *, minutes: int = MINUTES, private: bool = False
) -> Access:
    """Ask CS for access to a cluster.

    Args:
        ask: caller of ``cs``.
        private: for the API server's address inside the VPC.

    Raises:
        AccessError: the answer is no kubeconfig.
        Exception: what the SDK raises, see :func:`infra.openapi.code`.
    """
    answer = ask(
        "DescribeClusterUserKubeconfig",
        {
            "ClusterId": cluster_id,
            "PrivateIpAddress": "true" if private else "false",
            "TemporaryDurationMinutes": str(minutes),
        },
    )
    return parse(str(answer.get("config") or ""), str(answer.get("expiration") or ""))


def parse(kubeconfig: str, expires: str = "") -> Access:
    """Return what a kubeconfig of CS holds.

    Raises:
        AccessError: it lacks an address, an authority or a certificate.
    """
    try:
        document: Any = yaml.safe_load(kubeconfig)
        cluster = document["clusters"][0]["cluster"]
        user = document["users"][0]["user"]
        return Access(
            server=str(cluster["server"]),
            authority=_pem(cluster["certificate-authority-data"]),
            certificate=_pem(user["client-certificate-data"]),
            private_key=_pem(user["client-key-data"]),
            expires=expires,
        )
    except (KeyError, IndexError, TypeError, ValueError, yaml.YAMLError) as error:
        raise AccessError(
            "the cloud's kubeconfig holds no address with authority and client certificate "
            f"({type(error).__name__}: {error}), so the cluster cannot be reached. Wait until the "
            "cluster is running; with apiServerPublic false, run this inside the VPC"
        ) from error


def _pem(data: str) -> str:
    return base64.b64decode(data, validate=True).decode()


def _data(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()


def exec_kubeconfig(
    *, name: str, server: str, authority: str, region: str, cluster_id: str, private: bool
) -> str:
    """Return the kubeconfig without secrets; ``authority`` is PEM."""
    arguments = ["--region", region, "--cluster-id", cluster_id, "--minutes", str(MINUTES)]
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": ["-c", _PLUGIN, "cluster-access", *arguments, *_flags(private)],
            "interactiveMode": "Never",
        }
    }
    return _document(name, server, authority, user)


def _flags(private: bool) -> list[str]:
    return ["--private"] if private else []


def full_kubeconfig(name: str, access: Access) -> str:
    """Return a kubeconfig that holds the certificate itself; it is a secret until it expires."""
    user = {
        "client-certificate-data": _data(access.certificate),
        "client-key-data": _data(access.private_key),
    }
    return _document(name, access.server, access.authority, user)


def _document(name: str, server: str, authority: str, user: dict[str, Any]) -> str:
    cluster = {"server": server, "certificate-authority-data": _data(authority)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return yaml.safe_dump(document, sort_keys=False)


def exec_credential(access: Access) -> str:
    """Return what a credential plugin prints (client.authentication.k8s.io/v1 ExecCredential)."""
    status = {
        "clientCertificateData": access.certificate,
        "clientKeyData": access.private_key,
    }
    if access.expires:
        status["expirationTimestamp"] = access.expires
    document = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": status,
    }
    return json.dumps(document)


def _minutes(text: str) -> int:
    minutes = int(text)
    if not LEAST_MINUTES <= minutes <= MOST_MINUTES:
        raise argparse.ArgumentTypeError(
            f"{minutes} was given; CS allows {LEAST_MINUTES} to {MOST_MINUTES} minutes"
        )
    return minutes


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of ``python -m infra.cluster_access``."""
    parser = argparse.ArgumentParser(prog="python -m infra.cluster_access", description=__doc__)
    parser.add_argument("--region", required=True)
    parser.add_argument("--cluster-id", required=True)
    parser.add_argument("--minutes", type=_minutes, default=MINUTES, help="life of the certificate")
    parser.add_argument("--private", action="store_true", help="the API server inside the VPC")
    parser.add_argument(
        "--kubeconfig", action="store_true", help="print a kubeconfig instead of an ExecCredential"
    )
    options = parser.parse_args(argv)
    try:
        access = fetch(
            openapi.client("cs", options.region),
            options.cluster_id,
            minutes=options.minutes,
            private=options.private,
        )
    except Exception as error:
        sentence = str(error) if isinstance(error, AccessError) else advice.of_call(error)
        if not sentence:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 1
    print(
        full_kubeconfig(options.cluster_id, access)
        if options.kubeconfig
        else exec_credential(access)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
