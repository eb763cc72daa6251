"""Property values as the engine sends them: secrets, unknowns, whole numbers, differences.

A secret stays a marked object ``{SIGNATURE: SECRET, "value": ...}`` inside the properties, so that
what the plugin returns is as secret as what it was given. The markers are fixed by the protocol.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2  # type: ignore[import-untyped]

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a marker, no password
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_SHORTEST_MASKED = 6

Properties = dict[str, Any]


def load(struct: struct_pb2.Struct) -> Properties:
    """Return the properties in ``struct``; whole numbers become int again."""
    found: Properties = _whole(json_format.MessageToDict(struct))
    return found


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def dump(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    """Return ``properties`` as a message."""
    struct = struct_pb2.Struct()
    json_format.ParseDict(dict(properties), struct)
    return struct


def is_secret(value: Any) -> bool:
    """Tell whether ``value`` is marked as secret."""
    return isinstance(value, dict) and value.get(SIGNATURE) == SECRET


def secret(value: Any) -> Any:
    """Mark ``value`` as secret, once."""
    return value if is_secret(value) else {SIGNATURE: SECRET, "value": value}


def reveal(value: Any) -> Any:
    """Return ``value`` without the marks of secrets, at any depth."""
    if is_secret(value):
        return reveal(value.get("value"))
    if isinstance(value, dict):
        return {key: reveal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [reveal(item) for item in value]
    return value


def without_nulls(value: Any) -> Any:
    """Return ``value`` without the entries that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def has_unknown(value: Any) -> bool:
    """Tell whether a part of ``value`` is known only after other resources are made."""
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return bool(value == UNKNOWN)


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (property path, ADD | DELETE | UPDATE) for what differs between plain values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            step = f"{path}{_step(key, first=not path)}"
            if key not in old:
                yield step, "ADD"
            elif key not in new:
                yield step, "DELETE"
            else:
                yield from differences(old[key], new[key], step)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            step = f"{path}[{index}]"
            if index >= len(old):
                yield step, "ADD"
            elif index >= len(new):
                yield step, "DELETE"
            else:
                yield from differences(old[index], new[index], step)
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield path, "UPDATE"


def _step(key: str, *, first: bool) -> str:
    if not key.isidentifier():
        return f"[{json.dumps(key)}]"
    return key if first else f".{key}"


def top_level(path: str) -> str:
    """Return the name of the property that ``path`` begins with."""
    if path.startswith('["'):
        return str(json.JSONDecoder().raw_decode(path[1:])[0])
    return path.split(".", 1)[0].split("[", 1)[0]


def masked(text: str, properties: Any) -> str:
    """Return ``text`` with every secret string of ``properties`` replaced."""
    for found in sorted(set(_secret_texts(properties, inside=False)), key=len, reverse=True):
        text = text.replace(found, "[secret]")
    return text


def _secret_texts(value: Any, *, inside: bool) -> Iterator[str]:
    if is_secret(value):
        yield from _secret_texts(value.get("value"), inside=True)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _secret_texts(item, inside=inside)
    elif isinstance(value, list):
        for item in value:
            yield from _secret_texts(item, inside=inside)
    elif inside and isinstance(value, str) and len(value) >= _SHORTEST_MASKED:
        yield value


def random_name(base: str, seed: bytes) -> str:
    """Return ``base`` and eight hexadecimal digits, the same ones for the same seed."""
    suffix = hashlib.sha256(seed).hexdigest()[:8] if seed else secrets.token_hex(4)
    return f"{base}-{suffix}"
