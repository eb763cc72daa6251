"""The Kubernetes API as plain JSON, and mirrors of collections that follow its changes."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import urllib3

Thing = dict[str, Any]
log = logging.getLogger(__name__)


class ApiError(Exception):
    """The apiserver refused a call; ``status`` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the Kubernetes API answered {status}: {message}")
        self.status = status


class Api:
    """Calls by path through the connection of a ``kubernetes.client.ApiClient``."""

    def __init__(self, client: Any) -> None:
        self._host = client.configuration.host
        self._headers = dict(client.default_headers)
        self._pool = client.rest_client.pool_manager

    def call(
        self, method: str, path: str, body: Thing | None = None, *, kind: str = "application/json"
    ) -> Thing:
        """One call of at most 10 seconds. Raises ApiError, or urllib3's HTTPError."""
        answer = self._pool.request(
            method,
            self._host + path,
            body=None if body is None else json.dumps(body),
            headers={**self._headers, "Content-Type": kind},
            timeout=10,
            retries=False,
        )
        data: Thing = json.loads(answer.data) if answer.data else {}
        if answer.status >= 400:
            raise ApiError(answer.status, str(data.get("message", "")))
        return data

    def merge(self, path: str, body: Thing) -> Thing:
        """A JSON merge patch: null removes a key."""
        return self.call("PATCH", path, body, kind="application/merge-patch+json")

    def watch(self, path: str, version: str) -> Any:
        """The open answer to a watch of half a minute; its lines are events."""
        query = urlencode({"watch": "1", "resourceVersion": version, "timeoutSeconds": 30})
        return self._pool.request(
            "GET",
            f"{self._host}{path}?{query}",
            headers=self._headers,
            timeout=urllib3.Timeout(connect=5, read=40),
            preload_content=False,
            retries=False,
        )


class Mirror(threading.Thread):
    """Follows one collection; lists it anew after every failure and every end of a watch."""

    def __init__(self, api: Api, path: str, changed: Callable[[], None]) -> None:
        super().__init__(name=f"mirror {path}", daemon=True)
        self._api = api
        self._path = path
        self._changed = changed
        self._ended = threading.Event()
        self._open: Any = None
        self._lock = threading.Lock()
        self._things: dict[str, Thing] = {}
        self.listed = threading.Event()

    def things(self) -> list[Thing]:
        """A copy of the list; the objects themselves must not be changed."""
        with self._lock:
            return list(self._things.values())

    def run(self) -> None:
        """Until ``end``; a stopped apiserver is asked again twice a second."""
        while not self._ended.is_set():
            try:
                self._follow(self._list())
            except Exception as error:  # a broken connection shows as many types
                if not self._ended.is_set():
                    log.info("%s: listed anew after: %s", self._path, error)
                    self._ended.wait(0.5)

    def end(self) -> None:
        """Breaks the open watch, so that the thread ends at once."""
        self._ended.set()
        answer = self._open
        if answer is not None:
            try:
                answer.shutdown()
            except (OSError, ValueError, RuntimeError):
                log.debug("%s: the watch had already ended", self._path)

    def _list(self) -> str:
        answer = self._api.call("GET", self._path)
        with self._lock:
            self._things = {item["metadata"]["uid"]: item for item in answer["items"]}
        self.listed.set()
        self._changed()
        return str(answer["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> None:
        self._open = self._api.watch(self._path, version)
        try:
            rest = b""
            while not self._ended.is_set():
                part = self._open.read1(1 << 16)
                if not part:
                    return
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
        finally:
            answer, self._open = self._open, None
            answer.close()

    def _take(self, event: Thing) -> None:
        if event["type"] == "ERROR":
            raise ApiError(410, str(event["object"].get("message", "")))
        thing = event["object"]
        with self._lock:
            if event["type"] == "DELETED":
                self._things.pop(thing["metadata"]["uid"], None)
            else:
                self._things[thing["metadata"]["uid"]] = thing
        self._changed()
