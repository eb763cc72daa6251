"""What every kind of resource offers to the server."""

from dataclasses import dataclass, field
from typing import Protocol

from rehearsal.kubernetes_plugin.wire import Properties, differences, reveal


class ResourceError(Exception):
    """A resource could not be made, changed, read or removed; nothing is recorded."""


class InitializationError(Exception):
    """The resource exists but did not become ready; recorded so that the next up tries again."""

    def __init__(self, identity: str, properties: Properties, inputs: Properties, why: str) -> None:
        super().__init__(why)
        self.identity = identity
        self.properties = properties
        self.inputs = inputs


@dataclass(frozen=True)
class Checked:
    """The inputs as they will be stored, and (property, sentence) for each that is wrong."""

    inputs: Properties
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """What differs: path → ADD | DELETE | UPDATE; paths that need a new object."""

    paths: dict[str, str]
    replaces: list[str] = field(default_factory=list)
    delete_first: bool = True


@dataclass(frozen=True)
class Found:
    """A resource as it is: its id, outputs, and inputs that would make it so."""

    identity: str
    properties: Properties
    inputs: Properties


class Kind(Protocol):
    """One type of resource. ``timeout`` in seconds, 0 if the program names none."""

    def check(self, name: str, seed: bytes, olds: Properties, news: Properties) -> Checked: ...

    def diff(self, olds: Properties, news: Properties, ignored: list[str]) -> Difference: ...

    def preview(self, inputs: Properties) -> Properties: ...

    def create(self, inputs: Properties, timeout: int) -> Found: ...

    def update(self, identity: str, inputs: Properties, timeout: int) -> Found: ...

    def read(self, identity: str, inputs: Properties) -> Found | None: ...

    def delete(self, identity: str, inputs: Properties, timeout: int) -> None: ...


def changed(olds: Properties, news: Properties, ignored: list[str]) -> dict[str, str]:
    """Return the differing paths of plain values, without the ignored properties."""
    found = dict(differences(reveal(olds), reveal(news)))

    def is_ignored(path: str) -> bool:
        return any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in ignored)

    return {path: kind for path, kind in found.items() if not is_ignored(path)}
