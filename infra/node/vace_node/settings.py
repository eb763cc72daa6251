"""What the node is told: node.json from its user data, and the settings Parameter in OOS.

The rules accept everything that the deployment's own config accepts, and nothing that could break
out of a unit file, a path or a command.

Both have a schema number. A document of another schema is refused, because guessing at a
meaning could expose the service or touch the wrong disk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import SettingsError

SCHEMA = 1
NO_DRIVER = "none"
MAX_UPLOAD_MIB = 65536

_NAME = (r"[A-Za-z0-9][A-Za-z0-9_-]{1,199}", "2 to 200 letters, digits, - and _")
_REGION = (r"[a-z]{2}(?:-[a-z0-9]+)+", "a region id such as cn-hangzhou")
_IMAGE = (
    # A registry has a dot or a port in its name, or is localhost; podman would search for others.
    r"(?=.{1,255}@)(?:[a-z0-9-]+(?:(?:\.[a-z0-9-]+)+(?::[0-9]{1,5})?|:[0-9]{1,5})|localhost)/"
    r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[A-Za-z0-9_.-]{1,128})?@sha256:[0-9a-f]{64}",
    "registry.example.com/name@sha256:<64 hex digits>, so that what runs is what was tested",
)
_DISK = (r"d-[a-z0-9]{3,40}", "a disk id such as d-bp1abc")
_DRIVER = (
    r"none|[0-9]{3}(?:-server)?(?:-open)?",
    '"none", or a driver branch of the distribution such as 570-server',
)
_PROFILE = (r"[a-z][a-z0-9_-]{0,31}", 'the name of a speed profile such as "safe"')
_HOST = (r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?", "a host name or address, no port")
_BUCKET = (r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", "an OSS bucket name")
_ENDPOINT = (r"https://[a-z0-9.-]+(?::[0-9]+)?", "https://<host>, nothing behind it")
_PREFIX = (r"(?:[A-Za-z0-9._-]+/)*", "empty, or folders that end with /")


@dataclass(frozen=True)
class NodeFile:
    """/etc/vace/node.json: where to find everything else. Holds no secret."""

    region: str
    settings_parameter: str
    token_secret: str
    tls_secret: str
    registry_secret: str | None


@dataclass(frozen=True)
class ResultsSettings:
    """Where finished files go."""

    bucket: str
    endpoint: str
    prefix: str


@dataclass(frozen=True)
class Settings:
    """Desired state of the node. `gpu_driver` is "none" on a machine without a GPU.

    `speed_profile` is passed on to ComfyUI's image, which knows what it means.
    """

    comfyui_image: str
    gateway_image: str
    data_disk_id: str
    gpu_driver: str
    speed_profile: str
    results: ResultsSettings | None
    max_upload_mib: int
    allowed_hosts: tuple[str, ...]
    plain_http: bool

    @property
    def gpu(self) -> bool:
        return self.gpu_driver != NO_DRIVER


class _Form:
    """Takes keys out of a JSON object and collects everything that is wrong with it."""

    def __init__(self, document: Any, problems: list[str], where: str = "") -> None:
        self._where = where
        self._problems = problems
        if not isinstance(document, dict):
            problems.append(f"{where or 'it'} is {_kind(document)}, and must be an object")
            document = {}
        self._left: dict[str, Any] = dict(document)
        self._broken = not document

    def _problem(self, key: str, text: str) -> None:
        if not self._broken:
            self._problems.append(f"{self._where}{key} {text}")

    def take(self, key: str, good: Callable[[Any], bool], allowed: str) -> Any:
        """The value of `key`, or None after noting what is wrong with it."""
        if key not in self._left:
            self._problem(key, f"is missing; it must be {allowed}")
            return None
        value = self._left.pop(key)
        if good(value):
            return value
        self._problem(key, f"is {json.dumps(value)[:120]}, and must be {allowed}")
        return None

    def text(self, key: str, rule: tuple[str, str], *, optional: bool = False) -> Any:
        pattern, allowed = rule

        def good(value: Any) -> bool:
            if value is None:
                return optional
            return isinstance(value, str) and re.fullmatch(pattern, value) is not None

        return self.take(key, good, allowed + (", or null" if optional else ""))

    def form(self, key: str, *, optional: bool = False) -> _Form | None:
        if optional and self._left.get(key, "") is None:
            del self._left[key]
            return None
        if key not in self._left:
            self._problem(key, "is missing; it must be an object")
            return _Form({}, [])
        return _Form(self._left.pop(key), self._problems, f"{self._where}{key}.")

    def end(self) -> None:
        for key in sorted(self._left):
            self._problem(key, "is not known; remove it, or update this agent")


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _open(text: str, source: str) -> tuple[_Form, list[str]]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise SettingsError(source, [f"it is not JSON: {error}"]) from error
    problems: list[str] = []
    form = _Form(document, problems)
    schema = form.take("schema", lambda value: value == SCHEMA and value is not True, str(SCHEMA))
    if problems and schema is None:
        raise SettingsError(
            source, [*problems, f"this agent reads schema {SCHEMA} only; deploy both together"]
        )
    return form, problems


def parse_node_file(text: str, source: str = "/etc/vace/node.json") -> NodeFile:
    """Read node.json. Raises SettingsError with every problem at once."""
    form, problems = _open(text, source)
    found = NodeFile(
        region=form.text("region", _REGION),
        settings_parameter=form.text("settings_parameter", _NAME),
        token_secret=form.text("token_secret", _NAME),
        tls_secret=form.text("tls_secret", _NAME),
        registry_secret=form.text("registry_secret", _NAME, optional=True),
    )
    form.end()
    if problems:
        raise SettingsError(source, problems)
    return found


def parse_settings(text: str, source: str = "the settings Parameter") -> Settings:
    """Read the desired state. Raises SettingsError with every problem at once."""
    form, problems = _open(text, source)
    gateway = form.form("gateway") or _Form({}, [])
    results = form.form("results", optional=True)
    hosts = gateway.take(
        "allowed_hosts",
        lambda value: isinstance(value, list) and all(_is_host(item) for item in value),
        f"a list; each item {_HOST[1]}",
    )
    found = Settings(
        comfyui_image=form.text("comfyui_image", _IMAGE),
        gateway_image=form.text("gateway_image", _IMAGE),
        data_disk_id=form.text("data_disk_id", _DISK),
        gpu_driver=form.text("gpu_driver", _DRIVER),
        speed_profile=form.text("speed_profile", _PROFILE),
        results=None
        if results is None
        else ResultsSettings(
            bucket=results.text("bucket", _BUCKET),
            endpoint=results.text("endpoint", _ENDPOINT),
            prefix=results.text("prefix", _PREFIX),
        ),
        max_upload_mib=gateway.take(
            "max_upload_mib",
            lambda value: type(value) is int and 1 <= value <= MAX_UPLOAD_MIB,
            f"a whole number of MiB from 1 to {MAX_UPLOAD_MIB}",
        ),
        allowed_hosts=tuple(hosts or ()),
        plain_http=gateway.take(
            "plain_http", lambda value: isinstance(value, bool), "true or false"
        ),
    )
    for part in (gateway, results, form):
        if part:
            part.end()
    if problems:
        raise SettingsError(source, problems)
    return found


def _is_host(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(_HOST[0], value) is not None
