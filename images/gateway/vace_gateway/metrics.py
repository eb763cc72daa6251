"""Prometheus metrics. Label values come from fixed sets, so that no client can make new series."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from vace_gateway import __version__

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Seconds; the long end is for downloads and WebSockets, which live as long as a video job.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """All metrics of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests answered", "route", "method", "status")
        self.duration = Histogram(
            "vace_gateway_request_duration_seconds",
            "Time from the request's headers to the end of its answer",
            ("route",),
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.in_flight = self._gauge("requests_in_flight", "Requests being answered now")
        self.websockets = self._gauge("websockets", "Open WebSocket connections")
        self.connections = self._gauge("connections", "Open client connections")
        self.dropped = self._counter("connections_dropped", "Connections over the limit")
        self.request_bytes = self._counter("request_bytes", "Body bytes from clients", "route")
        self.response_bytes = self._counter("response_bytes", "Body bytes to clients", "route")
        self.auth_failures = self._counter("auth_failures", "Refused credentials", "reason")
        self.queue_refusals = self._counter("queue_refusals", "Prompts refused: queue full")
        self.drain_refusals = self._counter("drain_refusals", "Prompts refused: ComfyUI drains")
        self.reloads = self._counter("reloads", "Reloads of token and certificate", "result")
        self.upstream_up = self._gauge("upstream_up", "1 when ComfyUI answers /system_stats")
        self.upstream_draining = self._gauge(
            "upstream_draining", "1 while ComfyUI drains; NaN when its status is not known"
        )
        self.ready = self._gauge("ready", "1 when /readyz says ready")
        self.queue_running = self._gauge("queue_running", "Prompts that ComfyUI executes now")
        self.queue_pending = self._gauge("queue_pending", "Prompts that wait in ComfyUI's queue")
        self.certificate_expiry = self._gauge(
            "certificate_expiry_timestamp_seconds", "notAfter of the certificate, Unix time"
        )
        build = self._gauge("build_info", "Version of the gateway", "version")
        build.labels(__version__).set(1)

    def observe(
        self,
        *,
        route: str,
        method: str,
        status: int,
        seconds: float,
        bytes_in: int,
        bytes_out: int,
    ) -> None:
        """Record one finished request."""
        known = method if method in METHODS else "other"
        self.requests.labels(route, known, str(status)).inc()
        self.duration.labels(route).observe(seconds)
        self.request_bytes.labels(route).inc(bytes_in)
        self.response_bytes.labels(route).inc(bytes_out)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"vace_gateway_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"vace_gateway_{name}", text, labels, registry=self.registry)
