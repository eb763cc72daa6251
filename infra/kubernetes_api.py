"""The few questions to a Kubernetes API server that the program itself asks.

Plain HTTPS with a client certificate that is asked for anew when it has expired: the official
client takes seconds to import, and a kubeconfig with a fixed certificate would end a long wait.
"""

import json
import os
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.cluster_access import Access

TIMEOUT_SECONDS = 20.0


class KubernetesApi:
    """Reads and deletes objects of one cluster, as JSON documents."""

    def __init__(self, access: Callable[[], Access]) -> None:
        self._access = access
        self._server = ""
        self._context: ssl.SSLContext | None = None

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return an object or list.

        Raises:
            urllib.error.HTTPError: the server refused; ``code`` is its HTTP status.
            OSError: it did not answer.
        """
        document: dict[str, Any] = json.loads(self._ask("GET", path, query))
        return document

    def text(self, path: str, **query: str) -> str:
        """Return a text, such as a log. Raises as :meth:`get`."""
        return self._ask("GET", path, query).decode(errors="replace")

    def delete(self, path: str, **query: str) -> None:
        """Delete an object; one that is gone is no error. Raises as :meth:`get`."""
        try:
            self._ask("DELETE", path, query)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise

    def _ask(self, method: str, path: str, query: dict[str, str]) -> bytes:
        try:
            return self._once(method, path, query)
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
        # The certificate has expired or was revoked: a new one, once.
        self._context = None
        return self._once(method, path, query)

    def _once(self, method: str, path: str, query: dict[str, str]) -> bytes:
        if self._context is None:
            access = self._access()
            self._server, self._context = access.server.rstrip("/"), context(access)
        tail = f"?{urllib.parse.urlencode(query)}" if query else ""
        url = f"{self._server}{path}{tail}"
        request = urllib.request.Request(url, method=method)  # noqa: S310  always https
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=self._context))
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            body: bytes = answer.read()
        return body


def context(access: Access) -> ssl.SSLContext:
    """Return TLS settings that trust the cluster's authority only and show the certificate.

    Python reads a client's key from a file only: it lies there, readable by this user, for the
    moment of reading.
    """
    made = ssl.create_default_context(cadata=access.authority)
    descriptor, path = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{access.certificate.strip()}\n{access.private_key.strip()}\n")
        made.load_cert_chain(path)
    finally:
        Path(path).unlink()
    return made
