"""Licences of wheels, from their core metadata (PEP 658: served beside the wheel)."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from email.parser import HeaderParser

import httpx

_WORKERS = 8
_TIMEOUT_S = 20.0
_MAX_NAME = 60


def licences(urls: Mapping[str, str]) -> dict[str, str | None]:
    """Return key -> licence for key -> address of a wheel; None where it cannot be told."""
    trust = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
    with (
        httpx.Client(verify=trust, timeout=_TIMEOUT_S, follow_redirects=True) as client,
        ThreadPoolExecutor(_WORKERS) as pool,
    ):

        def ask(url: str) -> str | None:
            try:
                answer = client.get(f"{url}.metadata")
            except httpx.HTTPError:
                return None
            return licence_of(answer.text) if answer.is_success else None

        return dict(zip(urls, pool.map(ask, urls.values()), strict=True))


def licence_of(metadata: str) -> str | None:
    """Return the licence that core metadata names: expression, classifiers, or a short text."""
    headers = HeaderParser().parsestr(metadata)
    expression = headers.get("License-Expression")
    if expression:
        return str(expression).strip()
    classifiers = [
        str(value).rpartition("::")[2].strip()
        for value in headers.get_all("Classifier", [])
        if str(value).startswith("License ::")
    ]
    classifiers = [name for name in classifiers if name != "OSI Approved"]
    if classifiers:
        return " AND ".join(sorted(set(classifiers)))
    text = re.sub(r"\s+", " ", str(headers.get("License", ""))).strip()
    return text if text and len(text) <= _MAX_NAME else None
