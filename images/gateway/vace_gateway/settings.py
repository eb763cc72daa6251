"""The gateway's settings: read from the environment once, checked, then frozen.

Every mistake is reported at once, each with the name of its key. An unknown ``VACE_GATEWAY_*``
name is a mistake too: a typo that silently leaves a limit at its default is found in production.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from vace_gateway.errors import Problem, SettingsError

PREFIX: Final = "VACE_GATEWAY_"
MEBIBYTE: Final = 1024 * 1024
# A file of exactly the permitted size still has to fit with its multipart envelope around it.
MULTIPART_ENVELOPE_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Address:
    """A listening address. Port 0 lets the system choose (tests use it)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Key:
    """One environment variable: its default and what it means (``--help`` prints both)."""

    name: str
    default: str
    meaning: str


KEYS: Final = (
    Key("TLS_LISTEN", "0.0.0.0:443", "address of the HTTPS listener; empty turns it off"),
    Key("TLS_CERT", "", "PEM certificate chain; reloaded on SIGHUP"),
    Key("TLS_KEY", "", "PEM private key; reloaded on SIGHUP"),
    Key("TOKEN_FILE", "", "file with the API token; reloaded on SIGHUP"),
    Key("UPSTREAM", "http://127.0.0.1:8188", "base URL of ComfyUI"),
    Key(
        "UPSTREAM_STATUS",
        "",
        "base URL of vace-comfyui's status listener; empty (the default) is off",
    ),
    Key("PLAIN_LISTEN", "", "address of a listener without TLS; empty (the default) is off"),
    Key("METRICS_LISTEN", "127.0.0.1:9464", "address of the Prometheus listener; empty is off"),
    Key("ALLOWED_HOSTS", "localhost,127.0.0.1,::1", "names accepted in the Host header, no ports"),
    Key(
        "REQUIRED_NODES",
        "WanVaceToVideo,VHS_VideoCombine,ImageResizeKJv2,INTConstant",
        "ComfyUI node classes without which /readyz says no; empty asks for none",
    ),
    Key("MAX_UPLOAD_MIB", "512", "largest uploaded file"),
    Key("MAX_PROMPT_MIB", "8", "largest body of POST /prompt and of a saved workflow"),
    Key("MAX_QUEUE", "32", "waiting prompts before POST /prompt answers 429; 0 is no limit"),
    Key("MAX_CONNECTIONS", "1024", "open client connections before new ones are dropped"),
    Key("SESSION_HOURS", "12", "life of a browser session"),
    Key("FAILURES_PER_MINUTE", "10", "wrong tokens per client address before 429"),
    Key("CONNECT_SECONDS", "5", "time to reach ComfyUI"),
    Key("HEADERS_SECONDS", "120", "time for ComfyUI to begin its answer after a request is sent"),
    Key("IDLE_SECONDS", "300", "time without a single byte before a stream is given up"),
    Key("HEARTBEAT_SECONDS", "20", "interval of WebSocket pings to the client"),
    Key("DRAIN_SECONDS", "25", "time for requests in flight after SIGTERM"),
)


@dataclass(frozen=True)
class Settings:
    """Checked settings. Sizes are bytes, times are seconds."""

    tls_listen: Address | None
    tls_certificate: Path | None
    tls_key: Path | None
    token_file: Path
    upstream: str
    upstream_status: str
    plain_listen: Address | None
    metrics_listen: Address | None
    allowed_hosts: frozenset[str]
    required_nodes: tuple[str, ...]
    max_upload_bytes: int
    max_prompt_bytes: int
    max_queue: int
    max_connections: int
    session_seconds: int
    failures_per_minute: int
    connect_seconds: float
    headers_seconds: float
    idle_seconds: float
    heartbeat_seconds: float
    drain_seconds: float

    @property
    def max_upload_body_bytes(self) -> int:
        """Limit of an upload's whole body: the largest file plus its multipart envelope."""
        return self.max_upload_bytes + MULTIPART_ENVELOPE_BYTES

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read and check all keys.

        Raises SettingsError with every problem found.
        """
        reader = _Reader(os.environ if environment is None else environment)
        settings = cls(
            tls_listen=reader.address("TLS_LISTEN"),
            tls_certificate=reader.optional_path("TLS_CERT"),
            tls_key=reader.optional_path("TLS_KEY"),
            token_file=reader.path("TOKEN_FILE"),
            upstream=reader.upstream("UPSTREAM", "http://127.0.0.1:8188"),
            upstream_status=reader.optional_upstream("UPSTREAM_STATUS"),
            plain_listen=reader.address("PLAIN_LISTEN"),
            metrics_listen=reader.address("METRICS_LISTEN"),
            allowed_hosts=reader.hosts("ALLOWED_HOSTS"),
            required_nodes=reader.names("REQUIRED_NODES"),
            max_upload_bytes=reader.integer("MAX_UPLOAD_MIB", 1, 65536) * MEBIBYTE,
            max_prompt_bytes=reader.integer("MAX_PROMPT_MIB", 1, 256) * MEBIBYTE,
            max_queue=reader.integer("MAX_QUEUE", 0, 10000),
            max_connections=reader.integer("MAX_CONNECTIONS", 1, 65536),
            session_seconds=reader.integer("SESSION_HOURS", 1, 168) * 3600,
            failures_per_minute=reader.integer("FAILURES_PER_MINUTE", 1, 600),
            connect_seconds=reader.number("CONNECT_SECONDS", 0.05, 60),
            headers_seconds=reader.number("HEADERS_SECONDS", 0.05, 3600),
            idle_seconds=reader.number("IDLE_SECONDS", 0.05, 86400),
            heartbeat_seconds=reader.number("HEARTBEAT_SECONDS", 0.05, 600),
            drain_seconds=reader.number("DRAIN_SECONDS", 0, 3600),
        )
        reader.check_together(settings)
        reader.finish()
        return settings


class _Reader:
    """Parses one key after the other and collects what is wrong."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._values = {key.name: key.default for key in KEYS}
        self._problems: list[Problem] = []
        for name, value in environment.items():
            if not name.startswith(PREFIX):
                continue
            short = name.removeprefix(PREFIX)
            if short in self._values:
                self._values[short] = value.strip()
            else:
                self._problems.append(
                    Problem(
                        name,
                        "a name that the gateway does not know",
                        ", ".join(PREFIX + key.name for key in KEYS),
                        "a misspelt name would leave its setting at the default without a word",
                        "correct the name or remove the variable",
                    )
                )

    def _bad(self, name: str, allowed: str, why: str, remedy: str) -> None:
        given = f'"{self._values[name]}"' if self._values[name] else "nothing"
        self._problems.append(Problem(PREFIX + name, given, allowed, why, remedy))

    def address(self, name: str) -> Address | None:
        text = self._values[name]
        if not text:
            return None
        host, separator, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            ipaddress.ip_address(host)
            number = int(port)
            valid = bool(separator) and port.isascii() and port.isdigit() and number <= 65535
        except ValueError:
            valid = False
        if not valid:
            self._bad(
                name,
                "IP:PORT such as 0.0.0.0:443 or [::]:443, or empty for off",
                "the listener is bound to exactly this address",
                "write an IP address and a port from 0 to 65535",
            )
            return None
        return Address(host, number)

    def optional_path(self, name: str) -> Path | None:
        return Path(self._values[name]) if self._values[name] else None

    def path(self, name: str) -> Path:
        if not self._values[name]:
            self._bad(
                name,
                "the path of a readable file",
                "the gateway never runs without a token",
                f"set {PREFIX}{name}, for example to /run/vace/token",
            )
        return Path(self._values[name])

    def optional_upstream(self, name: str) -> str:
        return self.upstream(name, "http://127.0.0.1:8189") if self._values[name] else ""

    def upstream(self, name: str, example: str) -> str:
        text = self._values[name]
        try:
            parts = urlsplit(text)
            valid = (
                parts.scheme == "http"
                and bool(parts.hostname)
                and (parts.port or 80) > 0
                and parts.path in {"", "/"}
                and not (parts.query or parts.fragment or parts.username or parts.password)
            )
        except ValueError:
            valid = False
        if not valid:
            self._bad(
                name,
                "http://HOST:PORT without path, query or user",
                "ComfyUI and its status listener serve plain HTTP at the root of their own ports",
                f"write for example {example}",
            )
        return text.rstrip("/")

    def hosts(self, name: str) -> frozenset[str]:
        hosts = {part.strip().lower().rstrip(".") for part in self._values[name].split(",")}
        hosts.discard("")
        wrong = sorted(host for host in hosts if not _is_host(host))
        if wrong or not hosts:
            self._bad(
                name,
                "host names or IP addresses separated by commas, without ports or wildcards",
                "a request for any other name is refused, which stops DNS rebinding",
                f"list the names that clients type; not usable: {', '.join(wrong) or 'empty list'}",
            )
        return frozenset(hosts)

    def names(self, name: str) -> tuple[str, ...]:
        names = tuple(part.strip() for part in self._values[name].split(",") if part.strip())
        if any(not entry.isprintable() or "/" in entry or len(entry) > 128 for entry in names):
            self._bad(
                name,
                "ComfyUI node class names separated by commas",
                "each name is looked up at /object_info/<name>",
                "write for example WanVaceToVideo,VHS_VideoCombine",
            )
        return names

    def integer(self, name: str, low: int, high: int) -> int:
        text = self._values[name]
        if text.isascii() and text.isdigit() and low <= int(text) <= high:
            return int(text)
        self._range(name, f"a whole number from {low} to {high}")
        return low

    def number(self, name: str, low: float, high: float) -> float:
        text = self._values[name]
        if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) and low <= float(text) <= high:
            return float(text)
        self._range(name, f"a number from {low:g} to {high:g}")
        return low

    def _range(self, name: str, allowed: str) -> None:
        key = next(key for key in KEYS if key.name == name)
        self._bad(
            name,
            allowed,
            f"it means: {key.meaning}",
            f"write a number in that range, or unset it for {key.default}",
        )

    def check_together(self, settings: Settings) -> None:
        """Rules that join two keys."""
        if settings.tls_listen is None and settings.plain_listen is None and not self._problems:
            self._bad(
                "TLS_LISTEN",
                "at least one of TLS_LISTEN and PLAIN_LISTEN",
                "with neither nobody can reach the service",
                f"set {PREFIX}TLS_LISTEN=0.0.0.0:443",
            )
        if settings.tls_listen is not None:
            for name in ("TLS_CERT", "TLS_KEY"):
                if not self._values[name]:
                    self._bad(
                        name,
                        "the path of a PEM file",
                        f"{PREFIX}TLS_LISTEN is on and a TLS listener needs both files",
                        f"set {PREFIX}{name}, or set {PREFIX}TLS_LISTEN= to turn TLS off",
                    )

    def finish(self) -> None:
        if self._problems:
            raise SettingsError(self._problems)


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
        return re.fullmatch(rf"{label}(\.{label})*", text) is not None and len(text) <= 253
    return True
