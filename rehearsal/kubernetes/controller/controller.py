"""Gives LoadBalancer Services their addresses and routes, as the cloud's controller does."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rehearsal.kubernetes.controller.api import Api, ApiError, Mirror, Thing
from rehearsal.kubernetes.controller.listeners import (
    AnnotationError,
    Listener,
    backends,
    render,
    settings,
)

FINALIZER = "service.k8s.alibaba/resources"
_SERVICES = "/api/v1/services"
_SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
log = logging.getLogger(__name__)


class CloudFacts(Protocol):
    """What the controller asks of the emulated cloud."""

    def load_balancer_address(self, load_balancer_id: str) -> str | None:
        """The address of a load balancer that was made before; None when there is none."""

    def create_load_balancer(self, service_uid: str, *, internet: bool) -> str:
        """Makes one for a Service, or finds the one made before; returns its address."""

    def delete_load_balancer(self, service_uid: str) -> None:
        """Removes the one made for a Service; does nothing when there is none."""

    def access_list(self, acl_id: str) -> Sequence[str] | None:
        """The networks (CIDR) of an access list; None when there is none."""


def namespace_router(namespace: str) -> Callable[[Sequence[Listener]], None]:
    """Loads listeners as nftables rules into a network namespace of this machine."""

    def load(listeners: Sequence[Listener]) -> None:
        subprocess.run(
            ["ip", "netns", "exec", namespace, "nft", "-f", "-"],
            input=render(listeners).encode(),
            check=True,
            capture_output=True,
            timeout=20,
        )

    return load


class Controller:
    """Brings routes in line with the cluster after each change and every ``resync`` seconds.

    ``client`` is a ``kubernetes.client.ApiClient``; ``route`` gets all listeners at once.
    """

    def __init__(
        self,
        client: Any,
        cloud: CloudFacts,
        route: Callable[[Sequence[Listener]], None],
        *,
        resync: float = 5,
    ) -> None:
        self._api = Api(client)
        self._cloud = cloud
        self._route = route
        self._resync = resync
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._mirrors = {p: Mirror(self._api, p, self._changed.set) for p in (_SERVICES, _SLICES)}
        self._loop = threading.Thread(target=self._run, name="cloud controller", daemon=True)
        self._routed: tuple[Listener, ...] | None = None
        self._said: dict[str, str] = {}

    def start(self) -> None:
        """Returns at once; the first pass follows the first lists."""
        for mirror in self._mirrors.values():
            mirror.start()
        self._loop.start()

    def stop(self) -> None:
        """Ends all threads; routes stay as they are."""
        self._ended.set()
        self._changed.set()
        for mirror in self._mirrors.values():
            mirror.end()
        for thread in (*self._mirrors.values(), self._loop):
            thread.join(15)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._changed.wait(self._resync)
            self._changed.clear()
            if self._ended.is_set() or not all(m.listed.is_set() for m in self._mirrors.values()):
                continue
            try:
                self._pass()
            except Exception:  # the next pass starts from the whole state again
                log.exception("a pass of the cloud controller failed")
                self._ended.wait(0.5)
                self._changed.set()

    def _pass(self) -> None:
        wanted: list[Listener] = []
        leaving = []
        services = self._mirrors[_SERVICES].things()
        for service in services:
            held = FINALIZER in service["metadata"].get("finalizers", ())
            balanced = service["spec"].get("type") == "LoadBalancer" and not service["spec"].get(
                "loadBalancerClass"
            )
            if held and (not balanced or service["metadata"].get("deletionTimestamp")):
                leaving.append(service)
            elif balanced and not service["metadata"].get("deletionTimestamp"):
                try:
                    wanted += self._ensure(service)
                except (AnnotationError, ApiError) as error:
                    self._say(service, "Warning", "SyncLoadBalancerFailed", str(error))
        if self._routed != tuple(wanted):
            self._route(wanted)
            self._routed = tuple(wanted)
        for service in leaving:
            self._release(service)
        alive = {service["metadata"]["uid"] for service in services}
        self._said = {uid: text for uid, text in self._said.items() if uid in alive}

    def _ensure(self, service: Thing) -> list[Listener]:
        meta, spec = service["metadata"], service["spec"]
        asked = settings(meta.get("annotations") or {})
        sources = self._cloud.access_list(asked.acl) if asked.acl else None
        if asked.acl and sources is None:
            raise AnnotationError(
                f"access list {asked.acl!r} was given and does not exist; it must be one of this "
                "region, because the listener applies it: create it or correct acl-id"
            )
        if FINALIZER not in meta.get("finalizers", ()):
            finalizers = [*meta.get("finalizers", ()), FINALIZER]
            self._api.merge(_path(service), {"metadata": {"finalizers": finalizers}})
        if asked.load_balancer:
            address = self._cloud.load_balancer_address(asked.load_balancer)
            if address is None:
                raise AnnotationError(
                    f"load balancer {asked.load_balancer!r} was given and does not exist; it must "
                    "be one of this region, because the Service uses its address: create it or "
                    "correct the annotation id"
                )
        else:
            address = self._cloud.create_load_balancer(meta["uid"], internet=asked.internet)
        ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
        if [one.get("ip") for one in ingress] != [address]:
            status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
            self._api.merge(_path(service) + "/status", status)
        self._say(service, "Normal", "EnsuredLoadBalancer", f"Ensured load balancer [{address}]")
        if asked.load_balancer and not asked.override:
            return []  # the listeners of a load balancer that was there before are its owner's
        slices = [
            piece
            for piece in self._mirrors[_SLICES].things()
            if piece["metadata"]["namespace"] == meta["namespace"]
            and (piece["metadata"].get("labels") or {}).get("kubernetes.io/service-name")
            == meta["name"]
        ]
        unready = bool(spec.get("publishNotReadyAddresses"))
        return [
            Listener(
                address=address,
                port=port["port"],
                protocol=port.get("protocol", "TCP").lower(),
                backends=backends(slices, port.get("name", ""), unready=unready),
                sources=None if sources is None else tuple(sources),
                sources_allowed=asked.acl_allows,
            )
            for port in spec["ports"]
        ]

    def _release(self, service: Thing) -> None:
        meta = service["metadata"]
        self._cloud.delete_load_balancer(meta["uid"])
        rest = [name for name in meta["finalizers"] if name != FINALIZER]
        try:
            self._api.merge(_path(service), {"metadata": {"finalizers": rest}})
        except ApiError as error:
            if error.status != 404:
                raise

    def _say(self, service: Thing, kind: str, reason: str, message: str) -> None:
        meta = service["metadata"]
        if self._said.get(meta["uid"]) == message:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        event = {
            "metadata": {"generateName": f"{meta['name']}.", "namespace": meta["namespace"]},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Service",
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": "service-controller"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._api.call("POST", f"/api/v1/namespaces/{meta['namespace']}/events", event)
        self._said[meta["uid"]] = message


def _path(service: Thing) -> str:
    meta = service["metadata"]
    return f"/api/v1/namespaces/{meta['namespace']}/services/{meta['name']}"
