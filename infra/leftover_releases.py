"""Helm releases that an unfinished creation left: their name would be taken for the next ``up``.

Helm keeps a release as Secrets of its namespace and puts its name on every object as the label
``app.kubernetes.io/instance`` (charts do; this one does on all of its objects).
"""

import urllib.error
from collections.abc import Iterator
from typing import Any, Protocol

INSTANCE = "app.kubernetes.io/instance"
KINDS = (
    ("apps/v1", "deployments"),
    ("batch/v1", "jobs"),
    ("v1", "services"),
    ("v1", "configmaps"),
    ("v1", "secrets"),
    ("v1", "serviceaccounts"),
    ("v1", "persistentvolumeclaims"),
    ("policy/v1", "poddisruptionbudgets"),
    ("networking.k8s.io/v1", "networkpolicies"),
    ("networking.k8s.io/v1", "ingresses"),
)
"""Kinds of objects that the chart makes, in the order in which they go."""


class Objects(Protocol):
    """What is asked of the API server; the seam for tests."""

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return a list."""

    def delete(self, path: str, **query: str) -> None:
        """Delete an object; one that is gone is no error."""


def objects(api: Objects, namespace: str, release: str) -> list[str]:
    """Return the paths of all objects of a release, helm's own records last.

    Raises:
        OSError: the API server did not answer, or refused.
    """
    found = [
        path
        for version, plural in KINDS
        for path in _paths(api, version, plural, namespace, f"{INSTANCE}={release}")
    ]
    records = _paths(api, "v1", "secrets", namespace, f"owner=helm,name={release}")
    return [*found, *records]


def delete(api: Objects, paths: list[str]) -> None:
    """Delete objects and what belongs to them. Raises as :func:`objects`."""
    for path in paths:
        api.delete(path, propagationPolicy="Foreground")


def _paths(api: Objects, version: str, plural: str, namespace: str, selector: str) -> Iterator[str]:
    root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    base = f"{root}/namespaces/{namespace}/{plural}"
    try:
        items = api.get(base, labelSelector=selector)["items"]
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return
    for item in items:
        yield f"{base}/{item['metadata']['name']}"
