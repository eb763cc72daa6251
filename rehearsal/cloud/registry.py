"""What an API action is: the decorator that registers one, and the request that it is given.

A service module holds one function per action, named like the action::

    @action("vpc", "2016-04-28", ram="vpc:CreateVpc")
    def CreateVpc(request: Request, cloud: Cloud) -> dict[str, Any]:
        '''Create a VPC.'''

The function returns the answer without RequestId; the dispatcher adds it. It raises
:class:`rehearsal.cloud.errors.ApiError` to refuse. Around it the dispatcher does what is the same
for every action: signature, authorisation, idempotency, fault injection, logging, and holding
``cloud.lock`` (re-entrant) for the duration, so an action sees and leaves a consistent state. An
action that must block (it waits for a machine) is registered with ``serialised=False`` and takes
the lock itself for the parts that touch state. After a successful action that is not
``read_only`` the state is written to disk before the client gets its answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rehearsal.cloud.errors import invalid_parameter, missing_parameter

if TYPE_CHECKING:
    from rehearsal.cloud.state import Cloud

Answer = dict[str, Any] | list[Any]
"""What an action gives back; only actions of path style (ROA) may answer a list."""

Handler = Callable[["Request", "Cloud"], Answer]


@dataclass(frozen=True)
class Caller:
    """Who signed the request.

    ``name`` is the user name for a user, the role name for a role, and the account id for root.
    """

    account: str
    kind: Literal["root", "user", "role"]
    name: str
    session: str = ""

    @property
    def arn(self) -> str:
        """The identity as RAM writes it, for example ``acs:ram::123:assumed-role/node/i-1``."""
        if self.kind == "root":
            return f"acs:ram::{self.account}:root"
        if self.kind == "user":
            return f"acs:ram::{self.account}:user/{self.name}"
        return f"acs:ram::{self.account}:assumed-role/{self.name}/{self.session}"


def _allow_everything(_action: str, _resource: str) -> None:
    """Authorisation of a request that no client signed (made by a test or another service)."""


@dataclass
class Request:
    """One call: RPC parameters flat, as sent, with query and body merged.

    Of a path-style (ROA) request, ``params`` holds what the path, the query and the top level of
    the JSON body give, and ``body`` the whole body as it was read (None for RPC).

    ``authorize(ram_action, resource_arn)`` checks a further permission of the caller (the one of
    the action itself was checked already); it raises ApiError 403 with AccessDeniedDetail.
    """

    product: str
    version: str
    action: str
    region: str
    caller: Caller
    params: dict[str, str]
    source_ip: str = ""
    secure: bool = False
    request_id: str = ""
    host: str = ""
    body: Any = None
    authorize: Callable[[str, str], None] = _allow_everything

    def required(self, name: str) -> str:
        """The parameter's value; raises MissingParameter (400) when absent or empty."""
        value = self.params.get(name, "")
        if value == "":
            raise missing_parameter(name)
        return value

    def get(self, name: str, default: str = "") -> str:
        """The parameter's value, or ``default`` when it was not sent."""
        return self.params.get(name, default)

    def integer(self, name: str, default: int | None = None) -> int | None:
        """The parameter as an int; raises InvalidParameter.<name> when it is not one."""
        value = self.params.get(name, "")
        if value == "":
            return default
        try:
            return int(value)
        except ValueError:
            raise invalid_parameter(name, value, "a whole number") from None

    def boolean(self, name: str, default: bool = False) -> bool:
        """The parameter as a bool (``true``/``false`` in any case)."""
        value = self.params.get(name, "")
        if value == "":
            return default
        if value.lower() not in ("true", "false"):
            raise invalid_parameter(name, value, "true or false")
        return value.lower() == "true"

    def repeated(self, prefix: str) -> list[str]:
        """The list sent as ``Prefix.1``, ``Prefix.2`` ... or as a JSON list under ``Prefix``."""
        indexed = {
            int(rest): value
            for key, value in self.params.items()
            if key.startswith(f"{prefix}.") and (rest := key[len(prefix) + 1 :]).isdigit()
        }
        if indexed:
            return [indexed[index] for index in sorted(indexed)]
        return [
            item if isinstance(item, str) else json.dumps(item) for item in self._json_list(prefix)
        ]

    def structs(self, prefix: str) -> list[dict[str, str]]:
        """The list sent as ``Prefix.1.A``, ``Prefix.1.B`` ... or as a JSON list of objects.

        Nested keys keep their dots: ``Prefix.1.A.1`` becomes ``{"A.1": ...}``.
        """
        found: dict[int, dict[str, str]] = {}
        for key, value in self.params.items():
            if not key.startswith(f"{prefix}."):
                continue
            index, dot, name = key[len(prefix) + 1 :].partition(".")
            if dot and index.isdigit():
                found.setdefault(int(index), {})[name] = value
        if found:
            return [found[index] for index in sorted(found)]
        items = self._json_list(prefix)
        if any(not isinstance(item, dict) for item in items):
            raise invalid_parameter(prefix, self.params[prefix], "a JSON list of objects")
        return [
            {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in item.items()}
            for item in items
        ]

    def tags(self) -> dict[str, str]:
        """The tags sent as ``Tag.N.Key`` / ``Tag.N.Value`` (or as JSON under ``Tag``)."""
        return {
            item.get("Key", item.get("key", "")): item.get("Value", item.get("value", ""))
            for item in self.structs("Tag")
        }

    def _json_list(self, name: str) -> list[Any]:
        text = self.params.get(name, "").strip()
        if not text:
            return []
        try:
            items = json.loads(text)
        except ValueError:
            return [text]
        return items if isinstance(items, list) else [text]


@dataclass(frozen=True)
class Action:
    """A registered action; ``ram`` is None for actions that need no permission."""

    product: str
    version: str
    name: str
    handler: Handler
    ram: str
    resource: Callable[[Request], str] | None
    read_only: bool
    serialised: bool
    public: bool
    secret_params: frozenset[str] = field(default_factory=frozenset)
    route: str = ""
    success_status: int = 200
    anonymous: bool = False

    @property
    def summary(self) -> str:
        """First line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0]


_ACTIONS: dict[tuple[str, str], Action] = {}
_PRODUCTS: dict[str, str] = {}
_ROUTES: list[tuple[str, str, re.Pattern[str], Action]] = []
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")


def action(
    product: str,
    version: str,
    name: str | None = None,
    *,
    ram: str | None = None,
    resource: Callable[[Request], str] | None = None,
    read_only: bool = False,
    serialised: bool = True,
    public: bool = False,
    secret_params: tuple[str, ...] = (),
    route: str = "",
    success_status: int = 200,
    anonymous: bool = False,
) -> Callable[[Handler], Handler]:
    """Register the decorated function as an API action.

    Args:
        product: product code in lower case (``ecs``, ``vpc``, ``ram`` ...).
        version: API version; it identifies the product on the wire.
        name: action name; the function's own name when left out.
        ram: RAM action; ``<product>:<name>`` when left out.
        resource: gives the RAM resource ARN of a request; ``*`` when left out.
        read_only: the action changes nothing, so nothing is saved and ClientToken is ignored.
        serialised: the dispatcher holds ``cloud.lock`` while the action runs.
        public: any valid signature may call it (STS GetCallerIdentity).
        secret_params: parameters whose values must never reach a log or an idempotency record.
        route: for path-style (ROA) products the method and path, ``GET /clusters/{ClusterId}``;
            what stands in braces becomes a parameter.
        anonymous: whoever asks need not sign; what it sends besides must prove who it is.
        success_status: HTTP status of a good answer (202 where the work goes on afterwards).
    """

    def register(handler: Handler) -> Handler:
        code = product.lower()
        wire_name = name or handler.__name__
        other = _PRODUCTS.setdefault(version, code)
        if other != code:
            raise ValueError(
                f"API version {version} is already registered for product {other}, so product "
                f"{code} cannot use it: an RPC request names only the version. Check the version."
            )
        if (version, wire_name) in _ACTIONS:
            raise ValueError(
                f"{code} {version} {wire_name} is registered twice; remove one of the functions."
            )
        made = _ACTIONS[version, wire_name] = Action(
            product=code,
            version=version,
            name=wire_name,
            handler=handler,
            ram=ram or f"{code}:{wire_name}",
            resource=resource,
            read_only=read_only,
            serialised=serialised,
            public=public,
            secret_params=frozenset(secret_params),
            route=route,
            success_status=success_status,
            anonymous=anonymous,
        )
        if route:
            method, _, path = route.partition(" ")
            pattern = re.compile(_PATH_PARAMETER.sub(r"(?P<\1>[^/]+)", path))
            _ROUTES.append((version, method, pattern, made))
        return handler

    return register


def find(version: str, name: str) -> Action | None:
    """The action registered for this API version and name, or None."""
    return _ACTIONS.get((version, name))


def find_route(version: str, method: str, path: str) -> tuple[Action, dict[str, str]] | None:
    """The path-style action for this request and the parameters in its path, or None.

    A path without parameters wins over one with, as ``/clusters/all`` over ``/clusters/{id}``.
    """
    best: tuple[Action, dict[str, str]] | None = None
    for known_version, known_method, pattern, action_ in _ROUTES:
        match = pattern.fullmatch(path)
        if known_version != version or known_method != method or match is None:
            continue
        found = match.groupdict()
        if best is None or len(found) < len(best[1]):
            best = (action_, found)
    return best


def product_of(version: str) -> str | None:
    """The product code that this API version belongs to, or None when no product has it."""
    return _PRODUCTS.get(version)


def registered() -> list[Action]:
    """All actions, sorted by product and name."""
    return sorted(_ACTIONS.values(), key=lambda item: (item.product, item.name))
